"""The two ways to send: all that differs between the clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

import httpx

from ._call import Call
from ._exchange import Answer, Config, Exchange

T = TypeVar("T")

_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20)


class Transport:
    """Sends, and blocks."""

    def __init__(self, config: Config, http: httpx.Client | None) -> None:
        self._config = config
        self._own = http is None
        self._http = http or httpx.Client(limits=_LIMITS)

    def run(self, call: Call, finish: Callable[[Answer], T]) -> T:
        """Make a call, again where that is safe and needed."""
        exchange = Exchange(call, self._config)
        while True:
            try:
                response = self._http.request(**exchange.request())
            except httpx.RequestError as error:
                wait = exchange.failed(error)
            else:
                wait = exchange.answered(response.status_code, response.headers, response.content)
            if exchange.answer is not None:
                return finish(exchange.answer)
            time.sleep(wait)

    def close(self) -> None:
        """Close the connections, unless they were lent."""
        if self._own:
            self._http.close()


class AsyncTransport:
    """Sends, and lets others run meanwhile."""

    def __init__(self, config: Config, http: httpx.AsyncClient | None) -> None:
        self._config = config
        self._own = http is None
        self._http = http or httpx.AsyncClient(limits=_LIMITS)

    async def run(self, call: Call, finish: Callable[[Answer], T]) -> T:
        """Make a call, again where that is safe and needed."""
        exchange = Exchange(call, self._config)
        while True:
            try:
                response = await self._http.request(**exchange.request())
            except httpx.RequestError as error:
                wait = exchange.failed(error)
            else:
                wait = exchange.answered(response.status_code, response.headers, response.content)
            if exchange.answer is not None:
                return finish(exchange.answer)
            await asyncio.sleep(wait)

    async def close(self) -> None:
        """Close the connections, unless they were lent."""
        if self._own:
            await self._http.aclose()
