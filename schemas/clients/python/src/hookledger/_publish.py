"""Events on their way in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ._call import given, moment, verbatim


@dataclass(frozen=True, kw_only=True, slots=True)
class NewEvent:
    """An event to publish."""

    event: str
    """One of the event names."""
    data: Mapping[str, Any]
    """Delivered as it is: a mapping is written as JSON, a `JSONObject` keeps its own bytes."""
    id: str | None = None
    """Your own id: the same one within 24 hours is the same event. None: the service gives one."""
    index_id: str | None = None
    """Only webhooks of this index, or of every index, get it."""
    ordering_key: str | None = None
    """Deliveries of one key's events are begun in the order in which they were published."""
    created_at: datetime | str | None = None
    """When it happened; None: when it is accepted. A datetime needs its time zone."""

    def _json(self) -> dict[str, Any]:
        return given(
            {
                "id": self.id,
                "event": self.event,
                "data": verbatim(self.data),
                "index_id": self.index_id,
                "ordering_key": self.ordering_key,
                "created_at": moment(self.created_at),
            }
        )


def batch(events: Iterable[NewEvent | Mapping[str, Any]]) -> list[Any]:
    """The body of a request that publishes them."""
    if isinstance(events, (NewEvent, Mapping)):
        raise TypeError("a list of events is needed; publish takes a single one")
    made = [e if isinstance(e, NewEvent) else NewEvent(**e) for e in events]
    if not made:
        raise ValueError("there is no event to publish")
    return [event._json() for event in made]
