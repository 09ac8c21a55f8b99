"""The least that a relay costs on the gateway's own server and event loop: bodies go to the upstream and back, nothing else is done.

    python -m bench.relay PORT UPSTREAM_PORT

No keys, limits, records, deadlines, back-pressure or errors, so it is of no use but as a yardstick: what it takes is what Granian, uvloop,
httptools and the kernel take of a call, and what the gateway takes beyond it is the gateway's own.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from collections import deque
from typing import cast

import httptools

from fkproxy.scheduling import Scheduling
from fkproxy.server import run_worker
from fkproxy.settings import load
from fkproxy.web.asgi import Message, Receive, Rest, Scope, Send

_LOOK_EVERY_S = 0.5
_TAKEN = object()


class Relay:
    """An ASGI application."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream_port = upstream_port
        self.idle: list[Upstream] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        length = next(int(value) for name, value in scope["headers"] if name == b"content-length")
        pieces: list[bytes] = []
        while length > 0:
            pieces.append((await receive())["body"])
            length -= len(pieces[-1])
        upstream = self.idle.pop() if self.idle else await self._connected()
        await upstream.ask(scope["path"].encode(), b"".join(pieces), send)

    async def _connected(self) -> Upstream:
        _, upstream = await asyncio.get_running_loop().create_connection(lambda: Upstream(self.idle), "127.0.0.1", self._upstream_port)
        return upstream


class Upstream(asyncio.Protocol):
    """A connection: one request after another. `idle`: where it waits for the next one."""

    def __init__(self, idle: list[Upstream]) -> None:
        self._idle = idle
        self._transport: asyncio.Transport
        self._parser: httptools.HttpResponseParser
        self._send: Send
        self._done: asyncio.Future[None]
        self._headers: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] | None = None
        self._behind: deque[Message | None] | None = None

    async def ask(self, path: bytes, body: bytes, send: Send) -> None:
        """Send the request, and pass the reply on as it comes."""
        self._send, self._headers, self._pieces = send, [], None
        self._done = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        head = b"POST %s HTTP/1.1\r\nHost: upstream\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (path, len(body))
        self._transport.write(head + body)
        await self._done

    def _push(self, message: Message | None) -> None:
        """To the client, or behind what it has not taken yet. None is the end."""
        if self._behind is not None:
            self._behind.append(message)
        elif message is None:
            self._end()
        else:
            steps = self._send(message).__await__()
            first = next(steps, _TAKEN)
            if first is not _TAKEN:
                self._behind = deque()
                self._catching_up = asyncio.get_running_loop().create_task(self._catch_up(Rest(first, steps)))

    async def _catch_up(self, rest: Rest) -> None:
        await rest
        behind, ended = self._behind or deque(), False
        while behind:
            if (message := behind.popleft()) is not None:
                await self._send(message)
            else:
                ended = True
        self._behind = None
        if ended:
            self._end()

    def _end(self) -> None:
        self._idle.append(self)
        self._done.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, _: Exception | None) -> None:
        if self in self._idle:
            self._idle.remove(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in (b"content-type", b"content-length"):
            self._headers.append((name, value))
        if name == b"content-length":
            self._pieces = []

    def on_headers_complete(self) -> None:
        self._push({"type": "http.response.start", "status": self._parser.get_status_code(), "headers": self._headers})

    def on_body(self, body: bytes) -> None:
        if self._pieces is None:
            self._push({"type": "http.response.body", "body": body, "more_body": True})
        else:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        self._push({"type": "http.response.body", "body": b"".join(self._pieces or ()), "more_body": False})
        self._push(None)


def main() -> None:
    """Serve until told to stop."""
    port, upstream_port = map(int, sys.argv[1:])
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    listener.setblocking(False)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def application() -> Relay:
        threading.Thread(target=_look, args=(Scheduling(),), daemon=True).start()
        return Relay(upstream_port)

    run_worker(load(environ={}).settings, listener, application)


def _look(scheduling: Scheduling) -> None:
    while True:
        scheduling.look()
        time.sleep(_LOOK_EVERY_S)


if __name__ == "__main__":
    main()
