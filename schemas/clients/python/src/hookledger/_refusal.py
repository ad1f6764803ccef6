"""From an answer that is no success to the error that it means."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ._decode import Value, list_of, text
from ._errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    HookledgerError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionFailedError,
    RateLimitedError,
    RequestTooLargeError,
    ServerError,
    UnavailableError,
    UnexpectedResponseError,
    ValidationError,
)
from ._models_gen import ErrorCode, FieldError

_CLASSES: Mapping[int, type[APIError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    412: PreconditionFailedError,
    413: RequestTooLargeError,
    422: ValidationError,
    429: RateLimitedError,
    503: UnavailableError,
}


def error_of(status: int, body: bytes, retry_after: float | None, tries: int) -> HookledgerError:
    """The error that an answer carries."""
    try:
        source = body.decode()
        error = Value(json.loads(source), source).members().need("error", lambda value: value)
        said = error.members()
        code, message = said.need("code", text), said.need("message", text)
        details = error.parsed.get("details")
        request_id = said.may("request_id", text)
    except (UnexpectedResponseError, ValueError):
        odd = UnexpectedResponseError(
            f"status {status} without the API's error body: is this Hookledger, and nothing in between? {body[:200]!r}"
        )
        odd.status, odd.body = status, body
        return odd
    if not isinstance(details, dict):
        details = {}
    try:
        fields = Value(details, "").members().may("fields", list_of(FieldError.decode)) or []
    except UnexpectedResponseError:
        fields = []
    kind = _CLASSES.get(status, ServerError if status >= 500 else APIError)
    said_after = error.parsed.get("retry_after")
    if retry_after is None and isinstance(said_after, (int, float)):
        retry_after = float(said_after)
    return kind(
        message,
        status=status,
        code=ErrorCode(code),
        details=details,
        request_id=request_id,
        retry_after=retry_after,
        fields=fields,
        tries=tries,
    )
