"""The pools of connections, and the front door of the HTTP client.

Floor 2.

One pool per address; the connection used last is used next, so the ones that a burst opened grow old and go. There is no limit to
connections in use: admission is decided earlier, and a queue here would be a second one nobody sees.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import msgspec

from fkproxy.adapters.http.connect import connect, default_ssl_context
from fkproxy.adapters.http.connection import Connection, HttpExchange
from fkproxy.adapters.http.origin import BAD_TARGET, Address, Origin, header_block, parse_base_url, render_head
from fkproxy.adapters.http.proxy import Proxies, Proxy
from fkproxy.adapters.http.resolver import Resolver
from fkproxy.model.errors import UpstreamProtocolError, UpstreamTimeout, UpstreamUnavailable

__all__ = ["HttpClient", "HttpStats", "Pool"]


class HttpStats(msgspec.Struct, frozen=True, kw_only=True):
    """Connections open and idle now; connections created and requests sent on a reused one since the start."""

    open: int
    idle: int
    created: int
    reused: int


class Pool:
    """The connections to one address."""

    def __init__(
        self,
        address: Address,
        ssl_context: ssl.SSLContext | None,
        resolver: Resolver,
        *,
        connect_timeout_s: float,
        idle_timeout_s: float,
        max_idle: int,
    ) -> None:
        self.loop: asyncio.AbstractEventLoop
        self.created = 0
        self.reused = 0
        self.open: set[Connection] = set()
        self.idle: dict[Connection, float] = {}
        self._address = address
        self._ssl_context = ssl_context
        self._resolver = resolver
        self.connect_timeout_s = connect_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._max_idle = max_idle
        self._expiry: asyncio.TimerHandle | None = None
        self._closed = False
        self._emptied = asyncio.Event()

    # --- the client's side

    def take(self) -> Connection | None:
        """The connection that went idle last, or None."""
        if not self.idle:
            return None
        connection, _ = self.idle.popitem()
        self.reused += 1
        return connection

    async def connect(self) -> Connection:
        """A fresh one. Raises as `connect.connect`."""
        self.loop = asyncio.get_running_loop()
        if self._closed:
            raise UpstreamUnavailable("the gateway is shutting down")
        connection = Connection(self)
        try:
            await connect(self._address, self._ssl_context, self._resolver, lambda: connection, self.connect_timeout_s)
        except BaseException:
            if connection in self.open:
                # Cancelled at the last moment: uvloop has told it that it is made, and does not tell it that it is lost.
                connection.cut()
                self.lost(connection)
            raise
        if self._closed:
            connection.cut()
            raise UpstreamUnavailable("the gateway is shutting down")
        self.created += 1
        return connection

    async def aclose(self) -> None:
        """Cut every connection and wait until the sockets are closed."""
        self._closed = True
        if self._expiry is not None:
            self._expiry.cancel()
        for connection in list(self.open):
            connection.fail(UpstreamUnavailable("the gateway is shutting down"))
        self._emptied.clear()
        if self.open:
            await self._emptied.wait()

    # --- the connections' side

    def opened(self, connection: Connection) -> None:
        """A transport exists."""
        self.open.add(connection)

    def lost(self, connection: Connection) -> None:
        """A transport is gone."""
        self.open.discard(connection)
        if not self.open:
            self._emptied.set()

    def put(self, connection: Connection) -> None:
        """A connection went idle. None does when the pool is closed, for `aclose` cut those that were busy."""
        self.idle[connection] = now = self.loop.time()
        if len(self.idle) > self._max_idle:
            self._drop_oldest()
        elif self._expiry is None:
            self._expiry = self.loop.call_at(now + self._idle_timeout_s, self._expire)

    def discard(self, connection: Connection) -> None:
        """An idle connection is of no use any more."""
        self.idle.pop(connection, None)

    def _drop_oldest(self) -> None:
        connection = next(iter(self.idle))
        del self.idle[connection]
        connection.cut()

    def _expire(self) -> None:
        self._expiry = None
        while self.idle:
            due = next(iter(self.idle.values())) + self._idle_timeout_s
            if due > self.loop.time():
                self._expiry = self.loop.call_at(due, self._expire)
                return
            self._drop_oldest()


class HttpClient:
    """HTTP/1.1 to upstreams. Bound to the event loop it is first used on; `aclose` it there.

    `ssl_context` None: `default_ssl_context()`. `connect_timeout_s` bounds name, socket, tunnel and TLS together. `idle_timeout_s` is
    below the 60 s after which common load balancers close idle connections.
    """

    def __init__(
        self,
        *,
        connect_timeout_s: float = 10.0,
        idle_timeout_s: float = 55.0,
        max_idle_per_origin: int = 256,
        ssl_context: ssl.SSLContext | None = None,
        proxies: Proxies | None = None,
    ) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._max_idle_per_origin = max_idle_per_origin
        self._ssl_context = ssl_context
        self._proxies = proxies
        self._resolver = Resolver()
        self._pools: dict[tuple[Address, float | None], Pool] = {}

    def tune(self, connect_timeout_s: float) -> None:
        """Another deadline for connections that are made from now on, but for origins that have one of their own."""
        self._connect_timeout_s = connect_timeout_s
        for (_, own_s), pool in self._pools.items():
            if own_s is None:
                pool.connect_timeout_s = connect_timeout_s

    def origin(self, base_url: str, *, proxy: str | None = None, connect_timeout_s: float | None = None) -> Origin:
        """Where `send` can send to. Equal hosts share a pool, whatever their paths.

        `proxy`: instead of the client's own; its URL, or `direct`. Raises `ValueError` saying what is wrong with either.
        """
        scheme, host, port, prefix = parse_base_url(base_url)
        if proxy == "direct":
            chosen = None
        elif proxy is not None:
            chosen = Proxy.parse(proxy)
        else:
            chosen = None if self._proxies is None else self._proxies.choose(scheme, host, port)
        address = Address(scheme=scheme, host=host, port=port, proxy=chosen)
        # RFC 9112 §3.2.2: a proxy that is no tunnel gets the absolute form.
        target_prefix = prefix if chosen is None or address.tunnelled else f"http://{address.authority}{prefix}"
        return Origin(address=address, target_prefix=target_prefix, pool=self._pool(address, connect_timeout_s))

    def endpoint(self, url: str, *, proxy: str | None = None) -> tuple[Origin, str]:
        """(origin, target) of a whole URL, path and query as they stand, for calls that always go to one place.

        Raises `ValueError` saying what is wrong with `url`, without quoting it.
        """
        try:
            parts = urlsplit(url)
        except ValueError:
            raise ValueError("the URL cannot be read") from None
        if parts.fragment:
            raise ValueError("the URL of an endpoint must not have a fragment")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if BAD_TARGET.search(target):
            raise ValueError("path and query of an endpoint must be percent-encoded")
        return self.origin(f"{parts.scheme}://{parts.netloc}", proxy=proxy), target

    def _pool(self, address: Address, connect_timeout_s: float | None) -> Pool:
        key = (address, connect_timeout_s)
        if key not in self._pools:
            if address.scheme == "https" and self._ssl_context is None:
                self._ssl_context = default_ssl_context()
            self._pools[key] = Pool(
                address,
                self._ssl_context if address.scheme == "https" else None,
                self._resolver,
                connect_timeout_s=self._connect_timeout_s if connect_timeout_s is None else connect_timeout_s,
                idle_timeout_s=self._idle_timeout_s,
                max_idle=self._max_idle_per_origin,
            )
        return self._pools[key]

    async def send(self, origin: Origin, method: str, target: str, headers: bytes | Sequence[tuple[str, str]], body: bytes) -> HttpExchange:
        """Connected and written; the reply is the exchange's. `headers` is a `header_block` of this origin, or pairs.

        `target` is path and query, percent-encoded, behind the base URL's path. The body may still be in the socket's buffer: a peer that
        does not read is met by the deadlines of whoever waits, and by `close`. Raises `UpstreamUnavailable`, `UpstreamTimeout` (phase
        connect), and `ValueError` for what cannot be sent.
        """
        block = headers if isinstance(headers, bytes) else header_block(origin, headers)
        head = render_head(origin, method, target, block, len(body))
        pool = origin.pool
        connection = pool.take()
        if connection is not None:
            return HttpExchange(pool, connection, head, body, reused=True)
        return HttpExchange(pool, await pool.connect(), head, body, reused=False)

    async def fetch(
        self,
        origin: Origin,
        method: str,
        target: str,
        headers: bytes | Sequence[tuple[str, str]],
        body: bytes,
        *,
        timeout_s: float,
        limit_bytes: int,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """(status, headers, whole body), for small control calls.

        Raises as `send` and `Exchange.chunk`; `UpstreamTimeout` (phase total) after `timeout_s`; `UpstreamProtocolError` when the body is
        larger than `limit_bytes`.
        """
        try:
            async with asyncio.timeout(timeout_s):
                exchange = await self.send(origin, method, target, headers, body)
                try:
                    return await _read_whole(exchange, timeout_s, limit_bytes)
                finally:
                    exchange.close()
        except TimeoutError as error:
            raise UpstreamTimeout("total", timeout_s) from error

    @property
    def stats(self) -> HttpStats:
        """Over all pools."""
        pools = self._pools.values()
        return HttpStats(
            open=sum(len(pool.open) for pool in pools),
            idle=sum(len(pool.idle) for pool in pools),
            created=sum(pool.created for pool in pools),
            reused=sum(pool.reused for pool in pools),
        )

    async def aclose(self) -> None:
        """Cut every connection, also those in use, and wait until the sockets are closed. The client cannot be used again."""
        for pool in self._pools.values():
            await pool.aclose()


async def _read_whole(exchange: HttpExchange, timeout_s: float, limit_bytes: int) -> tuple[int, Mapping[str, str], bytes]:
    # Every wait is as long as the whole call may be: the timeout around it ends them all.
    while not await exchange.head(timeout_s):
        pass
    body = bytearray()
    while (data := await exchange.chunk(timeout_s)) != b"":
        body += data or b""
        if len(body) > limit_bytes:
            raise UpstreamProtocolError(f"the upstream's reply is larger than {limit_bytes} bytes")
    return exchange.status, exchange.headers, bytes(body)
