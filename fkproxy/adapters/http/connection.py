"""One connection to an upstream, and the reply that is under way on it.

Floor 2.

A `Connection` is an asyncio protocol with one parser for its whole life. An `HttpExchange` is one request and its reply; it holds the
connection from `start` until the reply is complete, and not a moment longer:

    idle in the pool ──start──▶ busy ──reply complete, may stay open──▶ idle in the pool
                                 │ ──reply complete, must close──────▶ closed
                                 └ ──broken, not HTTP, close() early──▶ closed

What came in stays with the exchange, so a caller may read it after the connection has moved on, and a forgotten exchange never keeps
one. Nothing here creates a task; a wait is one future and one timer, made only when the data is not there yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

import httptools

from fkproxy.model.errors import UpstreamError, UpstreamProtocolError, UpstreamUnavailable
from fkproxy.wire.inflate import Damaged, Inflater, coding_of

if TYPE_CHECKING:
    from fkproxy.adapters.http.client import Pool

__all__ = ["HIGH_WATER_BYTES", "MAX_HEAD_BYTES", "Connection", "HttpExchange"]

HIGH_WATER_BYTES = 256 * 1024
"""With more than this unread the socket is not read: the window closes and the upstream waits for the client."""

MAX_HEAD_BYTES = 64 * 1024
"""Limit for a reply's head, interim replies included, and for framing (chunk extensions, trailers) between two pieces of body.

