"""What to send, and whether to send it again, without sending: both clients ask here, so that they do the same.

A call is repeated only where that is safe. Reads and deletions are, by HTTP's own rules. What creates or changes is,
because every such request carries an Idempotency-Key, the caller's or one made here, and the service answers a repeat
with the first answer. Without a key only what certainly was not begun is repeated: no connection, or 429. Waits double
from half a second, with jitter; Retry-After is honoured, unless it asks for more than the client may wait.
"""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, TypedDict

import httpx

from ._call import Call, query, tag
from ._errors import APIError, ConnectionFailedError, HookledgerError, NotFoundError, TimedOutError
from ._json import write
from ._model import Response
from ._refusal import error_of

logger = logging.getLogger("hookledger")

_AGAIN = frozenset({429, 500, 502, 503, 504})
_NOT_BEGUN = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 8.0


@dataclass(frozen=True, slots=True)
class Config:
    """What a client was made with."""

    base_url: str
    api_key: str | None = field(default=None, repr=False)
    token: str | Callable[[], str] | None = field(default=None, repr=False)
    timeout: float = 30.0
    max_retries: int = 3
    max_wait: float = 60.0
    user_agent: str = "hookledger-python"


class Request(TypedDict):
    """One request, as the arguments of httpx."""

    method: str
    url: str
    params: list[tuple[str, str | int | float | bool | None]] | None
    headers: dict[str, str]
    content: bytes | None
    timeout: float
    follow_redirects: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """A success."""

    body: bytes
    response: Response


class Exchange:
    """One call and its tries.

    Ask `request`, send it, and tell `answered` or `failed` what came of it. They return the seconds to wait before the
    next try, or raise what the caller gets to see; when `answer` is set, all is done.
    """

    def __init__(self, call: Call, config: Config) -> None:
        self._call, self._config = call, config
        self._key = call.idempotency_key
        if call.idempotent and self._key is None:
            self._key = str(uuid.uuid4())
        self._repeatable = call.method in ("GET", "HEAD", "DELETE") or call.idempotent
        self._tries = 0
        self._perhaps_done = False
        self.answer: Answer | None = None

    def request(self) -> Request:
        """The next try."""
        self._tries += 1
        call, config = self._call, self._config
        headers = {"Accept": "application/json", "User-Agent": config.user_agent}
        content = None
        if call.body is not None:
            content = write(call.body).encode()
            headers["Content-Type"] = "application/json"
        if self._key is not None:
            headers["Idempotency-Key"] = self._key
        if call.if_match is not None:
            headers["If-Match"] = tag(call.if_match)
        if call.if_none_match is not None:
            headers["If-None-Match"] = tag(call.if_none_match)
        self._authorise(headers)
        timeout = config.timeout if call.timeout is None else call.timeout
        return {
            "method": call.method,
            "url": config.base_url + call.path,
            "params": query(call.query) or None,
            "headers": headers,
            "content": content,
            "timeout": timeout,
            "follow_redirects": False,  # what a redirect names has no claim to the credential
        }

    def _authorise(self, headers: dict[str, str]) -> None:
        """The token where only a token will do, or where there is no API key."""
        config = self._config
        if self._call.credential == "none":
            return
        if config.token is not None and (self._call.credential == "jwt" or config.api_key is None):
            token = config.token if isinstance(config.token, str) else config.token()
            headers["Authorization"] = f"Bearer {token}"
        elif config.api_key is not None:
            headers["X-API-Key"] = config.api_key

    def answered(self, status: int, headers: Mapping[str, str], body: bytes) -> float:
        """An answer came. A success is kept in `answer`; the number is then 0."""
        if status < 300 or status in self._call.accept or (status == 304 and self._call.if_none_match is not None):
            self._keep(status, headers, body)
            return 0
        after = retry_after(headers.get("retry-after"))
        error = error_of(status, body, after, self._tries)
        if isinstance(error, NotFoundError) and self._call.method == "DELETE" and self._perhaps_done:
            self._keep(status, headers, body)  # an earlier try, whose answer was lost, has deleted it
            return 0
        in_progress = isinstance(error, APIError) and error.code == "idempotency_in_progress"
        again = status == 429 or (self._repeatable and (status in _AGAIN or in_progress))
        if status >= 500:
            self._perhaps_done = True
        if isinstance(error, APIError):
            after = error.retry_after
        return self._wait(error, after if again else None, again)

    def failed(self, error: httpx.HTTPError) -> float:
        """No answer came."""
        begun = not isinstance(error, _NOT_BEGUN)
        kind = TimedOutError if isinstance(error, httpx.TimeoutException) else ConnectionFailedError
        again = isinstance(error, httpx.TransportError) and not isinstance(
            error, (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
        )
        self._perhaps_done = self._perhaps_done or begun
        said = str(error) or type(error).__name__
        seen = kind(f"{self._call.method} {self._config.base_url}{self._call.path}: {said}")
        seen.__cause__ = error
        return self._wait(seen, None, again and (self._repeatable or not begun))

    def _wait(self, error: HookledgerError, after: float | None, again: bool) -> float:
        error.idempotency_key = self._key
        if not again or self._tries > self._config.max_retries or (after or 0) > self._config.max_wait:
            raise error
        wait: float = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** (self._tries - 1)) * random.uniform(0.5, 1)
        if after is not None:  # never earlier than asked for, and not all at once
            wait = after + wait / 4
        logger.info("%s: try %d failed, the next in %.1f s: %s", self._call.operation, self._tries, wait, error)
        return wait

    def _keep(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.answer = Answer(
            body,
            Response(
                status=status,
                request_id=headers.get("x-request-id"),
                etag=headers.get("etag"),
                next_cursor=headers.get("x-next-cursor"),
                idempotency_key=self._key,
                idempotency_replayed=headers.get("idempotency-replayed") == "true",
                tries=self._tries,
                headers=headers,
            ),
        )


def retry_after(value: str | None, now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)) -> float | None:
    """Seconds, from seconds or a date (RFC 9110, 10.2.3); None if there are none to be understood."""
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return float(value)
    try:
        date: Any = parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=timezone.utc)
    return max(0.0, float((date - now()).total_seconds()))
