"""One call of the API as a value: what the generated methods make of their arguments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

from ._json import JSONObject
from ._model import UNSET, Model, Unset


@dataclass(frozen=True, slots=True)
class Call:
    """An operation and its arguments."""

    operation: str
    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    if_match: str | Model | None = None
    if_none_match: str | Model | None = None
    idempotent: bool = False
    """The operation takes an Idempotency-Key."""
    idempotency_key: str | None = None
    """The caller's own; otherwise one is made."""
    credential: str = "any"
    """any, jwt or none: what the operation takes."""
    accept: tuple[int, ...] = ()
    """Statuses beside 2xx that are answers, not errors."""
    timeout: float | None = None
    """Seconds; None is the client's."""


def given(members: dict[str, Any]) -> dict[str, Any]:
    """What has a value: for requests in which null is the same as nothing."""
    return {name: value for name, value in members.items() if value is not None}


def changed(members: dict[str, Any]) -> dict[str, Any]:
    """What was given, null too: for changes."""
    return {name: value for name, value in members.items() if value is not UNSET}


def path(template: str, **ids: str) -> str:
    """A path with its ids, each one step of it whatever it holds."""
    for name, value in ids.items():
        if not isinstance(value, str) or not value:
            raise ValueError(f"{name}: an id is needed, not {value!r}")
    # Dots alone would be steps up the path.
    return template.format(**{n: quote(v, safe="") if v.strip(".") else v.replace(".", "%2E") for n, v in ids.items()})


def several(name: str, values: Iterable[Any] | Unset | None) -> Any:
    """A list, of whatever holds its items; but not the letters of a string."""
    if values is None or values is UNSET:
        return values
    if isinstance(values, (str, bytes)):
        raise TypeError(f"{name}: a list of strings is needed, not one string: [{values!r}]")
    return [str(value) for value in values]


def verbatim(value: Mapping[str, Any] | Unset | None) -> Any:
    """JSON that is kept byte by byte."""
    return value if value is None or value is UNSET or isinstance(value, JSONObject) else JSONObject(value)


def moment(value: datetime | str | Unset | None) -> Any:
    """A time as RFC 3339."""
    if not isinstance(value, datetime):
        return value
    if value.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone: which moment it is depends on the machine")
    return value.astimezone(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")


def query(members: Mapping[str, Any]) -> list[tuple[str, str | int | float | bool | None]]:
    """The query of a call; a list is repeated."""
    pairs: list[tuple[str, str | int | float | bool | None]] = []
    for name, value in members.items():
        for item in value if isinstance(value, list) else [value]:
            pairs.append((name, str(item).lower() if isinstance(item, bool) else str(item)))
    return pairs


_TAG = re.compile(r'(W/)?"[!#-~\x80-\xff]*"')


def tag(value: str | Model) -> str:
    """An entity tag, or that of a model."""
    etag = value.etag if isinstance(value, Model) else value
    if etag is None:
        raise ValueError(f"a {type(value).__name__} has no version: give an entity tag")
    if etag != "*" and not _TAG.fullmatch(etag):
        raise ValueError(f"{etag!r} is not an entity tag: it stands in double quotes, as `etag` of a model gives it")
    return etag