nginx takes 32 KiB by default, Node 16 KiB, aiohttp 8 KiB a line, curl 300 KB.
"""


_STALE_S = 5.0
"""Who closed an idle connection says so within a round trip, lost packets included. Later it is the request that was given up: it may have
been worked on, and paid for, and whether it is made again is the caller's decision.
"""

_JOIN_BYTES = 64 * 1024
"""A smaller body is copied behind its head: one write costs less than handing over two buffers."""


class _TrailingBytes(Exception):
    """The upstream sent more than the reply."""


class Connection(asyncio.Protocol):
    """The parser's and the transport's callbacks. `exchange` is None while idle."""

    __slots__ = ("_framing_bytes", "_head_bytes", "_headers", "_parser", "_stays_open", "exchange", "pool", "reading", "transport")

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.exchange: HttpExchange | None = None
        self.transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._head_bytes = 0
        self._framing_bytes = 0
        self.reading = True
        self._stays_open = False

    # --- the exchange's side

    def start(self, exchange: HttpExchange, head: bytes, body: bytes) -> None:
        """Write a request and let `exchange` have the reply."""
        self.exchange = exchange
        self._head_bytes = 0
        self._framing_bytes = 0
        if len(body) < _JOIN_BYTES:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))

    def resume(self) -> None:
        """The caller has taken what was buffered."""
        if not self.reading:
            self.reading = True
            self.transport.resume_reading()

    def cut(self) -> None:
        """Close now, whatever is under way; unsent bytes are dropped."""
        self.exchange = None
        self.transport.abort()

    # --- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.pool.opened(self)

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            # Nothing was asked: these bytes would be taken for the next request's reply.
            self.pool.discard(self)
            self.cut()
            return
        exchange.request = None  # a byte of the reply is here: it will not be sent again
        self._framing_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._stays_open = False
            if not exchange.complete:
                self.fail(_protocol_error(error))
                return
        if exchange.complete:
            self._release(exchange)
        elif self._framing_bytes > MAX_HEAD_BYTES or self._head_bytes > MAX_HEAD_BYTES:
            self.fail(UpstreamProtocolError(f"the headers of the upstream's reply are larger than {MAX_HEAD_BYTES} bytes"))
        elif exchange.pieces:
            exchange.came()

    def eof_received(self) -> None:
        self._ended(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended(exc)
        self.pool.lost(self)

    def _ended(self, cause: Exception | None) -> None:
        exchange = self.exchange
        if exchange is None:
            self.pool.discard(self)
        elif exchange.until_close and cause is None:
            exchange.complete = True
            self._stays_open = False
            self._release(exchange)
        else:
            error = UpstreamUnavailable("the upstream closed the connection before its reply was complete")
            error.__cause__ = cause
            self.fail(error)

    def _release(self, exchange: HttpExchange) -> None:
        self.exchange = None
        exchange.detach()
        # Bytes of the request that are still unsent (an early 413) would be read as the next request.
        if self._stays_open and not self.transport.is_closing() and not self.transport.get_write_buffer_size():
            self.resume()
            self.pool.put(self)
        else:
            self.transport.abort()

    def fail(self, error: UpstreamError) -> None:
        """Close now; the exchange that is under way, if any, ends with `error`."""
        exchange = self.exchange
        self.cut()
        if exchange is not None:
            exchange.fail(error)

    # --- the parser's side

    def on_message_begin(self) -> None:
        exchange = self.exchange
        if exchange is not None and exchange.complete:
            raise _TrailingBytes

    def on_header(self, name: bytes, value: bytes) -> None:
        exchange = self.exchange
        if exchange is None or exchange.status:
            return  # a trailer
        self._head_bytes += len(name) + len(value)
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        headers = self._headers
        headers[key] = f"{headers[key]}, {text}" if key in headers else text

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        headers, self._headers = self._headers, {}
        # RFC 9110 §15.2: a client must be able to parse interim replies (100, 103) that it did not ask for, and may ignore them.
        if status >= 200 and self.exchange is not None and self._head_bytes <= MAX_HEAD_BYTES:
            self._framing_bytes = 0
            self.exchange.begin(status, headers)

    def on_body(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            return
        self._framing_bytes = 0
        exchange.pieces.append(data)
        exchange.buffered_bytes += len(data)
        if exchange.buffered_bytes > HIGH_WATER_BYTES and self.reading:
            self.reading = False
            self.transport.pause_reading()

    def on_message_complete(self) -> None:
        exchange = self.exchange
        if exchange is not None and exchange.status:
            exchange.complete = True
            self._stays_open = self._parser.should_keep_alive()


def _protocol_error(error: Exception) -> UpstreamProtocolError:
    raised_by_us = error.__context__
    if isinstance(raised_by_us, UpstreamProtocolError):
        return raised_by_us
    result = UpstreamProtocolError("the upstream's reply is not HTTP/1.1")
    result.__cause__ = error
    return result


class HttpExchange:
    """One request under way; see `adapters.base.Exchange`. One task at a time may wait on it."""

    # Class attributes are the defaults of what most replies never set, and nobody reads for each piece of one: half the cost of making an
    # exchange.
    status = 0
    headers: Mapping[str, str] = {}
    buffered_bytes = 0
    until_close = False
    _unanswered_s = 0.0
    """The waits for a head that are over."""
    _closed = False
    _error: UpstreamError | None = None
    _waiter: asyncio.Future[bool] | None = None

    def __init__(self, pool: Pool, connection: Connection, head: bytes, body: bytes, *, reused: bool) -> None:
        self.pieces: list[bytes] = []
        self.complete = False
        self._inflater: Inflater | None = None
        self._into: Callable[[bytes], bool] | None = None
        self._pool = pool
        self._loop = pool.loop
        self._connection: Connection | None = connection
        self.request = (head, body) if reused else None
        connection.start(self, head, body)

    # --- the caller's side

    async def head(self, wait_s: float) -> bool:
        """See `Exchange.head`.

        A reused connection that soon ended before a byte of the reply is replaced by a fresh one, once: it was most likely closed while
        idle and had not noticed. That takes up to the connect timeout on top of `wait_s`, and may then raise `UpstreamTimeout`.
        """
        if self.status:
            return True
        deadline = self._loop.time() + wait_s
        while not self.status:
            if self._error is not None:
                if self._unanswered_s + wait_s - (deadline - self._loop.time()) > _STALE_S:
                    self.request = None
                await self._send_again()
            elif not await self._wait(deadline):
                self._unanswered_s += wait_s
                return False
        return True

    async def chunk(self, wait_s: float) -> bytes | None:
        """See `Exchange.chunk`. Gives all that has come in, at once."""
        deadline = 0.0
        while True:
            if self.pieces or self._inflater is not None:
                data = self._take()
                if data:
                    return data
            if self._error is not None:
                raise self._error
            if self.complete:
                return b""
            deadline = deadline or self._loop.time() + wait_s
            if not await self._wait(deadline):
                return None

    def at_once(self) -> bytes | None:
        """See `Exchange.at_once`."""
        return self._take() if self.complete and self._inflater is None and self._error is None else None

    async def pour(self, into: Callable[[bytes], bool], wait_s: float) -> bool:
        """See `Exchange.pour`. Until `wait_s` seconds are over it does not return for each piece."""
        data = await self.chunk(wait_s)
        if data is None:
            return False
        if not into(data) or not data:
            return True
        if self._inflater is None and not self.pieces and not self.complete and self._error is None:
            self._into = into
            try:
                await self._wait(self._loop.time() + wait_s)
            finally:
                self._into = None
        return True

    def close(self) -> None:
        """See `Exchange.close`. The connection of a complete reply went back when it was complete."""
        self._closed = True
        self.request = None
        self.pieces.clear()
        self._inflater = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.cut()
            self.fail(UpstreamUnavailable("the exchange was closed before its reply was complete"))

    def _take(self) -> bytes:
        pieces = self.pieces
        if self._inflater is None:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            self.buffered_bytes = 0
        else:
            data = self._inflate(self._inflater)
        connection = self._connection
        if connection is not None and not connection.reading and not pieces:
            connection.resume()
        return data

    def _inflate(self, inflater: Inflater) -> bytes:
        try:
            data = inflater.feed(b"")
            while self.pieces and not data:
                piece = self.pieces.pop(0)
                self.buffered_bytes -= len(piece)
                data = inflater.feed(piece)
            if self.complete and not data:
                inflater.finish()
                self._inflater = None
        except Damaged as error:
            self.close()
            self._error = UpstreamProtocolError(f"the upstream's compressed reply {error}")
        return data if self._error is None else b""

    async def _wait(self, deadline: float) -> bool:
        """Until woken (True) or until `deadline` in the loop's time (False)."""
        self._waiter = waiter = self._loop.create_future()
        timer = self._loop.call_at(deadline, _settle, waiter, False)
        try:
            woken: bool = await waiter
            return woken
        finally:
            timer.cancel()
            self._waiter = None

    async def _send_again(self) -> None:
        request, self.request = self.request, None
        if request is None:
            assert self._error is not None
            raise self._error
        connection = await self._pool.connect()
        if self._closed:
            connection.cut()
            raise UpstreamUnavailable("the exchange was closed before its reply was complete")
        self._error = None
        self._connection = connection
        connection.start(self, *request)

    # --- the connection's side

    def came(self) -> None:
        """A piece of the body is here."""
        if self._into is None:
            self.wake()
        elif not self._into(self._take()):
            self._into = None
            self.wake()

    def begin(self, status: int, headers: dict[str, str]) -> None:
        """The final head. Raises `UpstreamProtocolError` for a body that cannot be read; what the head says holds all the same."""
        self.headers = headers
        self.status = status
        transfer_encoding = headers.get("transfer-encoding")
        if transfer_encoding is None:
            # RFC 9112 §6.3 case 8: without a length the body goes on until the connection closes.
            self.until_close = "content-length" not in headers and status not in (204, 304)
        elif transfer_encoding.strip().lower() != "chunked":
            raise UpstreamProtocolError("the upstream used a transfer coding that was not offered")
        if "content-encoding" in headers:
            coding = coding_of(headers.pop("content-encoding"))
            if coding is not None:
                try:
                    self._inflater = Inflater(coding)
                except LookupError as error:
                    raise UpstreamProtocolError(
                        "the upstream compressed its reply in a way that was not asked for and is not supported"
                    ) from error
                headers.pop("content-length", None)
        self.wake()

    def detach(self) -> None:
        """The reply is complete and the connection goes its own way."""
        self._connection = None
        self.wake()

    def fail(self, error: UpstreamError) -> None:
        """The reply will not be complete. What has come in can still be read."""
        self._connection = None
        self._error = error
        self.wake()

    def wake(self) -> None:
        """Let the waiting task look again."""
        if self._waiter is not None:
            _settle(self._waiter, True)


def _settle(waiter: asyncio.Future[bool], value: bool) -> None:
    if not waiter.done():
        waiter.set_result(value)
