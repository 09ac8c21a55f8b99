"""Every line of the journal comes into the store once: whoever wrote it, whoever is killed, and however often the store is away."""

from __future__ import annotations

import asyncio
import logging
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from fkproxy.storage import files
from fkproxy.storage.calls_import import Importer
from fkproxy.storage.calls_rows import Batch
from fkproxy.storage.calls_statements import Statements
from fkproxy.storage.calls_tables import CALL_COLUMNS, calls, journal_positions, usage_hourly
from fkproxy.storage.database import Database
from fkproxy.storage.schema import bring_up
from fkproxy.storage.values import StoreUnavailable
from fkproxy.telemetry.journal import Journal
from fkproxy.telemetry.journal_files import MAX_LINE_BYTES, journal_files
from fkproxy.telemetry.record import CallRecord
from tests.storage.conftest import PATIENT
from tests.storage.journal import bring_in, import_all, leave, lines_of
from tests.storage.postgres import Server
from tests.telemetry.records import record

SUMS = ("tokens_input", "tokens_output", "tokens_cached_input", "tokens_cache_write", "tokens_reasoning", "cost_nanousd")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "calls"


@pytest.fixture
def importer(database: Database, directory: Path) -> Iterator[Importer]:
    importer = Importer(database, directory, keep_s=0)
    yield importer
    importer.close()


def named(*ids: object) -> list[CallRecord]:
    return [record(request_id=str(each)) for each in ids]


def open_files() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


async def ids(database: Database) -> list[str]:
    async with database.read() as connection:
        return list((await connection.execute(select(calls.c.request_id).order_by(calls.c.id))).scalars())


async def lose_all(database: Database) -> None:
    async with database.begin() as connection:
        for table in (calls, usage_hourly, journal_positions):
            await connection.execute(table.delete())


async def sums(database: Database) -> tuple[list[int], list[int]]:
    """Calls, failures and tokens and costs: of the rows, and of the hours."""
    of_rows = [
        func.count(),
        func.count().filter(calls.c.outcome == "failed"),
        *(func.coalesce(func.sum(calls.c[name]), 0) for name in SUMS),
    ]
    of_hours = [func.coalesce(func.sum(usage_hourly.c[name]), 0) for name in ("calls", "failed", *SUMS)]
    async with database.read() as connection:
        rows = (await connection.execute(select(*of_rows).select_from(calls))).one()
        hours = (await connection.execute(select(*of_hours))).one()
    return [int(each) for each in rows], [int(each) for each in hours]


async def test_what_is_left_comes_in_and_its_files_go(database: Database, importer: Importer, directory: Path) -> None:
    leave(directory, named(1, 2, 3))
    leave(directory, [])
    leave(directory, named(4))
    await import_all(importer)
    assert await ids(database) == ["1", "2", "3", "4"]
    assert journal_files(directory) == []
    async with database.read() as connection:
        assert (await connection.execute(journal_positions.select())).all() == []
    figures = importer.figures
    assert (figures.imported, figures.undecodable, figures.torn, figures.files, figures.waiting_bytes) == (4, 0, 0, 0, 0)
    assert not importer._done_s, "nor is a file remembered that is gone"


async def test_every_column_is_stored_as_it_was_made(database: Database, directory: Path) -> None:
    call = record(cost_usd=0.5, pool="team", key_prefix="fk-abcd", notes=("waited",), stream=True, reasoning_requested="effort high")
    await bring_in(database, directory, [call])
    async with database.read() as connection:
        (row,) = (await connection.execute(calls.select())).mappings().all()
        (usage,) = (await connection.execute(usage_hourly.select())).mappings().all()
    assert {
        name: row[name] for name in ("request_id", "stream", "duration_ms", "started_ms", "tokens_input", "cost_nanousd", "detail")
    } == {
        "request_id": "r1",
        "stream": True,
        "duration_ms": 50.0,
        "started_ms": 1_800_000_000_500,
        "tokens_input": 100,
        "cost_nanousd": 500_000_000,
        "detail": '{"notes":["waited"]}',
    }
    assert {name for name in CALL_COLUMNS if row[name] is None} == {"error_code", "reasoning_applied", "tokens_cache_write"}
    assert (usage["hour"], usage["pool"], usage["calls"], usage["cost_nanousd"]) == (500_000, "team", 1, 500_000_000)


