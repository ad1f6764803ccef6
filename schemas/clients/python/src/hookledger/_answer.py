"""What a method returns of an answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeVar

from ._decode import Decoder, Value, list_of
from ._errors import UnexpectedResponseError
from ._exchange import Answer
from ._model import Model, Page

T = TypeVar("T")
M = TypeVar("M", bound=Model)


def value(decode: Decoder[T]) -> Callable[[Answer], T]:
    """The body, decoded."""

    def finish(answer: Answer) -> T:
        try:
            source = answer.body.decode()
            parsed = json.loads(source)
        except ValueError as error:
            odd = UnexpectedResponseError(f"status {answer.response.status} with a body that is not JSON: {error}")
            odd.status, odd.body = answer.response.status, answer.body
            raise odd from None
        return decode(Value(parsed, source))

    return finish


def model(decode: Decoder[M]) -> Callable[[Answer], M]:
    """The body as a model that knows its answer."""

    def finish(answer: Answer) -> M:
        made = value(decode)(answer)
        object.__setattr__(made, "response", answer.response)  # frozen for everyone after this
        return made

    return finish


def unless_unchanged(decode: Decoder[M]) -> Callable[[Answer], M | None]:
    """As model, or None for 304."""

    def finish(answer: Answer) -> M | None:
        return None if answer.response.status == 304 else model(decode)(answer)

    return finish


def page(decode: Decoder[T]) -> Callable[[Answer], Page[T]]:
    """The body as a page of a list."""

    def finish(answer: Answer) -> Page[T]:
        return Page(value(list_of(decode))(answer), answer.response)

    return finish


def text(answer: Answer) -> str:
    """The body as it is."""
    return answer.body.decode(errors="replace")


def nothing(answer: Answer) -> None:
    """Only that it succeeded."""
