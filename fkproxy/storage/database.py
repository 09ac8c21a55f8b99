"""One database, SQLite or PostgreSQL, and the one door to it. Floor 2.

`begin()` and `read()` are transactions on an SQLAlchemy connection: what a statement needs is `execute` with a Core expression, or
`exec_driver_sql` where speed counts. Every wait in them has an end, and whatever a driver raises comes out as StoreUnavailable or Conflict.

**SQLite.** Journal mode WAL: readers never wait, and one writer at a time writes; a write begins with BEGIN IMMEDIATE, so it waits for its
turn at the beginning and not in the middle, where it could only fail. `synchronous=NORMAL`: a commit has been handed to the kernel, so a
process that is killed loses nothing; a power cut may lose the last moments but leaves the file whole (https://sqlite.org/pragma.html#pragma_synchronous).
Within the process writers queue in order instead of polling the file. A file that was removed or replaced is noticed before each
transaction: SQLite itself would go on writing into a file that has no name any more.

**PostgreSQL.** A small pool; a connection that died is found and replaced before it is used. Where one writer at a time is needed in all
of the installation, `begin(lock=…)` takes an advisory lock for the transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import asyncpg  # type: ignore[import-untyped]  # it has no types of its own
import msgspec
from sqlalchemy import event
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from fkproxy.storage import files
from fkproxy.storage.failures import MESSAGES, told
from fkproxy.storage.values import StoreUnavailable

__all__ = ["LOCKS", "Database", "Deadlines", "Kind"]

Kind = Literal["sqlite", "postgresql"]

LOCKS: dict[str, int] = {"migration": 1, "control": 2, "calls": 3}
"""What one writer at a time may do → the second half of its advisory lock's key."""
_LOCK_SPACE = 0x666B70  # "fkp": keeps clear of other programs' locks in the same database

_POOL_SIZE = {"sqlite": 3, "postgresql": 4}
"""One that writes, and readers. Each connection to SQLite is a thread, each one to PostgreSQL a process of the server."""

_WAL_KEPT_BYTES = 16 * 1024 * 1024
"""A WAL that a long read let grow is cut back to this at the next checkpoint."""

_BEGIN: dict[tuple[Kind, bool], str] = {
    ("sqlite", True): "BEGIN IMMEDIATE",
    ("sqlite", False): "BEGIN",
    ("postgresql", False): "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
}
"""(kind, to write) → what makes the transaction such a one."""


class _Compiler(SQLiteCompiler):
    """Writes hints as well: `with_hint(table, "INDEXED BY name", "sqlite")`, which SQLAlchemy leaves out for SQLite."""

    def get_from_hint_text(self, table: Any, text: str | None) -> str | None:
        """See `SQLCompiler.get_from_hint_text`."""
        return text