async def test_a_file_that_is_being_written_is_read_as_it_grows(database: Database, importer: Importer, directory: Path) -> None:
    journal = Journal(directory, gather_s=0.001)
    for number in range(3):
        journal.write(record(request_id=str(number)))
        until = time.monotonic() + 30
        while not await importer.step():
            assert time.monotonic() < until
        assert len(await ids(database)) == number + 1
    (path,) = journal_files(directory)
    assert not await importer.step()
    assert path.exists()
    journal.close(60.0)
    await import_all(importer)
    assert not path.exists()
    assert await ids(database) == ["0", "1", "2"]


async def test_the_files_of_two_processes_come_in_together(database: Database, importer: Importer, directory: Path) -> None:
    ours, theirs = Journal(directory, gather_s=60), Journal(directory, gather_s=60)
    for number in range(10):
        ours.write(record(request_id=f"a{number}"))
        theirs.write(record(request_id=f"b{number}"))
    ours.close(60.0)
    theirs.close(60.0)
    assert len(journal_files(directory)) == 2
    await import_all(importer)
    assert sorted(await ids(database)) == sorted(f"{name}{number}" for name in "ab" for number in range(10))


async def test_a_line_without_an_end_waits_and_is_given_up_with_its_writer(database: Database, importer: Importer, directory: Path) -> None:
    line = lines_of(named("late"))
    path = leave(directory, named("whole"), line[:-20])
    await importer.step()
    with path.open("ab") as file:
        file.write(line[-20:])
    leave(directory, named("next"), line[:50])
    await import_all(importer)
    assert await ids(database) == ["whole", "late", "next"]
    assert (importer.figures.undecodable, importer.figures.torn) == (0, 1)
    assert journal_files(directory) == []


async def test_lines_that_are_none_are_counted_and_hold_up_nobody(database: Database, importer: Importer, directory: Path) -> None:
    leave(directory, named(1), b"nonsense\n\n[1,2]\n\xff\n" + b"x" * (2 * MAX_LINE_BYTES) + b"\n" + lines_of(named(2)))
    await import_all(importer)
    assert await ids(database) == ["1", "2"]
    assert importer.figures.undecodable >= 5
    assert journal_files(directory) == []


async def test_many_rows_come_in_in_their_order(database: Database, importer: Importer, directory: Path) -> None:
    leave(directory, named(*range(2503)))
    await import_all(importer)
    assert await ids(database) == [str(number) for number in range(2503)]
    rows, hours = await sums(database)
    assert rows == hours
    assert rows[0] == 2503


@pytest.mark.parametrize("later_s", [2.0, -3600.0])
async def test_a_file_stays_for_a_while_after_it_came_in(database: Database, directory: Path, later_s: float) -> None:
    now = 1_000.0
    importer = Importer(database, directory, now=lambda: now)
    path = leave(directory, named(1))
    await import_all(importer)
    now += 59
    assert not await importer.step()
    assert path.exists()
    now += later_s
    assert await importer.step()
    assert not path.exists()
    assert await ids(database) == ["1"]
    importer.close()


async def test_a_database_that_lost_its_last_commits_gets_them_again(database: Database, directory: Path) -> None:
    now = 1_000
    leave(directory, named(1, 2))
    before, after = (Importer(database, directory, now=lambda: now) for _ in range(2))
    await import_all(before)
    before.close()
    await lose_all(database)
    await import_all(after)
    assert await ids(database) == ["1", "2"]
    await lose_all(database)  # a copy of the server took its place
    while now < 1_120:
        now += 1
        await after.step()
    assert await ids(database) == ["1", "2"]
    after.close()


