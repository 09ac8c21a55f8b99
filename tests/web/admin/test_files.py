"""Files over a socket: what is left of one when it was taken, and when its reader stops."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from granian.constants import Interfaces
from granian.server.embed import Server
from litestar import Litestar, get
from litestar.response import Stream

from fkproxy.app import create_app
from fkproxy.settings import load
from fkproxy.storage.values import StoreUnavailable
from fkproxy.web.admin.files import taken_in_time

PIECE = bytes(1024 * 1024)
END = b"0\r\n\r\n"


@asynccontextmanager
async def served(app: Litestar) -> AsyncIterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    server = Server(app, address="127.0.0.1", port=port, interface=Interfaces.ASGI, log_enabled=False)
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                break
            except OSError:
                await asyncio.sleep(0.01)
    writer.close()
    try:
        yield port
    finally:
        server.stop()
        await serving


@asynccontextmanager
async def asked(port: int, path: str) -> AsyncIterator[asyncio.StreamReader]:
    """The connection stays open inside."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n".encode())
    try:
        yield reader
    finally:
        writer.close()


def at_work() -> list[str]:
    """The server's tasks, one for each request."""
    names = [task.get_coro().__qualname__ for task in asyncio.all_tasks()]  # type: ignore[union-attr]  # all of them are coroutines
    return [name for name in names if "future_watcher" in name]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
async def test_nothing_is_left_of_a_file_that_was_taken_although_the_connection_stays(tmp_path: Path, kind: str) -> None:
    app = create_app(load(environ={"APP_STORE__DIRECTORY": str(tmp_path)}))
    async with served(app) as port, asked(port, f"/admin/api/calls/export?format={kind}") as reader:
        async with asyncio.timeout(20):
            while not at_work():  # noqa: ASYNC110 - it is the server's
                await asyncio.sleep(0)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readuntil(END)
        assert head.startswith(b"HTTP/1.1 200")
        async with asyncio.timeout(20):
            while at_work():  # noqa: ASYNC110 - it is the server's
                await asyncio.sleep(0.01)
        assert not reader.at_eof(), "it is kept alive"


async def test_a_reader_that_stopped_is_given_up_and_sees_that_the_file_has_no_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("fkproxy.web.admin.files._TAKEN_WITHIN_S", 0.2)
    made: list[bytes] = []

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(1000):
            made.append(PIECE)
            yield PIECE

    @get("/file", middleware=[taken_in_time])
    async def file() -> Stream:
        return Stream(pieces())

    app = Litestar([file], openapi_config=None, logging_config=None)
    async with served(app) as port, asked(port, "/file") as reader, asyncio.timeout(20):
        while not made or at_work():  # noqa: ASYNC110 - it is the server's
            await asyncio.sleep(0.01)
        assert len(made) < 100, "no piece is made before the one before it was taken"
        got = b""
        while some := await reader.read(2**20):
            got = (got + some)[-len(END) :]
        assert got != END
    assert [record.levelno for record in caplog.records if "its reader stopped" in record.message] == [logging.WARNING]


async def test_where_the_store_goes_away_meanwhile_that_is_told_and_the_file_has_no_end(caplog: pytest.LogCaptureFixture) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        raise StoreUnavailable("unreachable", "the server is away")

    @get("/file", middleware=[taken_in_time])
    async def file() -> Stream:
        return Stream(pieces())

    app = Litestar([file], openapi_config=None, logging_config=None)
    async with served(app) as port, asked(port, "/file") as reader, asyncio.timeout(20):
        got = await reader.read(2**20)
        while some := await reader.read(2**20):
            got += some
    assert b"first" in got
    assert not got.endswith(END)
    told = [(record.name, record.levelno, vars(record)["reason"]) for record in caplog.records if record.levelno > logging.INFO]
    assert told == [("fkproxy.web.admin", logging.WARNING, "the server is away")]
