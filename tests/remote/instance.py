"""The whole application behind a socket of loopback, in this process: what a command line asks, with a store of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from litestar import Litestar

from fkproxy.app import create_app
from fkproxy.settings import load

KEY = "sk-remote-tests-0123456789"
_WAIT_S = 20.0


class Instance:
    """`url` for the command line; `call` is a client's. `directory` is where it remembers."""

    def __init__(self, app: Litestar, loop: asyncio.AbstractEventLoop, url: str, directory: Path) -> None:
        self._app = app
        self._loop = loop
        self.url = url
        self.directory = directory

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """One request, from whatever thread."""
        return asyncio.run_coroutine_threadsafe(self._asked(method, path, body, headers), self._loop).result(_WAIT_S)

    def call(self, key: str, model: str = "sandbox", request_id: str = "call-1") -> int:
        """A chat completion; its status."""
        body = b'{"model": "%s", "messages": [{"role": "user", "content": "hello"}]}' % model.encode()
        headers = [(b"authorization", f"Bearer {key}".encode()), (b"x-request-id", request_id.encode())]
        return self.ask("POST", "/v1/chat/completions", body, headers)[0]

    async def _asked(self, method: str, path: str, body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> tuple[int, Any, bytes]:
        path, _, query = path.partition("?")
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": list(headers),
            "client": ("127.0.0.1", 40000),
            "server": ("127.0.0.1", 4000),
            "state": {},
        }
        inbox: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[Any] = []
        answered = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if inbox:
                return inbox.pop(0)
            await answered.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                answered.set()

        await self._app(scope, receive, send)
        return sent[0]["status"], sent[0]["headers"], b"".join(message.get("body", b"") for message in sent[1:])


@contextmanager
def instance(directory: Path, **settings: str) -> Iterator[Instance]:
    """Up, with its store open."""
    given = {"APP_AUTH__MASTER_KEY": KEY, "APP_STORE__DIRECTORY": str(directory), **settings}
    loop = asyncio.new_event_loop()
    leave = asyncio.Event()
    up = threading.Event()
    app = create_app(load(environ=given))

    async def live() -> None:
        async with app.lifespan():
            up.set()
            await leave.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(live()))
    thread.start()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Bridge) as server:
        running = Instance(app, loop, f"http://127.0.0.1:{server.server_port}", directory)
        _Bridge.to = running
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            assert up.wait(_WAIT_S)
            until(lambda: b'"state":"open"' in running.ask("GET", "/health")[2])
            yield running
        finally:
            server.shutdown()
            serving.join()
            loop.call_soon_threadsafe(leave.set)
            thread.join()
            loop.close()


def until(condition: Callable[[], bool]) -> None:
    """Look again and again: what it waits for happens in other threads."""
    deadline = time.monotonic() + _WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class _Bridge(BaseHTTPRequestHandler):
    to: Instance

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]
        status, told, data = self.to.ask(self.command, self.path, body, headers)
        self.send_response(status)
        for name, value in told:
            if name not in (b"content-length", b"date", b"server"):
                self.send_header(name.decode(), value.decode())
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - names that http.server calls

    def log_message(self, *_: object) -> None:
        return
