"""The engines under a database: how its connections are made, and how many. Floor 2.

Every connection has its deadlines from the beginning, and lets go at once when the task that uses it is cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from pathlib import Path
from typing import Any

import aiosqlite
import msgspec
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from fkproxy.storage import copies

__all__ = ["POSTGRESQL_CONNECTIONS", "SQLITE_CONNECTIONS", "Deadlines", "postgresql", "sqlite"]

SQLITE_CONNECTIONS = 3
"""One that writes, and readers. Each is a thread."""
POSTGRESQL_CONNECTIONS = 4
"""Each is a process of the server."""

_WAL_KEPT_BYTES = 16 * 1024 * 1024
"""A WAL that a long read let grow is cut back to this at the next checkpoint."""
_PRAGMAS = ("synchronous = NORMAL", "foreign_keys = ON", f"journal_size_limit = {_WAL_KEPT_BYTES}")
_STEPS = 20_000
"""Of SQLite's machine, between two looks at whether to go on: less than a millisecond."""
_GRACE_S = 0.5
_AGAIN_S = 0.01
_CHUNK_ROWS = 64
"""aiosqlite's own default for rows fetched at once."""


class Deadlines(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. `connect_s`: to the server, or for a free connection. `lock_s`: for somebody else's lock. `statement_s`: for one statement
    (PostgreSQL). `transaction_s`: for all of a transaction, with what its owner does in it."""

    connect_s: float = 5.0
    lock_s: float = 5.0
    statement_s: float = 10.0
    transaction_s: float = 20.0


class _Compiler(SQLiteCompiler):
    """Writes hints as well: `with_hint(table, "INDEXED BY name", "sqlite")`, which SQLAlchemy leaves out for SQLite."""

    def get_from_hint_text(self, table: Any, text: str | None) -> str | None:
        """See `SQLCompiler.get_from_hint_text`."""
        return text


class _Connection(aiosqlite.Connection):
    """A thread with a connection. Closing it ends the statement that runs, which a cancelled task has left behind, and its transaction.

    Without that the statement would run to its end, and a lock would be held until Python collects its cursor. It is the progress
    handler that ends it: `interrupt()` would end the ROLLBACK as well, and a checkpoint on closing.
    """

    _ending = False
    _given_up = False

    def __init__(self, path: Path, lock_s: float) -> None:
        super().__init__(lambda: self._opened(path, lock_s), _CHUNK_ROWS)
        self._thread.daemon = True  # a disk that hangs must not keep the process from ending

    def _opened(self, path: Path, lock_s: float) -> sqlite3.Connection:
        connection = sqlite3.connect(copies.uri(path), uri=True, isolation_level=None, timeout=0)
        try:
            _write_ahead(connection, lock_s)
            for pragma in (f"busy_timeout = {int(lock_s * 1000)}", *_PRAGMAS):
                connection.execute(f"PRAGMA {pragma}")
            connection.set_progress_handler(lambda: self._ending, _STEPS)
        except BaseException:
            connection.close()
            raise
        return connection

    def stop(self) -> asyncio.Future[Any] | None:
        """The thread closes the connection and ends when it comes to it; a `close` that waits for it has nothing left to do."""
        self._given_up = True
        return super().stop()

    async def close(self) -> None:
        self._ending = True
        with contextlib.suppress(ValueError, sqlite3.Error):  # ValueError: it was never open, or is closed
            await self.rollback()
        if not self._given_up:
            await super().close()


def _write_ahead(connection: sqlite3.Connection, lock_s: float) -> None:
    """Turn the file to a write-ahead log, if it is not, on a connection that does not wait by itself. Of several that do so at once SQLite
    lets one and refuses the others without waiting, however long they may, because each of them holds what another one waits for."""
    until = time.monotonic() + lock_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_AGAIN_S)


def sqlite(path: Path, deadlines: Deadlines) -> AsyncEngine:
    """On a file that is there. Transactions are left to BEGIN statements (`isolation_level` None)."""

    async def connect() -> aiosqlite.Connection:
        connection = _Connection(path, deadlines.lock_s)
        try:
            return await connection
        except sqlite3.Error:
            # Its thread ends by itself, and reports to this loop when it does.
            await asyncio.to_thread(connection._thread.join, _GRACE_S)
            raise

    url = URL.create("sqlite+aiosqlite", database=str(path))
    engine = _engine(url, SQLITE_CONNECTIONS, deadlines, async_creator=connect)
    engine.dialect.statement_compiler = _Compiler
    return engine


def postgresql(url: str, deadlines: Deadlines) -> AsyncEngine:
    """The driver reads the URL itself: it knows libpq's parameters (sslmode, a socket's directory as host, …)."""
    import asyncpg  # type: ignore[import-untyped]  # it has no types of its own; most installations never load it

    settings = {
        "application_name": "fkllmproxy",
        "jit": "off",  # compiling takes longer than any statement of ours
        "statement_timeout": _ms(deadlines.statement_s),
        "lock_timeout": _ms(deadlines.lock_s),
        "idle_in_transaction_session_timeout": _ms(deadlines.transaction_s),
    }

    async def connect() -> Any:
        # The server's own word comes first, if it still has one.
        patience_s = deadlines.statement_s + _GRACE_S
        return await asyncpg.connect(url, timeout=deadlines.connect_s, command_timeout=patience_s, server_settings=settings)

    options = {"async_creator": connect, "pool_pre_ping": True}
    return _engine(URL.create("postgresql+asyncpg"), POSTGRESQL_CONNECTIONS, deadlines, **options)


def _engine(url: URL, connections: int, deadlines: Deadlines, **options: Any) -> AsyncEngine:
    limits = {"pool_size": connections, "max_overflow": 0, "pool_timeout": deadlines.connect_s, "pool_use_lifo": True}
    return create_async_engine(url, hide_parameters=True, **limits, **options)


def _ms(seconds: float) -> str:
    return str(int(seconds * 1000))