async def test_one_importer_at_a_time_works_on_a_directory(database: Database, importer: Importer, directory: Path) -> None:
    second = Importer(database, directory, keep_s=0)
    leave(directory, named(1))
    await importer.step()
    leave(directory, named(2))
    opened = open_files()
    for _ in range(3):
        assert not await second.step()
    assert open_files() == opened, "who waits for its turn keeps nothing open"
    assert (importer.figures.working, second.figures.working) == (True, False)
    importer.close()
    await import_all(second)
    assert await ids(database) == ["1", "2"]
    second.close()

    async def ends(seconds: float) -> None:
        raise asyncio.CancelledError

    third = Importer(database, directory, sleep=ends)
    with pytest.raises(asyncio.CancelledError):
        await third.run()
    assert await second.step() is False
    assert second.figures.working, "the one that ended has let go of the directory"
    second.close()


async def test_a_directory_that_is_made_anew_is_worked_on_again(database: Database, importer: Importer, directory: Path) -> None:
    assert not await importer.step()
    leave(directory, named(1))
    await import_all(importer)
    shutil.rmtree(directory)
    assert not await importer.step()
    assert not importer.figures.working
    leave(directory, named(2))
    await import_all(importer)
    assert await ids(database) == ["1", "2"]


async def test_the_store_knows_better_than_the_importer_where_a_file_is_read_to(
    database: Database, importer: Importer, directory: Path
) -> None:
    """As after a transaction whose end nobody heard of, or where an older copy of the database was put in place."""
    path = leave(directory, named(1, 2), b"[")
    await importer.step()
    async with database.begin() as connection:
        await connection.execute(journal_positions.update().values(read_bytes=len(lines_of(named(1)))))
        await connection.execute(calls.delete().where(calls.c.request_id == "2"))
    path.write_bytes(path.read_bytes()[:-1] + lines_of(named(3)))
    await import_all(importer)
    assert await ids(database) == ["1", "2", "3"]


