"""A proxy between client and server that does to answers what networks do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

LOSE, HANG, PASS = "lose the answer", "hang", "pass"


@dataclass(frozen=True)
class Say:
    """Answer this, without asking the server."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: str = '{"error": {"code": "rate_limited", "message": "too many", "details": {}, "request_id": "r"}}'


@dataclass
class Weather:
    """The proxy: `coming` is what happens to the next requests; after that they pass."""

    base: str
    coming: list[str | Say] = field(default_factory=list)
    always: str | Say = PASS
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)


@contextmanager
def weather(target: str) -> Iterator[Weather]:
    """Run a proxy to the server."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            it.seen.append((self.command, self.path, headers))
            then = it.coming.pop(0) if it.coming else it.always
            if then == HANG:
                it.ended.wait(60)
                self.close_connection = True
                return
            if isinstance(then, Say):
                self.answer(then.status, then.headers, then.body.encode())
                return
            kept = {
                n: v for n, v in headers.items() if n not in ("host", "connection", "content-length", "accept-encoding")
            }
            answer = onward.request(self.command, target + self.path, headers=kept, content=body)
            if then == PASS:
                passed = [
                    (n, v)
                    for n, v in answer.headers.items()
                    if n.lower() not in ("content-length", "date", "connection")
                ]
                self.answer(answer.status_code, passed, answer.content)
                return
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815

        def answer(self, status: int, headers: Any, body: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    it = Weather(f"http://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    with httpx.Client() as onward:
        try:
            yield it
        finally:
            it.ended.set()
            http.shutdown()
            thread.join()
            http.server_close()
