"""What all models are.

They are frozen dataclasses rather than pydantic models: the service has judged what it sends, so that all a client has
to do is to decode it, and a client library should not decide which version of pydantic its users have. Members that a
newer service adds are kept in `extra` and break nothing; so are values of enums that this version does not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Generic, TypeVar, overload

T = TypeVar("T")


class Unset(Enum):
    """The type of UNSET."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> bool:
        return False


UNSET: Final = Unset.UNSET
"""An argument that was not given, where None means null: it leaves a field as it is."""


class OpenEnum(str, Enum):
    """A closed set of strings that a newer service may have opened.

    A value that this version does not know becomes a member of its own: `status.value` is what was sent, and
    `status in type(status).__members__.values()` is false. Members compare equal to their strings.
    """

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(str(self.value), spec)

    @property
    def known(self) -> bool:
        """Whether this version of the client knows the value."""
        return self.name in type(self).__members__

    @classmethod
    def _missing_(cls, value: object) -> OpenEnum | None:
        if not isinstance(value, str):
            return None
        member = str.__new__(cls, value)
        member._name_ = f"unknown: {value}"
        member._value_ = value
        return member


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """What an answer said beside its body."""

    status: int
    request_id: str | None
    """Names the request in the service's logs."""
    etag: str | None
    """The version of what was returned, for `if_match` and `if_none_match`."""
    next_cursor: str | None
    """Where the next page begins; None on the last."""
    idempotency_key: str | None
    """What the request was sent with."""
    idempotency_replayed: bool
    """It is the recorded answer to an earlier request with the same key."""
    tries: int
    """How many requests it took."""
    headers: Mapping[str, str] = field(repr=False)
    """All headers; names in any case."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """An object of the API."""

    extra: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """Members that this version of the client does not know."""
    response: Response | None = field(default=None, repr=False, compare=False)
    """The answer that it came in; None for a part of another object, or an item of a page."""

    @property
    def etag(self) -> str | None:
        """The entity tag of this version of it, if it has versions: give it, or the model, as `if_match`.

        For an item of a list it names the version alone, which is all that `if_match` looks at.
        """
        if self.response is not None and self.response.etag is not None:
            return self.response.etag
        version = getattr(self, "version", None)
        return None if version is None else f'"{version}"'


@dataclass(frozen=True, slots=True)
class Page(Sequence[T], Generic[T]):
    """A part of a list, as a sequence."""

    items: list[T]
    response: Response = field(repr=False, compare=False)

    @property
    def next_cursor(self) -> str | None:
        """Give it as `cursor` for the next page; None on the last."""
        return self.response.next_cursor

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        return self.items[index]
