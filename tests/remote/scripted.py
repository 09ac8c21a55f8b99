"""An instance that answers what it is told to: what one in trouble says cannot be had from a real one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Asked(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    key: str | None
    body: Any


class Scripted:
    """`say` what a path is answered with; everything else is an empty list. `asked`: what came."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[Asked] = []
        self._said: dict[str, tuple[int, bytes]] = {}

    def say(self, path: str, value: Any, status: int = 200) -> None:
        self._said[path] = (status, value if isinstance(value, bytes) else json.dumps(value).encode())

    def answer(self, asked: Asked) -> tuple[int, bytes]:
        self.asked.append(asked)
        return self._said.get(asked.path.partition("?")[0], (200, b"[]"))


@contextmanager
def scripted() -> Iterator[Scripted]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            asked = Asked(self.command, self.path, self.headers.get("authorization"), json.loads(body) if body else None)
            status, data = instance.answer(asked)
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - names that http.server calls

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        instance = Scripted(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield instance
        server.shutdown()
        thread.join()
