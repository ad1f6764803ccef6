"""JSON whose bytes matter.

The service keeps `data`, `metadata` and `payload` byte by byte: signatures are made over those bytes, numbers in them
may have any precision, names may repeat. A dict forgets all that, so such a value is a `JSONObject`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from json.decoder import JSONDecodeError, JSONDecoder, scanstring  # type: ignore[attr-defined]
from typing import Any

_SPACE = " \t\n\r"


class JSONObject(Mapping[str, Any]):
    """A JSON object: a read-only mapping of what it says, and `text`, how it says it.

    `text` is exactly what came from the service, or what is to be sent to it. It equals any mapping with the same
    content. It is parsed when it is first looked into.
    """

    __slots__ = ("_parsed", "text")

    text: str

    def __init__(self, source: str | bytes | Mapping[str, Any]) -> None:
        """Take JSON as it is (text, or UTF-8), or write a mapping as JSON.

        Raises:
            ValueError: it is not JSON, not an object, or not something that JSON can say (NaN, a lone surrogate).
            TypeError: the mapping holds something that has no form in JSON.
        """
        self._parsed: dict[str, Any] | None = None
        if isinstance(source, JSONObject):
            self.text = source.text
        elif isinstance(source, Mapping):
            self.text = dumps(dict(source))
        else:
            self.text = source.decode() if isinstance(source, bytes) else source
            self._look()

    @property
    def raw(self) -> bytes:
        """The text in UTF-8: what a signature is over."""
        return self.text.encode()

    def _look(self) -> dict[str, Any]:
        if self._parsed is None:
            parsed = json.loads(self.text)
            if not isinstance(parsed, dict):
                raise ValueError(f"a JSON object is needed, this is {type(parsed).__name__}")
            self._parsed = parsed
        return self._parsed

    def __getitem__(self, name: str) -> Any:
        return self._look()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._look())

    def __len__(self) -> int:
        return len(self._look())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and self._look() == dict(other)

    def __hash__(self) -> int:
        return hash(frozenset(self._look()))

    def __repr__(self) -> str:
        return f"JSONObject({self._look()!r})"


def dumps(value: Any) -> str:
    """Write JSON as short as it gets; NaN and infinities are a ValueError, as is text that is not Unicode."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text.encode()  # a lone surrogate is found here rather than on the wire
    return text


def write(value: Any) -> str:
    """Write what this package puts together: as dumps, with JSONObject as it stands."""
    if isinstance(value, JSONObject):
        return value.text
    if type(value) is dict:
        return "{" + ",".join(f"{dumps(str(name))}:{write(member)}" for name, member in value.items()) + "}"
    if type(value) is list:
        return "[" + ",".join(write(item) for item in value) + "]"
    return dumps(value)


def parts_of_object(text: str) -> dict[str, str]:
    """The text of each member of a JSON object, by name; the last one where a name repeats."""
    parts: dict[str, str] = {}
    at = _skip(text, _expect(text, 0, "{"))
    while text[at] != "}":
        name, at = scanstring(text, _expect(text, at, '"'), True)
        at = _skip(text, _expect(text, at, ":"))
        end = _end(text, at)
        parts[name] = text[at:end]
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return parts


def parts_of_array(text: str) -> list[str]:
    """The text of each item of a JSON array."""
    parts: list[str] = []
    at = _skip(text, _expect(text, 0, "["))
    while text[at] != "]":
        end = _end(text, at)
        parts.append(text[at:end])
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return parts


def _end(text: str, at: int) -> int:
    return JSONDecoder().raw_decode(text, at)[1]


def _skip(text: str, at: int) -> int:
    while text[at] in _SPACE:
        at += 1
    return at


def _expect(text: str, at: int, sign: str) -> int:
    at = _skip(text, at)
    if text[at] != sign:
        raise JSONDecodeError(f"{sign} is missing", text, at)
    return at + 1
