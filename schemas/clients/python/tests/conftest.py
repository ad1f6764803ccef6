"""The tests' world: the real server on a data folder of its own, and a real receiver. Nothing is faked.

Each test that asks for `client` runs twice, with `Hookledger` and with `AsyncHookledger`, from the same lines.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar, cast

import httpx
import pytest

from hookledger import AsyncHookledger, Hookledger

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[4]


def eventually(what: str, look: Callable[[], T | None], seconds: float = 30) -> T:
    """Ask until there is something, and say what there was to wait for if there never is."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = look()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"within {seconds} s there was no {what}")


@dataclass
class Server:
    """A running `hookledger serve`."""

    base: str
    folder: Path
    binary: Path
    accounts: int = 0

    def run(self, *args: str) -> str:
        done = subprocess.run(
            [self.binary, *args, "--data-dir", self.folder], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def account(self) -> Account:
        """An account that nobody else uses."""
        self.accounts += 1
        name = f"account-{self.accounts}"
        key = self.run("keys", "create", "--account", name, "--scopes", "admin", "--quiet")
        token = self.run("token", "--account", name)
        return Account(name, key, token, self)


@dataclass
class Account:
    """Who asks."""

    name: str
    key: str
    token: str
    server: Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests. A delivery that failed waits for an hour, so that the tests see it wait."""
    binary = Path(os.environ.get("HOOKLEDGER_BINARY", ROOT / "bin" / "hookledger"))
    if not binary.exists():
        pytest.fail(f"{binary} is missing: make build engine, or run make test-clients", pytrace=False)
    folder = tmp_path_factory.mktemp("server")
    environment = dict(os.environ)
    libraries = sorted((ROOT / "deploy" / "embedded" / "node_modules" / "@chdb").glob("*/libchdb.*"))
    if libraries:
        environment.setdefault("HOOKLEDGER_ENGINE_LIB", str(libraries[0]))
    said, log = folder / "out", folder / "err"
    with said.open("wb") as out, log.open("wb") as err:
        process = subprocess.Popen(
            [
                *(binary, "serve", "--data-dir", folder / "data", "--listen", "127.0.0.1:0"),
                *("--allow-http-urls", "--allow-private-networks", "--retry-schedule", "1h,1h", "--fsync", "none"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=environment,
        )
    try:

        def greeting() -> str | None:
            assert process.poll() is None, log.read_text()[-4000:]
            match = re.search(r"API on (http://[0-9.:]+)/api/v2", said.read_text())
            return match[1] if match else None

        yield Server(eventually("greeting of the server", greeting, 60), folder / "data", binary)
    finally:
        process.terminate()
        assert process.wait(60) == 0, log.read_text()[-4000:]


@pytest.fixture
def account(server: Server) -> Account:
    """An account of the test's own."""
    return server.account()


@dataclass
class Received:
    """What a receiver got."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """An HTTP server that keeps what it gets, and answers what the test says."""

    url: str
    got: list[Received] = field(default_factory=list)
    status: int = 204

    def next(self, count: int = 1) -> Received:
        """Wait for the count-th request."""
        eventually(f"request {count} at the receiver", lambda: len(self.got) >= count)
        return self.got[count - 1]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver on this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            it.got.append(Received(self.path, dict(self.headers.items()), body))
            self.send_response(it.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    it = Receiver(f"http://127.0.0.1:{http.server_port}/hook")
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield it
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


class Driven:
    """An AsyncHookledger whose coroutines are run to their end, so that it looks like a Hookledger."""

    def __init__(self, target: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._target, self._loop = target, loop

    def close(self) -> None:
        self._loop.run_until_complete(self._target.aclose())

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if not callable(value):
            return Driven(value, self._loop)

        def call(*args: Any, **named: Any) -> Any:
            result = value(*args, **named)
            if inspect.isasyncgen(result):
                return self._each(result)
            return self._loop.run_until_complete(result)

        return call

    def _each(self, items: Any) -> Iterator[Any]:
        while True:
            try:
                yield self._loop.run_until_complete(anext(items))
            except StopAsyncIteration:
                return


Make = Callable[..., Hookledger]


@pytest.fixture(params=["sync", "async"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Make clients of either kind; they are closed after the test."""
    loop = asyncio.new_event_loop()
    made: list[Hookledger] = []
    lent: list[Any] = []

    def new(base: str, key: str | None = None, **named: Any) -> Hookledger:
        if named.get("http_client") is not None:
            lent.append(named["http_client"])
        if request.param == "sync":
            made.append(Hookledger(base, key, **named))
        else:
            made.append(cast("Hookledger", Driven(AsyncHookledger(base, key, **named), loop)))
        return made[-1]

    try:
        yield new
    finally:
        for client in made:
            client.close()
        for http in lent:
            assert not http.is_closed, "a client that was lent stays open"
            if isinstance(http, httpx.Client):
                http.close()
            else:
                loop.run_until_complete(http.aclose())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


@pytest.fixture
def client(make: Make, account: Account) -> Hookledger:
    """A client that may do everything in the test's account."""
    return make(account.server.base, account.key, token=account.token)


def pytest_sessionstart() -> None:
    """The README says which Python is needed."""
    assert sys.version_info >= (3, 10)
