"""One door over two databases: transactions, deadlines, and failures in our words."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

import asyncpg
import msgspec
import pytest
from sqlalchemy import QueuePool, text

from fkproxy.storage import files
from fkproxy.storage.database import Database
from fkproxy.storage.schema import bring_up
from fkproxy.storage.values import Conflict, StoreUnavailable
from tests.storage.conftest import PATIENT
from tests.storage.postgres import Server

BOUND_S = 30.0
"""Half of PATIENT: who was refused after so long was refused by the wrong deadline."""
NOBODY = 65534


def hurried(database: Database, **deadlines: float) -> Database:
    """The same one, with one deadline that passes soon. On a slow machine any step may be the one that it ends."""
    return database.patient(msgspec.structs.replace(PATIENT, **deadlines))


async def put(database: Database, key_id: str, timeout_s: float | None = None) -> None:
    async with database.begin(timeout_s=timeout_s) as connection:
        await connection.execute(text("INSERT INTO key_uses VALUES (:id, 1.5)"), {"id": key_id})


async def run(database: Database, statement: str, lock: str | None = None) -> None:
    async with database.begin(lock=lock) as connection:
        await connection.exec_driver_sql(statement)


async def put_in_the_end(database: Database, key_id: str) -> None:
    """Again and again, where a deadline is so short that it may pass by itself."""
    until = time.monotonic() + BOUND_S
    while True:
        try:
            return await put(database, key_id)
        except StoreUnavailable as error:
            if error.reason != "timeout" or time.monotonic() > until:
                raise


async def count(database: Database) -> int:
    async with database.read() as connection:
        return int((await connection.execute(text("SELECT count(*) FROM key_uses"))).scalar_one())


@contextlib.contextmanager
def refused(reason: str) -> Iterator[None]:
    """Within: StoreUnavailable for this reason, and soon."""
    began = time.monotonic()
    with pytest.raises(StoreUnavailable) as caught:
        yield
    assert caught.value.reason == reason, caught.value
    assert time.monotonic() - began < BOUND_S


@contextlib.asynccontextmanager
async def rival(database: Database, url: str) -> AsyncIterator[None]:
    """Somebody else who holds the database, or the table, for writing."""
    if database.path is not None:
        with contextlib.closing(sqlite3.connect(database.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
        return
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE key_uses")
            yield
    finally:
        await connection.close()


@contextlib.contextmanager
def nobodys_rights() -> Iterator[None]:
    """File permissions hold for root as well; threads that begin within inherit this (setfsuid(2))."""
    libc = ctypes.CDLL(None)
    libc.setfsuid(NOBODY)
    try:
        yield
    finally:
        libc.setfsuid(os.geteuid())


@pytest.fixture
def file(database: Database) -> Path:
    """For tests of what only a file can suffer; ask for SQLite with `only_sqlite`."""
    assert database.path is not None
    return database.path


only_sqlite = pytest.mark.parametrize("kind", ["sqlite"])
only_postgresql = pytest.mark.parametrize("kind", ["postgresql"])


async def test_what_was_committed_is_there(database: Database) -> None:
    await put(database, "k1")
    assert await count(database) == 1


@only_sqlite
async def test_several_that_open_a_new_file_at_once_all_get_it(kind: str, tmp_path: Path) -> None:
    for number in range(40):
        path = tmp_path / f"{number}.db"
        path.touch()
        several = [Database(f"sqlite:///{path}", PATIENT) for _ in range(4)]

        async def journal_mode(database: Database) -> str:
            async with database.read() as connection:
                return str((await connection.exec_driver_sql("PRAGMA journal_mode")).scalar_one())

        assert await asyncio.gather(*map(journal_mode, several)) == ["wal"] * 4
        for database in several:
            await database.close()


async def test_what_was_not_committed_is_not(database: Database) -> None:
    async def fail() -> None:
        async with database.begin() as connection:
            await connection.execute(text("INSERT INTO key_uses VALUES ('k1', 1.5)"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await count(database) == 0


async def test_a_cancelled_transaction_leaves_nothing(database: Database) -> None:
    inside = asyncio.Event()

    async def linger() -> None:
        async with database.begin() as connection:
            await connection.execute(text("INSERT INTO key_uses VALUES ('k1', 1.5)"))
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(linger())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await count(database) == 0
    await put(database, "k1")


async def test_a_reader_sees_one_moment(database: Database) -> None:
    async with database.read() as connection:
        before = (await connection.execute(text("SELECT count(*) FROM key_uses"))).scalar_one()
        await put(database, "k1")
        assert (await connection.execute(text("SELECT count(*) FROM key_uses"))).scalar_one() == before == 0
    assert await count(database) == 1


async def test_a_row_that_is_there_already_is_a_conflict_that_quotes_nothing(database: Database) -> None:
    await put(database, "a-name-in-a-row")
    with pytest.raises(Conflict) as caught:
        await put(database, "a-name-in-a-row")
    assert "a-name-in-a-row" not in str(caught.value)
    assert caught.value.__suppress_context__


async def test_two_processes_can_write_at_once(database: Database, url: str) -> None:
    other = Database(url, PATIENT)
    await asyncio.gather(*(put(base, f"{number}-{index}") for number in range(20) for index, base in enumerate((database, other))))
    assert await count(database) == 40
    await other.close()


async def test_a_lock_admits_one_in_all_processes(database: Database) -> None:
    other = hurried(database, lock_s=0.3)
    async with database.begin(lock="control"):
        with refused("locked"):
            await run(other, "SELECT 1", lock="control")
    await run(other, "SELECT 1", lock="control")
    await other.close()


async def test_a_writer_of_the_same_process_does_not_wait_for_ever(database: Database) -> None:
    hasty = hurried(database, lock_s=0.3)
    async with hasty.begin(lock="control"):
        with refused("locked"):
            await run(hasty, "SELECT 1", lock="control")
    await run(hasty, "SELECT 1", lock="control")
    await hasty.close()


async def test_locked_by_somebody_else(database: Database, url: str) -> None:
    hasty = hurried(database, lock_s=0.3)
    async with rival(database, url):
        with refused("locked"):
            await put(hasty, "k1")
    await put(hasty, "k1")
    await hasty.close()


async def test_more_readers_than_connections_wait_for_each_other(database: Database) -> None:
    assert await asyncio.gather(*(count(database) for _ in range(50))) == [0] * 50


async def test_readers_who_keep_every_connection_are_somebody_elses_lock(database: Database) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(4 if database.path is None else 3):
            await stack.enter_async_context(database.read())
        pool = cast("QueuePool", database._engine.pool)
        assert pool.timeout() == PATIENT.connect_s
        pool._timeout = 0.3  # only now: the same deadline is one for connecting
        with refused("locked"):
            await count(database)
    assert await count(database) == 0


FOREVER = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    "postgresql": "SELECT pg_sleep(60)",
}


async def test_a_statement_that_does_not_end(database: Database) -> None:
    hasty = hurried(database, **({"statement_s": 0.5} if database.path is None else {"transaction_s": 0.5}))
    with refused("timeout"):
        await run(hasty, FOREVER[database.kind])
    await put_in_the_end(hasty, "k1")
    await hasty.close()


async def test_a_statement_the_schema_does_not_know(database: Database) -> None:
    with refused("broken"):
        await run(database, "SELECT nothing FROM nowhere")
    await put(database, "k1")


@only_sqlite
async def test_a_disk_that_hangs_is_not_waited_for(database: Database) -> None:
    """A function in place of the disk: SQLite cannot interrupt it either."""
    thawed = threading.Event()

    async def hang() -> None:
        async with database.begin(timeout_s=0.2) as connection:
            raw = await connection.get_raw_connection()
            await raw.driver_connection.create_function("hang", 0, lambda: thawed.wait(60))  # type: ignore[union-attr]  # it is there
            await connection.exec_driver_sql("SELECT hang()")

    with refused("timeout"):
        await hang()
    assert await count(database) == 0
    thawed.set()
    await put(database, "k1")


FULL = {
    "sqlite": "PRAGMA max_page_count = 1",
    "postgresql": "DO $$ BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = 'disk_full'; END $$",
}


def scribble(path: Path) -> None:
    path.write_bytes(b"not at all" * 1000)


async def fill(database: Database) -> None:
    async with database.begin() as connection:
        await connection.exec_driver_sql(FULL[database.kind])
        await connection.execute(text("INSERT INTO key_uses VALUES (:id, 1.5)"), {"id": "x" * 100_000})


async def test_full(database: Database) -> None:
    with refused("full"):
        await fill(database)
    if database.path is not None:
        await run(database, "PRAGMA max_page_count = 1000000")
    await put(database, "k1")


def allow(directory: Path, writing: bool) -> None:
    for path in (directory, *directory.iterdir()):
        path.chmod((0o777 if writing else 0o555) if path.is_dir() else (0o666 if writing else 0o444))


async def test_a_file_that_may_only_be_read() -> None:
    # A directory of its own, because the others are closed to everybody but their owner.
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "store.db"
        files.prepare(file)
        database = Database(f"sqlite:///{file}", PATIENT)
        await bring_up(database)
        await put(database, "k1")
        await database.close()
        # The log and its index are there as long as anybody is connected.
        with contextlib.closing(sqlite3.connect(file)) as other:
            other.execute("SELECT count(*) FROM key_uses").fetchone()
            allow(Path(name), writing=False)
            with nobodys_rights():
                assert await count(database) == 1
                with refused("read_only"):
                    await put(database, "k2")
                await database.close()
            allow(Path(name), writing=True)
            with nobodys_rights():
                await put(database, "k2")
                await database.close()


@only_postgresql
async def test_a_server_that_may_only_be_read(database: Database, url: str) -> None:
    connection = await asyncpg.connect(url)
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await database.close()
    with refused("read_only"):
        await put(database, "k1")
    assert await count(database) == 0
    await connection.execute("SET default_transaction_read_only = off")
    await connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    await connection.close()
    await database.close()
    await put(database, "k1")


@only_sqlite
async def test_a_deleted_file_is_noticed_and_its_return_as_well(database: Database, file: Path, tmp_path: Path) -> None:
    await put(database, "k1")
    await database.close()
    shutil.copy(file, tmp_path / "copy")
    await put(database, "k2")
    for path in list(file.parent.glob("store.db*")):
        path.unlink()
    with refused("gone"):
        await put(database, "k3")
    with refused("gone"):
        await count(database)
    assert files.identity(file) is None
    shutil.copy(tmp_path / "copy", file)
    assert await count(database) == 1
    await put(database, "k3")
    assert await count(database) == 2


@only_sqlite
async def test_what_was_in_use_when_all_were_closed_is_closed_when_it_is_given_back(database: Database, file: Path) -> None:
    """SQLite shares between the connections of a process what it knows of a file: one that stays keeps the others from seeing it anew."""

    def opened() -> set[str]:
        found = {path.readlink().name for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}
        return {name for name in found if name.startswith(file.name) and not name.endswith(".lock")}

    async with database.read():
        await count(database)
        await database.close()
        assert opened()
    async with asyncio.timeout(BOUND_S):
        while opened():  # noqa: ASYNC110 - a thread closes it
            await asyncio.sleep(0.01)
    assert await count(database) == 0


@only_sqlite
async def test_a_file_that_is_no_database(database: Database, file: Path) -> None:
    await database.close()
    scribble(file)
    with refused("broken"):
        await count(database)


@only_sqlite
async def test_the_files_are_the_owners_only(database: Database, file: Path) -> None:
    await put(database, "k1")
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in file.parent.iterdir()}
    assert modes.items() >= {"store.db": "0o600", "store.db-wal": "0o600", "store.db-shm": "0o600"}.items()
    assert oct(file.parent.stat().st_mode & 0o777) == "0o700"


@only_sqlite
async def test_sqlite_is_set_up(database: Database) -> None:
    async with database.read() as connection:
        found = [
            (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    assert found == ["wal", 1, 1, int(PATIENT.lock_s * 1000)]


@only_postgresql
async def test_a_server_that_was_stopped_and_started(database: Database, postgres: Server) -> None:
    await put(database, "k1")

    async def interrupted() -> None:
        async with database.begin() as connection:
            await connection.execute(text("INSERT INTO key_uses VALUES ('k0', 1.5)"))
            postgres.stop()
            await connection.execute(text("INSERT INTO key_uses VALUES ('k00', 1.5)"))

    try:
        for again in (interrupted, lambda: count(database), lambda: put(database, "k2")):
            with refused("unreachable"):
                await again()
    finally:
        postgres.start()
    assert await asyncio.gather(*(count(database) for _ in range(8))) == [1] * 8
    await put(database, "k2")


@only_postgresql
async def test_a_server_that_does_not_answer(database: Database, postgres: Server) -> None:
    await put(database, "k1")
    try:
        postgres.freeze(True)
        with refused("timeout"):
            await put(database, "k2", timeout_s=1.0)
    finally:
        postgres.freeze(False)
    await put(database, "k3")


@only_postgresql
async def test_a_server_that_refuses_the_login(url: str) -> None:
    database = Database(url.replace("fk@", "stranger:guessed@"), PATIENT)
    with refused("unreachable"):
        await count(database)
    await database.close()


async def test_what_the_driver_cannot_read_of_a_url_is_not_repeated() -> None:
    database = Database("postgresql://u:hidden/more@h/d", PATIENT)
    with pytest.raises(StoreUnavailable, match=r"^the database refused \(ValueError\)$"):
        await count(database)
    await database.close()


@pytest.mark.parametrize(
    "wrong",
    [
        *("", "x", "sqlite://", "sqlite://relative.db", "sqlite:///x.db?mode=ro", "mysql://u:hidden@h/d"),
        *("postgresql://u:hidden@h", "postgresql://u:p@h:hidden/d"),
    ],
)
def test_a_url_of_another_kind_is_refused_without_repeating_it(wrong: str) -> None:
    with pytest.raises(ValueError, match="sqlite:///absolute/path") as caught:
        Database(wrong)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("slashes", ["///", "////"])
def test_the_path_of_a_file_is_absolute_with_three_slashes_and_with_four(slashes: str) -> None:
    assert Database(f"sqlite:{slashes}var/x.db").path == Path("/var/x.db")


def test_the_command_for_a_dump_has_no_password() -> None:
    database = Database("postgresql://me:hidden@host:5433/name?sslmode=require&password=hidden&sslpassword=hidden")
    expected = "pg_dump --format=custom --file=/b/x.dump 'postgresql://me@host:5433/name?sslmode=require'"
    assert database.dump_command(Path("/b/x.dump")) == expected