class Deadlines(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. `connect_s` to the server, or for a free connection; `lock_s` for somebody else's lock; `statement_s` for one statement;
    `transaction_s` for all of a transaction, with what its owner does in it."""

    connect_s: float = 5.0
    lock_s: float = 5.0
    statement_s: float = 10.0
    transaction_s: float = 20.0


class Database:
    """`url`: `sqlite:///absolute/path` or `postgresql://user:password@host/name` with the parameters of libpq.

    Nothing is connected before the first transaction. Raises ValueError for a URL that is neither; its message does not repeat it.
    """

    def __init__(self, url: str, deadlines: Deadlines | None = None) -> None:
        self._url = url
        self.deadlines = deadlines or Deadlines()
        parsed = _parsed(url)
        self.kind: Kind = "sqlite" if parsed.drivername == "sqlite" else "postgresql"
        self.path: Path | None = Path(str(parsed.database)) if self.kind == "sqlite" else None
        self._engine = _sqlite(self.path, self.deadlines) if self.path else _postgresql(url, self.deadlines)
        self._file = files.identity(self.path) if self.path else None
        self._writing = asyncio.Lock() if self.path else None

    @contextlib.asynccontextmanager
    async def begin(self, *, lock: str | None = None, timeout_s: float | None = None) -> AsyncIterator[AsyncConnection]:
        """A transaction that may write: committed at the end, rolled back when its body raises.

        `lock` (of LOCKS) admits one at a time in all processes. `timeout_s` in place of `transaction_s`.
        """
        async with self._transaction(True, timeout_s) as connection:
            if lock is not None and self.kind == "postgresql":
                await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK_SPACE}, {LOCKS[lock]})")
            yield connection

    @contextlib.asynccontextmanager
    async def read(self, *, timeout_s: float | None = None) -> AsyncIterator[AsyncConnection]:
        """A transaction that sees one moment of the database and changes nothing."""
        async with self._transaction(False, timeout_s) as connection:
            yield connection

    def patient(self, deadlines: Deadlines) -> Database:
        """The same database, with connections of its own and other deadlines."""
        return Database(self._url, deadlines)

    def dump_command(self, path: Path) -> str:
        """What copies a PostgreSQL database to `path`, without the password."""
        parsed = make_url(self._url).set(password=None)
        parsed = parsed.difference_update_query(["password", "passfile"])
        return shlex.join(["pg_dump", "--format=custom", f"--file={path}", parsed.render_as_string()])

    async def close(self) -> None:
        """Close what is idle, and what is in use as soon as it is given back."""
        with contextlib.suppress(SQLAlchemyError, OSError):
            await self._engine.dispose()

    @contextlib.asynccontextmanager
    async def _transaction(self, write: bool, timeout_s: float | None) -> AsyncIterator[AsyncConnection]:
        await self._find_file()
        deadline = asyncio.timeout(timeout_s or self.deadlines.transaction_s)
        try:
            async with deadline, contextlib.AsyncExitStack() as stack:
                connection = await self._connection(stack, write)
                await stack.enter_async_context(connection.begin())
                if opening := _BEGIN.get((self.kind, write)):
                    await connection.exec_driver_sql(opening)
                yield connection
        except SQLAlchemyError as error:
            raise told(error) from None
        except TimeoutError:
            if not deadline.expired():
                raise
            raise StoreUnavailable("timeout", MESSAGES["timeout"]) from None

    async def _connection(self, stack: contextlib.AsyncExitStack, write: bool) -> AsyncConnection:
        """One from the pool, this process's turn to write included."""
        try:
            if write and self._writing is not None:
                async with asyncio.timeout(self.deadlines.lock_s):
                    await stack.enter_async_context(self._writing)
        except TimeoutError:
            raise StoreUnavailable("locked", MESSAGES["locked"]) from None
        try:
            return await stack.enter_async_context(self._engine.connect())
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise told(error) from None

    async def _find_file(self) -> None:
        """Let go of connections to a file that is not the one under its name any more."""
        if self.path is None:
            return
        found = files.identity(self.path)
        if found != self._file:
            await self._engine.dispose()
            self._file = found
        if found is None:
            raise StoreUnavailable("gone", MESSAGES["gone"])


def _parsed(url: str) -> URL:
    """The path of a file is always absolute: three slashes do, where SQLAlchemy wants four."""
    if url.startswith("sqlite:///"):
        url = f"sqlite:////{url.removeprefix('sqlite:').lstrip('/')}"
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = URL.create("neither")
    if parsed.drivername in ("postgresql", "postgres") and parsed.database:
        return parsed
    if parsed.drivername == "sqlite" and str(parsed.database).startswith("/") and not (parsed.host or parsed.query):
        return parsed
    raise ValueError("the store's URL must be sqlite:///absolute/path or postgresql://user:password@host/name")


def _sqlite(path: Path, deadlines: Deadlines) -> AsyncEngine:
    # `isolation_level` None leaves transactions to the statements of `_BEGIN`.
    arguments = {"isolation_level": None, "timeout": deadlines.lock_s}
    url = URL.create("sqlite+aiosqlite", database=files.uri(path), query={"uri": "true"})
    engine = _engine(url, "sqlite", deadlines, connect_args=arguments)
    engine.dialect.statement_compiler = _Compiler

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", f"journal_size_limit={_WAL_KEPT_BYTES}"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine


def _postgresql(url: str, deadlines: Deadlines) -> AsyncEngine:
    settings = {
        "application_name": "fkllmproxy",
        "jit": "off",  # compiling takes longer than any statement of ours
        "statement_timeout": _ms(deadlines.statement_s),
        "lock_timeout": _ms(deadlines.lock_s),
        "idle_in_transaction_session_timeout": _ms(deadlines.transaction_s),
    }

    async def connect() -> Any:
        # The driver reads the URL itself: it knows libpq's parameters (sslmode, host as a socket's directory, …).
        return await asyncpg.connect(url, timeout=deadlines.connect_s, command_timeout=deadlines.statement_s, server_settings=settings)

    return _engine(URL.create("postgresql+asyncpg"), "postgresql", deadlines, async_creator=connect, pool_pre_ping=True)


def _engine(url: URL, kind: Kind, deadlines: Deadlines, **options: Any) -> AsyncEngine:
    size = _POOL_SIZE[kind]
    return create_async_engine(
        url, hide_parameters=True, pool_size=size, max_overflow=0, pool_timeout=deadlines.connect_s, pool_use_lifo=True, **options
    )


def _ms(seconds: float) -> str:
    return str(int(seconds * 1000))
