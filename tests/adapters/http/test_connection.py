"""One connection, told byte by byte what came, and what becomes of it and of the reply."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from typing import Any, cast

import pytest

from fkproxy.adapters.http.client import Pool
from fkproxy.adapters.http.connection import HIGH_WATER_BYTES, MAX_HEAD_BYTES, Connection, HttpExchange
from fkproxy.adapters.http.origin import Address
from fkproxy.adapters.http.resolver import Resolver
from fkproxy.model.errors import UpstreamProtocolError, UpstreamUnavailable

pytestmark = pytest.mark.leaps

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nhalf"


class Transport:
    """Remembers what is done to it."""

    def __init__(self) -> None:
        self.sent = b""
        self.unsent_bytes = 0
        self.aborted = self.paused = False

    def write(self, data: bytes) -> None:
        self.sent += data

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Link:
    """A pool and its connections, the last of which is the one that is told what came."""

    def __init__(self) -> None:
        address = Address(scheme="http", host="upstream.example", port=80)
        self.pool = Pool(address, None, Resolver(), connect_timeout_s=5.0, idle_timeout_s=60.0, max_idle=9)
        self.pool.loop = asyncio.get_running_loop()
        self.pool.connect = self.connect  # type: ignore[method-assign]  # no socket
        self.made: list[tuple[Connection, Transport]] = []
        self.when_connected: Callable[[], None] = lambda: None
        self.open()

    def open(self) -> Connection:
        connection, transport = Connection(self.pool), Transport()
        connection.connection_made(cast("Any", transport))
        self.made.append((connection, transport))
        return connection

    async def connect(self) -> Connection:
        self.when_connected()
        return self.open()

    @property
    def connection(self) -> Connection:
        return self.made[-1][0]

    @property
    def transport(self) -> Transport:
        return self.made[-1][1]

    def ask(self, *, reused: bool = False) -> HttpExchange:
        self.pool.idle.pop(self.connection, None)
        return HttpExchange(self.pool, self.connection, b"POST / HTTP/1.1\r\n\r\n", b"{}", reused=reused)

    def comes(self, *data: bytes) -> None:
        for piece in data:
            self.connection.data_received(piece)

    @property
    def kept(self) -> bool:
        """For the next request."""
        return self.connection in self.pool.idle and not self.transport.aborted


async def read(exchange: HttpExchange) -> bytes:
    assert await exchange.head(1.0)
    body = b""
    while piece := await exchange.chunk(1.0):
        body += piece
    return body


@pytest.mark.parametrize("behind", [b"x", OK])
async def test_what_comes_unasked_is_nobodys_reply(behind: bytes) -> None:
    for at_once in (False, True):
        link = Link()
        exchange = link.ask()
        link.comes(*((OK + behind,) if at_once else (OK, behind)))
        assert await read(exchange) == b"ok"
        assert (link.kept, link.transport.aborted, link.pool.idle) == (False, True, {})


@pytest.mark.parametrize(
    "coding",
    [b"content-encoding: br\r\ncontent-length: 1", b"content-encoding: zstd\r\ncontent-length: 1", b"transfer-encoding: gzip, chunked"],
)
async def test_a_head_is_told_whose_body_nobody_can_read(coding: bytes) -> None:
    link = Link()
    exchange = link.ask()
    link.comes(b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\n" + coding + b"\r\n\r\nx")
    assert await exchange.head(1.0)
    assert (exchange.status, exchange.headers["retry-after"]) == (429, "7")
    assert exchange.at_once() is None
    with pytest.raises(UpstreamProtocolError):
        await exchange.chunk(1.0)
    assert (link.kept, link.transport.aborted) == (False, True)


@pytest.mark.parametrize("ended", [Connection.eof_received, lambda connection: connection.connection_lost(None)])
async def test_a_connection_that_ends_while_it_is_idle_is_not_used_again(ended: Callable[[Connection], None]) -> None:
    link = Link()
    link.ask()
    link.comes(OK)
    assert link.kept
    ended(link.connection)
    assert not link.pool.idle


@pytest.mark.parametrize("before", [b"", OK])
async def test_a_reply_without_a_length_is_whole_at_its_end_and_its_connection_used_up(before: bytes) -> None:
    link = Link()
    if before:
        link.ask()
        link.comes(before)
    exchange = link.ask()
    link.comes(UNTIL_CLOSE)
    link.connection.eof_received()
    assert (await read(exchange), link.kept, link.transport.aborted) == (b"half", False, True)


async def test_a_reply_without_a_length_that_is_reset_is_not_whole() -> None:
    link = Link()
    exchange = link.ask()
    link.comes(UNTIL_CLOSE)
    link.connection.connection_lost(ConnectionResetError())
    with pytest.raises(UpstreamUnavailable):
        await read(exchange)


async def test_a_request_of_which_something_is_unsent_is_the_last_of_its_connection() -> None:
    link = Link()
    exchange = link.ask()
    link.transport.unsent_bytes = 1
    link.comes(OK.replace(b"200 OK", b"413 Too Large"))
    assert (await read(exchange), link.kept, link.transport.aborted) == (b"ok", False, True)


async def test_a_connection_that_is_closing_is_not_kept() -> None:
    link = Link()
    link.ask()
    link.transport.aborted = True
    link.comes(OK)
    assert not link.pool.idle


async def test_a_connection_that_was_held_back_reads_again_when_its_reply_is_whole() -> None:
    link = Link()
    size = 2 * HIGH_WATER_BYTES
    exchange = link.ask()
    link.comes(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"x" * (size - 1))
    assert link.transport.paused
    link.comes(b"x")
    assert (link.transport.paused, link.kept) == (False, True)
    assert len(await read(exchange)) == size
    assert exchange.buffered_bytes == 0


async def test_every_reply_of_a_connection_has_the_whole_bound_for_its_head() -> None:
    link = Link()
    for number in range(3):
        exchange = link.ask()
        link.comes(OK.replace(b"\r\n\r\n", b"\r\nx-%d: %b\r\n\r\n" % (number, b"y" * 40_000)))
        assert await read(exchange) == b"ok"
        assert set(exchange.headers) == {"content-length", f"x-{number}"}


async def test_a_head_beyond_its_bound_is_refused_also_with_its_body_behind_it() -> None:
    link = Link()
    exchange = link.ask()
    link.comes(OK.replace(b"\r\n\r\n", b"\r\nx: %b\r\n\r\n" % (b"y" * MAX_HEAD_BYTES)))
    with pytest.raises(UpstreamProtocolError):
        await read(exchange)


async def test_who_waits_for_an_exchange_that_is_closed_is_told() -> None:
    link = Link()
    exchange = link.ask()
    waits = asyncio.create_task(exchange.head(60.0))
    await asyncio.sleep(0)
    exchange.close()
    with pytest.raises(UpstreamUnavailable):
        await asyncio.wait_for(waits, 1.0)
    assert link.transport.aborted


async def test_a_request_is_sent_again_once() -> None:
    link = Link()
    exchange = link.ask(reused=True)
    link.connection.connection_lost(None)
    waits = asyncio.create_task(exchange.head(60.0))
    for _ in range(3):
        await asyncio.sleep(0)
    assert [transport.sent for _, transport in link.made] == [link.made[0][1].sent] * 2
    link.connection.connection_lost(None)
    with pytest.raises(UpstreamUnavailable):
        await asyncio.wait_for(waits, 1.0)
    assert len(link.made) == 2


async def test_a_request_is_not_sent_again_for_who_has_closed_it_meanwhile() -> None:
    link = Link()
    exchange = link.ask(reused=True)
    link.connection.connection_lost(None)
    link.when_connected = exchange.close
    with pytest.raises(UpstreamUnavailable):
        await exchange.head(60.0)
    assert (link.transport.sent, link.transport.aborted) == (b"", True)


async def test_a_wait_that_is_over_leaves_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    link, timers = Link(), list[asyncio.TimerHandle]()
    call_at = link.pool.loop.call_at

    def counted(*given: Any) -> asyncio.TimerHandle:
        timers.append(call_at(*given))
        return timers[-1]

    monkeypatch.setattr(link.pool.loop, "call_at", counted)
    exchange = link.ask()
    waits = asyncio.create_task(exchange.head(600.0))
    await asyncio.sleep(0)
    link.comes(OK[:-2])
    assert await waits
    assert [timer.cancelled() for timer in timers] == [True]


async def test_a_compressed_reply_that_is_damaged_is_not_given_as_a_whole_one() -> None:
    link = Link()
    packed = zlib.compress(b"x" * 5000)
    exchange = link.ask()
    link.comes(b"HTTP/1.1 200 OK\r\ncontent-encoding: deflate\r\ncontent-length: %d\r\n\r\n" % (len(packed) - 4) + packed[:-4])
    assert exchange.at_once() is None
    with pytest.raises(UpstreamProtocolError):
        await read(exchange)
    assert exchange.at_once() is None
