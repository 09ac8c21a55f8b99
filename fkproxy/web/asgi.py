"""A client at the other end of an ASGI connection.

Floor 4. Everything that reads a scope, receives or sends is here.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
import re
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, MutableMapping, Sequence
from typing import Any

from fkproxy.access import presented_key
from fkproxy.call import ClientGone, Headers
from fkproxy.intake import FREE_BYTES
from fkproxy.model.errors import RequestTooLarge
from fkproxy.telemetry.record import MAX_AGENT_CHARS, known_method
from fkproxy.web.cors import CorsPolicy, is_another_sites
from fkproxy.web.peers import address_of
from fkproxy.wire.inflate import inflate_request, request_inflater
from fkproxy.wire.jsonarray import JsonArray
from fkproxy.wire.late_event import BEGINNING, LateEvent

__all__ = ["AsgiClient", "Door", "Endpoint", "Inbound", "Message", "Receive", "Rest", "Scope", "Send", "request_id"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Endpoint = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:\-]{1,128}")
_ID_IN_SCOPE = "fkproxy.request_id"
_MAX_PEERS = 4096
_LINGER_S, _LINGER_BYTES, _MAX_LINGERING = 2.0, 64 * 1024 * 1024, 64
"""How long, for how much of a body, and at how many connections at once one is waited for that nobody wants."""

_OVER = object()
"""What an awaitable's steps give when there are no more."""


class Inbound:
    """The head of a request: what is needed of it, read once."""

    __slots__ = ("headers", "method", "origin", "path", "peer", "query", "request_id", "user_agent")

    def __init__(self, scope: Scope, peer: str | None, headers: dict[bytes, bytes]) -> None:
        self.method = known_method(scope["method"])
        # Percent-encoded as it came: a decoder that knows what the path means does the decoding.
        self.path: str = scope["raw_path"].decode("latin-1").partition("?")[0]
        self.query: str = scope["query_string"].decode("latin-1")
        self.headers = headers
        given = headers.get(b"x-request-id")
        self.request_id = given.decode() if given is not None and _REQUEST_ID.fullmatch(given) else _new_id()
        agent = headers.get(b"user-agent")
        self.user_agent = agent[:MAX_AGENT_CHARS].decode("latin-1") if agent is not None else None
        self.peer = peer
        self.origin = headers.get(b"origin")

    @property
    def presented_key(self) -> bytes | None:
        """See `access.presented_key`. Clients of Azure have it in `api-key`."""
        header = self.headers.get
        return presented_key(header(b"authorization"), header(b"x-api-key"), header(b"x-goog-api-key"), header(b"api-key"))


def _new_id() -> str:
    """48 bits of milliseconds, then 48 bits of chance: ids that grow with time are cheap to index, and say when the call came.

    They tell calls apart and are no secret; the system's own chance would be a system call each.
    """
    return f"{int(time.time() * 1000) << 48 | random.getrandbits(48):024x}"


def request_id(scope: Scope) -> str:
    """The id that the caller gave, or one that is made for whoever first asks, where it gave none that may be used."""
    known: str | None = scope.get(_ID_IN_SCOPE)
    if known is None:
        given = dict(scope["headers"]).get(b"x-request-id")
        known = scope[_ID_IN_SCOPE] = given.decode() if given is not None and _REQUEST_ID.fullmatch(given) else _new_id()
    return known


