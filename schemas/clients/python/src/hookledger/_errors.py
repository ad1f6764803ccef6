"""What can go wrong, by class and by code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._models_gen import ErrorCode, FieldError


class HookledgerError(Exception):
    """Whatever this package raises about the service. Wrong arguments are ValueError and TypeError, as anywhere."""

    idempotency_key: str | None = None
    """What the request was sent with: repeat the call with it to get the answer that was lost."""


class ConnectionFailedError(HookledgerError):
    """No answer: the service could not be reached, or the connection broke. Tries, if allowed, are used up.

    Whether a request took effect is unknown; the same call with the same `idempotency_key` finds out.
    """


class TimedOutError(ConnectionFailedError):
    """No answer in time."""


class UnexpectedResponseError(HookledgerError):
    """An answer that the API never gives: a proxy's page, a redirect, or a service that is not this one."""

    status: int | None = None
    body: bytes = b""


class APIError(HookledgerError):
    """The service refused, or failed, and said why. There is a subclass for each status."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: ErrorCode,
        details: Mapping[str, Any],
        request_id: str | None,
        retry_after: float | None,
        fields: list[FieldError],
        tries: int = 1,
    ) -> None:
        super().__init__(f"{code}: {message}" + (f" (request {request_id})" if request_id else ""))
        self.message = message
        self.status = status
        self.code = code
        """One of a closed list, made for programs; compares equal to its string."""
        self.details = details
        """What there is to know about it, by code."""
        self.request_id = request_id
        """Finds it in the service's logs."""
        self.retry_after = retry_after
        """Seconds after which it makes sense to ask again, if the service said so."""
        self.fields = fields
        """Every offending field, with 422."""
        self.tries = tries
        """How many requests were made."""


class BadRequestError(APIError):
    """400: the request could not be read."""


class AuthenticationError(APIError):
    """401: the credential is missing, unknown, expired or revoked."""


class PermissionDeniedError(APIError):
    """403: the credential's scope is too small, or an API key where a token is needed."""


class NotFoundError(APIError):
    """404: there is no such thing in this account."""


class ConflictError(APIError):
    """409: the state does not allow it; `code` says which."""


class PreconditionFailedError(APIError):
    """412: it is not the version that `if_match` names any more."""


class RequestTooLargeError(APIError):
    """413: the body, or the data of an event."""


class ValidationError(APIError):
    """422: `fields` names every offending one."""


class RateLimitedError(APIError):
    """429: `retry_after` says for how long."""


class ServerError(APIError):
    """5xx: a fault of the service; `request_id` finds it in its logs."""


class UnavailableError(ServerError):
    """503: the log or the history can't be reached, or the node is starting or draining."""
