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
from typing import Literal

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from fkproxy.storage import engines, files
from fkproxy.storage.engines import Deadlines
from fkproxy.storage.failures import MESSAGES, connecting, told
from fkproxy.storage.values import StoreUnavailable

__all__ = ["LOCKS", "Database", "Kind"]

Kind = Literal["sqlite", "postgresql"]

LOCKS: dict[str, int] = {"migration": 1, "control": 2, "calls": 3}
"""What one writer at a time may do → the second half of its advisory lock's key."""
_LOCK_SPACE = 0x666B70  # "fkp": keeps clear of other programs' locks in the same database

_GRACE_S = 2.0
"""For what is left to be cleaned up after a deadline."""

_BEGIN: dict[tuple[Kind, bool], str] = {
    ("sqlite", True): "BEGIN IMMEDIATE",
    ("sqlite", False): "BEGIN",
    ("postgresql", False): "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
}
"""(kind, to write) → what makes the transaction such a one."""


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
        self._engine = engines.sqlite(self.path, self.deadlines) if self.path else engines.postgresql(url, self.deadlines)
        self._file = files.identity(self.path) if self.path else None
        self._writing = asyncio.Lock() if self.path else None
        self._generation = 0

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
        """What copies a PostgreSQL database to `path`, without any password."""
        parsed = make_url(self._url)._replace(password=None).difference_update_query(["password", "sslpassword", "passfile"])
        return shlex.join(["pg_dump", "--format=custom", f"--file={path}", parsed.render_as_string()])

    async def close(self) -> None:
        """Close what is idle, and what is in use as soon as it is given back."""
        self._generation += 1
        with contextlib.suppress(SQLAlchemyError, OSError):
            await self._engine.dispose()
        # Closing takes a moment, in which somebody may have taken one from the pool that is left behind.
        self._generation += 1

    @contextlib.asynccontextmanager
    async def _transaction(self, write: bool, timeout_s: float | None) -> AsyncIterator[AsyncConnection]:
        await self._find_file()
        within_s = timeout_s or self.deadlines.transaction_s
        try:
            # The second one is for a disk that does not even answer to the first.
            async with (
                asyncio.timeout(within_s + _GRACE_S),
                asyncio.timeout(within_s),
                contextlib.AsyncExitStack() as stack,
            ):
                connection = await self._connection(stack, write)
                await stack.enter_async_context(connection.begin())
                if opening := _BEGIN.get((self.kind, write)):
                    await connection.exec_driver_sql(opening)
                yield connection
        except SQLAlchemyError as error:
            said = told(error)
            if isinstance(said, StoreUnavailable) and said.reason == "read_only":
                # SQLite opens for reading what it may not write to, and such a connection stays so when it might.
                await self.close()
            raise said from None
        except TimeoutError:
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
            connection = await stack.enter_async_context(self._engine.connect())
            stack.push_async_callback(self._let_go, connection, self._generation)
            return connection
        except connecting() as error:  # asked only now that something was raised
            raise told(error) from None

    async def _let_go(self, connection: AsyncConnection, generation: int) -> None:
        """One that was in use when all were closed would go back to a pool that nobody looks at any more, and stay open."""
        if generation != self._generation:
            await connection.invalidate()

    async def _find_file(self) -> None:
        """Let go of connections to a file that is not the one under its name any more."""
        if self.path is None:
            return
        found = files.identity(self.path)
        if found != self._file:
            await self.close()
            self._file = found
        if found is None:
            raise StoreUnavailable("gone", MESSAGES["gone"])


def _parsed(url: str) -> URL:
    """The path of a file is always absolute: three slashes do, where SQLAlchemy wants four."""
    if url.startswith("sqlite:///"):
        url = f"sqlite:////{url.removeprefix('sqlite:').lstrip('/')}"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = URL.create("neither")
    if parsed.drivername in ("postgresql", "postgres") and parsed.database:
        return parsed
    if parsed.drivername == "sqlite" and str(parsed.database).startswith("/") and not (parsed.host or parsed.query):
        return parsed
    raise ValueError("the store's URL must be sqlite:///absolute/path or postgresql://user:password@host/name")