async def test_while_the_store_is_away_files_wait_and_it_is_asked_less_and_less(
    directory: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "store.db"
    files.prepare(path)
    database = Database(f"sqlite:///{path}")
    await bring_up(database)
    path.rename(tmp_path / "elsewhere")
    leave(directory, named(1, 2))
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 7:
            assert importer.figures.trouble == "gone"
            (tmp_path / "elsewhere").rename(path)
        if len(slept) == 12:
            raise asyncio.CancelledError

    importer = Importer(database, directory, sleep=sleep)
    with pytest.raises(asyncio.CancelledError):
        await importer.run()
    assert slept[:7] == [1, 2, 4, 8, 16, 30, 30]
    assert importer.figures.trouble is None
    assert [entry.levelname for entry in caplog.records] == ["WARNING", "WARNING"]
    assert await ids(database) == ["1", "2"]
    await database.close()


async def test_what_waits_is_counted_while_the_store_is_away(directory: Path, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    files.prepare(path)
    database = Database(f"sqlite:///{path}")
    await bring_up(database)
    file = leave(directory, named(1, 2))
    importer = Importer(database, directory, keep_s=0)
    await importer.step()
    path.rename(tmp_path / "elsewhere")
    waited = []

    async def sleep(_: float) -> None:
        waited.append((importer.figures.trouble, importer.figures.waiting_bytes))
        if len(waited) == 3:
            raise asyncio.CancelledError
        with file.open("ab") as more:
            more.write(lines_of(named(3)))

    importer._sleep = sleep
    with pytest.raises(asyncio.CancelledError):
        await importer.run()
    line = len(lines_of(named(3)))
    assert waited == [("gone", 0), ("gone", line), ("gone", 2 * line)], "and not what is in the store"
    await database.close()


async def test_where_nothing_waits_any_more_there_is_no_trouble(directory: Path, tmp_path: Path) -> None:
    """The store was away when a file was forgotten, whose lines it has: nobody asks for that again."""
    path = tmp_path / "store.db"
    files.prepare(path)
    database = Database(f"sqlite:///{path}")
    await bring_up(database)
    leave(directory, named(1))
    importer = Importer(database, directory, keep_s=0)
    await importer.step()
    path.rename(tmp_path / "elsewhere")
    troubles = []

    async def sleep(_: float) -> None:
        troubles.append(importer.figures.trouble)
        if len(troubles) == 2:
            raise asyncio.CancelledError
        (tmp_path / "elsewhere").rename(path)

    importer._sleep = sleep
    with pytest.raises(asyncio.CancelledError):
        await importer.run()
    assert troubles == ["gone", None]
    assert await ids(database) == ["1"]
    await database.close()


async def test_a_slow_database_gets_smaller_pieces(database: Database, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    insert, tried, rests = Statements.insert, list[int](), 0

    async def slowly(self: Statements, connection: AsyncConnection, batch: Batch) -> None:
        """No more than so many rows within a transaction's time."""
        tried.append(len(batch.rows))
        await insert(self, connection, batch)
        if len(batch.rows) > 300:
            raise StoreUnavailable("timeout", "it took too long")

    monkeypatch.setattr(Statements, "insert", slowly)
    leave(directory, named(*range(2503)))

    async def sleep(_: float) -> None:
        nonlocal rests
        rests += 1
        if importer.figures.imported == 2503 or rests == 50:
            raise asyncio.CancelledError

    importer = Importer(database, directory, sleep=sleep)
    with pytest.raises(asyncio.CancelledError):
        await importer.run()
    assert await ids(database) == [str(number) for number in range(2503)]
    assert tried[0] > 1000


async def test_a_database_that_is_locked_takes_the_rows_later(database: Database, importer: Importer, directory: Path) -> None:
    leave(directory, named(1))
    await importer.step()
    leave(directory, named(2))
    hasty = Importer(database.patient(msgspec.structs.replace(PATIENT, lock_s=0.3)), directory, keep_s=0)
    importer.close()
    async with database.begin(lock="calls"):
        with pytest.raises(StoreUnavailable) as refused:
            await import_all(hasty)
    assert refused.value.reason == "locked"
    hasty.close()
    await hasty._database.close()
    await import_all(importer)
    assert await ids(database) == ["1", "2"]


async def test_a_server_that_crashed_gets_the_rows_when_it_is_back(directory: Path) -> None:
    """With it may go what it had committed and not synced (see `OPTIONS`): the files that held it are still there."""
    server = Server()
    try:
        server.start()
        database = Database(await server.fresh(), PATIENT)
        await bring_up(database)
        await server.execute("CHECKPOINT")
        importer = Importer(database, directory)
        leave(directory, named(1))
        await import_all(importer)
        server.stop(orderly=False)
        leave(directory, named(2))
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await importer.step()
        server.start()
        await import_all(importer)
        assert await ids(database) == ["1", "2"]
        importer.close()
        await database.close()
    finally:
        server.remove()


IMPORTER = """
import asyncio, sys
from pathlib import Path
from fkproxy.storage.calls_import import Importer
from fkproxy.storage.database import Database
async def run():
    importer = Importer(Database(sys.argv[1]), Path(sys.argv[2]), poll_s=0.01, keep_s=0.05)
    print("ready", flush=True)
    await importer.run()
asyncio.run(run())
"""


def _import_and_be_killed(url: str, directory: Path, after_s: float) -> None:
    command = [sys.executable, "-c", IMPORTER, url, str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(after_s)
    process.send_signal(signal.SIGKILL)
    process.communicate()


async def test_an_importer_that_is_killed_leaves_nothing_out_and_nothing_twice(database: Database, url: str, directory: Path) -> None:
    draw = random.Random()
    count = 0
    for _ in range(6):
        leave(directory, named(*range(count, count + 4000)), b'["torn')
        count += 4000
    kills = 0
    while kills < 5 and journal_files(directory):
        await asyncio.to_thread(_import_and_be_killed, url, directory, draw.uniform(0.01, 0.25))
        kills += 1
    importer = Importer(database, directory, keep_s=0)
    await import_all(importer)
    importer.close()
    found = await ids(database)
    assert len(found) == count
    assert set(found) == {str(number) for number in range(count)}
    rows, hours = await sums(database)
    assert rows == hours
    assert journal_files(directory) == []
    assert kills > 0


def test_nothing_is_imported_by_what_only_reads_the_values() -> None:
    command = "import sys, fkproxy.storage.calls_values, fkproxy.telemetry.journal; sys.exit('sqlalchemy' in sys.modules)"
    subprocess.run([sys.executable, "-c", command], check=True, cwd=Path(__file__).parents[2])


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
