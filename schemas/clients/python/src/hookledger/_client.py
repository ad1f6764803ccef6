"""The two clients."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from ._async_gen import AsyncResources
from ._exchange import Config
from ._sync_gen import Resources
from ._transport import AsyncTransport, Transport
from ._version import __version__

if TYPE_CHECKING:
    from typing_extensions import Self  # which type checkers bring


def _config(
    base_url: str,
    api_key: str | None,
    token: str | Callable[[], str] | None,
    timeout: float,
    max_retries: int,
    max_wait: float,
) -> Config:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise ValueError(f"base_url: {base_url!r} is not the address of a server, such as https://hooks.example.com")
    if max_retries < 0 or timeout <= 0 or max_wait < 0:
        raise ValueError("max_retries and max_wait can't be negative, and timeout has to be more than 0")
    return Config(
        base_url=base_url.rstrip("/").removesuffix("/api/v2"),
        api_key=api_key,
        token=token,
        timeout=timeout,
        max_retries=max_retries,
        max_wait=max_wait,
        user_agent=f"hookledger-python/{__version__}",
    )


class Hookledger(Resources):
    """A client that blocks. It may be shared by threads, and keeps its connections: make one, and close it at the end.

    Args:
        base_url: The server, such as `https://hooks.example.com`, without or with `/api/v2`.
        api_key: `sk_...`.
        token: A JWT, or a function that returns a fresh one: what `api_keys` asks for, and what is used for all else if
            there is no API key.
        timeout: Seconds that each of connecting, sending and receiving may take; a method's `timeout` goes before it.
        max_retries: How many more times a failed request is sent, where that is safe.
        max_wait: The longest Retry-After, in seconds, that is waited for; beyond it the error is raised at once.
        http_client: Use this one, for proxies, certificates of your own, or tests. You close it.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        token: str | Callable[[], str] | None = None,
        timeout: float = 30.0,
        max_retries: int = 3,
        max_wait: float = 60.0,
        http_client: httpx.Client | None = None,
    ) -> None:
        config = _config(base_url, api_key, token, timeout, max_retries, max_wait)
        self._transport = Transport(config, http_client)
        self._config = config
        super().__init__(self._transport)

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Hookledger({self._config.base_url!r})"


class AsyncHookledger(AsyncResources):
    """A client for asyncio, with the methods of `Hookledger` to be awaited. It belongs to one event loop.

    Args:
        base_url: As with `Hookledger`, as are all the others.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        token: str | Callable[[], str] | None = None,
        timeout: float = 30.0,
        max_retries: int = 3,
        max_wait: float = 60.0,
        http_client: httpx.AsyncClient | None = None,
    ) -> None:
        config = _config(base_url, api_key, token, timeout, max_retries, max_wait)
        self._transport = AsyncTransport(config, http_client)
        self._config = config
        super().__init__(self._transport)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"AsyncHookledger({self._config.base_url!r})"
