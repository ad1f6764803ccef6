"""From JSON to models: each kind of value has a decoder, and a wrong kind is named with its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, TypeVar

from ._errors import UnexpectedResponseError
from ._json import JSONObject, parts_of_array, parts_of_object

if TYPE_CHECKING:
    from ._model import OpenEnum

T = TypeVar("T")
E = TypeVar("E", bound="OpenEnum")


class Value:
    """A JSON value, with its place, and with its text for who needs it byte by byte."""

    __slots__ = ("_key", "_parent", "_parts", "_text", "parsed", "place")

    def __init__(
        self,
        parsed: Any,
        text: str = "",
        *,
        parent: Value | None = None,
        key: str | int = "",
    ) -> None:
        self.parsed = parsed
        self.place: str = "" if parent is None else f"{parent.place}/{key}"
        self._text = text
        self._parent = parent
        self._key = key
        self._parts: Any = None

    def text(self) -> str:
        """The value as it was written. Found out only for who asks."""
        if self._parent is None:
            return self._text
        part: str = self._parent._split()[self._key]
        return part

    def _split(self) -> Any:
        if self._parts is None:
            self._parts = (parts_of_object if isinstance(self.parsed, dict) else parts_of_array)(self.text())
        return self._parts

    def child(self, key: str | int) -> Value:
        """A member or an item."""
        return Value(self.parsed[key], parent=self, key=key)

    def members(self) -> Members:
        """What an object has."""
        if not isinstance(self.parsed, dict):
            raise self.wrong("an object")
        return Members(self)

    def wrong(self, wanted: str) -> UnexpectedResponseError:
        """Say that this is not what the specification says."""
        return UnexpectedResponseError(
            f"the answer has {type(self.parsed).__name__} at {self.place or 'its top'}, not {wanted}"
        )


Decoder = Callable[[Value], T]


class Members:
    """The members of an object, and which of them were asked for."""

    __slots__ = ("_asked", "_value")

    def __init__(self, value: Value) -> None:
        self._value = value
        self._asked: set[str] = set()

    def need(self, name: str, decode: Decoder[T]) -> T:
        """A member that the specification requires."""
        self._asked.add(name)
        if name not in self._value.parsed:
            raise UnexpectedResponseError(f"the answer lacks {self._value.place}/{name}")
        return decode(self._value.child(name))

    def may(self, name: str, decode: Decoder[T]) -> T | None:
        """A member that may be left out."""
        self._asked.add(name)
        if self._value.parsed.get(name) is None:
            return None
        return decode(self._value.child(name))

    def rest(self) -> Mapping[str, Any]:
        """What nobody asked for: what newer servers add."""
        return {name: member for name, member in self._value.parsed.items() if name not in self._asked}


def anything(value: Value) -> Any:
    """Whatever there is."""
    return value.parsed


def text(value: Value) -> str:
    """A string."""
    if not isinstance(value.parsed, str):
        raise value.wrong("a string")
    return value.parsed


def integer(value: Value) -> int:
    """An integer, which JSON may write as 1.0 too."""
    parsed = value.parsed
    if isinstance(parsed, float) and parsed.is_integer():
        return int(parsed)
    if not isinstance(parsed, int) or isinstance(parsed, bool):
        raise value.wrong("an integer")
    return parsed


def number(value: Value) -> float:
    """A number."""
    if not isinstance(value.parsed, (int, float)) or isinstance(value.parsed, bool):
        raise value.wrong("a number")
    return float(value.parsed)


def flag(value: Value) -> bool:
    """True or false."""
    if not isinstance(value.parsed, bool):
        raise value.wrong("true or false")
    return value.parsed


_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)


def timestamp(value: Value) -> datetime:
    """RFC 3339 as an aware datetime in UTC; digits beyond microseconds are cut."""
    match = _TIMESTAMP.fullmatch(value.parsed) if isinstance(value.parsed, str) else None
    if match is None:
        raise value.wrong("an RFC 3339 timestamp")
    fraction, sign = match[7] or "", match[8]
    micro = int(fraction[:6].ljust(6, "0"))
    try:
        time = datetime(*map(int, match.groups()[:6]), micro, tzinfo=timezone.utc)  # type: ignore[arg-type,misc]
        offset = timedelta(hours=int(match[9] or 0), minutes=int(match[10] or 0))
        return time + offset if sign == "-" else time - offset
    except (ValueError, OverflowError):
        raise value.wrong("an RFC 3339 timestamp") from None


def json_object(value: Value) -> JSONObject:
    """An object whose bytes matter."""
    if not isinstance(value.parsed, dict):
        raise value.wrong("an object")
    return JSONObject(value.text())


def nullable(decode: Decoder[T]) -> Decoder[T | None]:
    """Null, or what the decoder makes."""

    def or_none(value: Value) -> T | None:
        return None if value.parsed is None else decode(value)

    return or_none


def list_of(decode: Decoder[T]) -> Decoder[list[T]]:
    """An array."""

    def items(value: Value) -> list[T]:
        if not isinstance(value.parsed, list):
            raise value.wrong("an array")
        return [decode(value.child(i)) for i in range(len(value.parsed))]

    return items


def map_of(decode: Decoder[T]) -> Decoder[dict[str, T]]:
    """An object with any names."""

    def by_name(value: Value) -> dict[str, T]:
        if not isinstance(value.parsed, dict):
            raise value.wrong("an object")
        return {name: decode(value.child(name)) for name in value.parsed}

    return by_name


def enumeration(enum: type[E]) -> Decoder[E]:
    """A member of a set of strings; one that this version does not know stays what it is."""

    def member(value: Value) -> E:
        return enum(text(value))

    return member