class Door:
    """What every request passes first: peer address, static headers, CORS.

    `trusted_proxies` are networks whose `X-Forwarded-For` is believed: the client is the last address in it that is not itself
    such a proxy. Everybody else's is ignored, or a caller could pick its own rate limit. `leaving` turns true when this process is
    about to stop; replies then ask the client to close its connection. `lingering` counts those who send what nobody wants.
    """

    __slots__ = ("_peers", "_trusted", "cors", "leaving", "lingering", "static")

    def __init__(
        self, *, trusted_proxies: Sequence[str], cors: CorsPolicy | None, static: Headers, leaving: Callable[[], bool] = lambda: False
    ) -> None:
        self._trusted = tuple(ipaddress.ip_network(network, strict=False) for network in trusted_proxies)
        self._peers: dict[str, bool] = {}
        self.cors = cors
        self.static = static
        self.leaving = leaving
        self.lingering = 0

    def enter(self, scope: Scope) -> Inbound:
        """Read the head."""
        headers = dict(scope["headers"])
        return Inbound(scope, self._peer(scope, headers), headers)

    def knows(self, inbound: Inbound) -> bool:
        """No page of another site makes a browser ask, or one that may."""
        origin = inbound.origin
        if origin is None or (self.cors is not None and self.cors.allows(origin)):
            return True
        return not is_another_sites(origin, inbound.headers.get(b"sec-fetch-site"))

    def peer_of(self, scope: Scope) -> str | None:
        """The client's address alone."""
        return self._peer(scope, dict(scope["headers"]))

    def _peer(self, scope: Scope, headers: dict[bytes, bytes]) -> str | None:
        client = scope.get("client")
        peer: str | None = client[0] if client else None
        if self._trusted and headers.get(b"x-forwarded-for") is not None and self._is_trusted(peer):
            # Lines of one name are one list (RFC 9110 §5.3): HAProxy adds its own behind that of the proxy before it.
            return self._forwarded(b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for"), peer)
        return peer

    def _forwarded(self, value: bytes, peer: str | None) -> str | None:
        for told in reversed(value.decode("latin-1").split(",")):
            address = address_of(told.strip())
            if address is None:
                return peer
            peer = str(address)
            if not self._is_trusted(peer):
                break
        return peer

    def _is_trusted(self, peer: str | None) -> bool:
        if peer is None:
            return False
        known = self._peers.get(peer)
        if known is None:
            address = address_of(peer)
            if address is None:
                return False
            # An IPv4 network may be named as those of a socket for both families are.
            names = (address, ipaddress.IPv6Address(f"::ffff:{address}")) if address.version == 4 else (address,)
            known = any(name in network for network in self._trusted for name in names)
            if len(self._peers) < _MAX_PEERS:
                self._peers[peer] = known
        return known


class Rest:
    """An awaitable that has made its first step."""

    __slots__ = ("_first", "_steps")

    def __init__(self, first: Any, steps: Generator[Any, Any, None]) -> None:
        self._first = first
        self._steps = steps

    def __await__(self) -> Generator[Any, Any, None]:
        yield self._first
        yield from self._steps


class AsgiClient:
    """`Client` of the pipeline over one ASGI request."""

    __slots__ = ("_asked_for", "_door", "_form", "_inbound", "_last", "_receive", "_send", "_unread", "_watcher", "gone", "in_pieces")

    def __init__(self, door: Door, inbound: Inbound, receive: Receive, send: Send) -> None:
        self._door = door
        self._inbound = inbound
        self._receive = receive
        self._send = send
        self._watcher: asyncio.Task[None] | None = None
        self._form: JsonArray | LateEvent | None = None
        self._unread, self._asked_for = True, False
        self._last = b""
        self.gone = self.in_pieces = False

    async def read_body(self, limit_bytes: int, make_room: Callable[[int], Awaitable[None]]) -> bytes:
        """See `Client.read_body`.

        A body whose length was declared is not waited for beyond its last byte: the message that it is over is a round trip through the
        server's own thread.
        """
        header = self._inbound.headers.get
        declared, coding = header(b"content-length", b""), header(b"content-encoding")
        length_bytes = int(declared) if declared.isdigit() else None
        if length_bytes is not None and length_bytes > limit_bytes:
            raise RequestTooLarge(limit_bytes)
        inflater = request_inflater(coding) if coding is not None else None
        pieces: list[bytes] = []
        size_bytes = 0
        room_bytes = limit_bytes if inflater is not None else length_bytes or FREE_BYTES
        if room_bytes > FREE_BYTES:
            await make_room(room_bytes)
        self._asked_for = True
        while size_bytes != length_bytes or not pieces:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.gone = True
                raise ClientGone
            piece = message.get("body", b"")
            if piece:
                size_bytes += len(piece)
                if size_bytes > limit_bytes:
                    raise RequestTooLarge(limit_bytes)
                pieces.append(piece)
                if size_bytes > room_bytes:
                    # Nobody said how much it is.
                    room_bytes = limit_bytes
                    await make_room(room_bytes)
            if not message.get("more_body", False):
                break
        self._unread = False
        self.in_pieces = len(pieces) > 1
        body = b"".join(pieces)
        return inflate_request(inflater, body, limit_bytes) if inflater is not None else body

    def as_json_array(self) -> None:
        """See `Client.as_json_array`."""
        self._form = JsonArray()

    def watch(self) -> None:
        """See `Client.watch`."""
        task = asyncio.current_task()
        if self._watcher is None and task is not None:
            self._watcher = asyncio.get_running_loop().create_task(self._wait_for_hang_up(task))

    async def _wait_for_hang_up(self, task: asyncio.Task[Any]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        task.cancel()

    def start(self, status: int, headers: Headers) -> Awaitable[None]:
        """See `Client.start`. No coroutine of its own, as in `finish`: the server's is what is waited for."""
        if self._form is not None:
            if status == 200:
                headers = [(name, b"application/json; charset=utf-8" if name == b"content-type" else value) for name, value in headers]
            else:
                self._form = None
        headers += self._door.static
        if self._door.leaving():
            headers.append((b"connection", b"close"))
        if self._door.cors is not None:
            headers += self._door.cors.headers(self._inbound.origin)
        return self._send({"type": "http.response.start", "status": status, "headers": headers})

    def write(self, data: bytes) -> Awaitable[None] | None:
        """See `Client.write`."""
        if self._form is not None:
            data = self._form.feed(data)
        steps = self._send({"type": "http.response.body", "body": data, "more_body": True}).__await__()
        first = next(steps, _OVER)
        return Rest(first, steps) if first is not _OVER else None

    def keep_alive(self, data: bytes) -> Awaitable[None] | None:
        """See `Client.keep_alive`."""
        form = LateEvent() if self._form is None and data == BEGINNING else self._form
        self._form = None
        blocked = self.write(form.pad() if form is not None else data)
        self._form = form
        return blocked

    def finish(self, data: bytes = b"") -> Awaitable[None]:
        """See `Client.finish`."""
        # What the server tells from now on is that the reply is over, in the word for a client that has left.
        self.close()
        if self._form is not None:
            data = self._form.feed(data) + self._form.end()
        if self._inbound.method == "HEAD":
            data = b""
        if self._unread and data and self._sends_on():
            # The last byte waits for `linger`: when the reply is out, the server reads no more of the request.
            data, self._last = data[:-1], data[-1:]
        return self._send({"type": "http.response.body", "body": data, "more_body": bool(self._last)})

    def _sends_on(self) -> bool:
        """The client sends a body all the same. With GET none is expected, and who expects a word first (RFC 9110 §10.1.1) has the answer
        in its place, unless its body was asked for."""
        if self._inbound.method == "GET":
            return False
        header = self._inbound.headers.get
        comes = header(b"content-length", b"0") != b"0" or header(b"transfer-encoding") is not None
        goes_on = self._asked_for or header(b"expect") is None
        return comes and goes_on and not self.gone and self._door.lingering < _MAX_LINGERING

    async def linger(self) -> None:
        """End the answer to a request whose body was not read: first drop what still comes of that, within bounds.

        A connection that is closed while its client sends is reset, and the answer lost with it: many a client reads nothing before it has
        sent everything. "the server [...] continues to read from the connection until it receives a corresponding close by the client, or
        until the server is reasonably certain" (RFC 9112 §9.6); nginx calls it lingering_close.
        """
        if not self._last:
            return
        self._door.lingering += 1
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LINGER_S):
                    await self._drop_rest()
        finally:
            self._door.lingering -= 1
        await self._send({"type": "http.response.body", "body": self._last, "more_body": False})

    async def _drop_rest(self) -> None:
        left_bytes = _LINGER_BYTES
        while left_bytes > 0:
            message = await self._receive()
            if not message.get("more_body", False):
                return
            left_bytes -= len(message.get("body", b""))

    async def preflight(self, methods: Sequence[str]) -> None:
        """Answer who asks what may be done here (RFC 9110 §9.3.7), and a browser that asks whether its page may."""
        cors, origin = self._door.cors, self._inbound.origin
        allowed = cors.preflight(origin, self._inbound.headers.get(b"access-control-request-headers")) if cors and origin else []
        allow = (b"allow", ", ".join(methods).encode())
        await self._send({"type": "http.response.start", "status": 204, "headers": [allow, *allowed, *self._door.static]})
        await self.finish()

    def close(self) -> None:
        """The call is over: stop watching."""
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None
