"""What is old goes, a little at a time; what is not stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import func, select

from fkproxy.storage.calls_retention import retain
from fkproxy.storage.calls_tables import calls, journal_positions, usage_hourly
from fkproxy.storage.calls_values import Removed, Retention
from fkproxy.storage.database import Database
from tests.storage.journal import bring_in
from tests.telemetry.records import record

NOW_S = 1_800_000_000.0
DAY_S = 86400.0


class Sleeper:
    def __init__(self) -> None:
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


async def left(database: Database) -> list[str]:
    async with database.read() as connection:
        return list((await connection.execute(select(calls.c.request_id).order_by(calls.c.started_ms))).scalars())


async def fill(database: Database, tmp_path: Path, count: int) -> None:
    """One a day, the last of them just now."""
    made = [record(request_id=f"{age}", started_s=NOW_S - age * DAY_S) for age in reversed(range(count))]
    await bring_in(database, tmp_path / "calls", made)


@pytest.mark.parametrize(
    ("keep", "oldest"),
    [
        (Retention(days=None, max_rows=None), 19),
        (Retention(days=5, max_rows=None), 5),
        (Retention(days=None, max_rows=3), 2),
        (Retention(days=5, max_rows=3), 2),
        (Retention(days=2, max_rows=10), 2),
        (Retention(days=100, max_rows=100), 19),
        (Retention(days=0, max_rows=0), None),
    ],
)
async def test_calls_that_are_too_old_or_too_many_go(database: Database, tmp_path: Path, keep: Retention, oldest: int | None) -> None:
    await fill(database, tmp_path, 20)
    removed = await retain(database, keep, NOW_S + 1 if oldest is None else NOW_S, sleep=Sleeper())
    kept = await left(database)
    assert kept == ([] if oldest is None else [str(age) for age in reversed(range(oldest + 1))])
    assert removed == Removed(calls=20 - len(kept), usage=0)


async def test_while_nobody_knows_the_time_only_those_that_are_too_many_go(database: Database, tmp_path: Path) -> None:
    await fill(database, tmp_path, 20)
    assert await retain(database, Retention(days=5, max_rows=15, usage_days=5), None, sleep=Sleeper()) == Removed(calls=5, usage=0)


async def test_many_go_a_few_at_a_time_with_pauses(database: Database, tmp_path: Path) -> None:
    await bring_in(database, tmp_path / "calls", [record(request_id=str(number), started_s=NOW_S - 40 * DAY_S) for number in range(1200)])
    sleeper = Sleeper()
    assert (await retain(database, Retention(), NOW_S, sleep=sleeper)).calls == 1200
    assert len(sleeper.slept) >= 4
    assert min(sleeper.slept) >= 0.02


async def test_sums_are_kept_for_longer(database: Database, tmp_path: Path) -> None:
    await fill(database, tmp_path, 20)
    removed = await retain(database, Retention(days=5, usage_days=10), NOW_S, sleep=Sleeper())
    assert removed == Removed(calls=14, usage=9)
    async with database.read() as connection:
        hours = (await connection.execute(select(func.count(), func.min(usage_hourly.c.hour)))).one()
    assert tuple(hours) == (11, int((NOW_S - 10 * DAY_S) // 3600))


async def test_positions_of_files_long_gone_are_forgotten(database: Database) -> None:
    async with database.begin() as connection:
        for name, age in (("old", 500), ("new", 1)):
            await connection.execute(journal_positions.insert().values(file=name, read_bytes=1, updated_s=NOW_S - age * DAY_S))
    await retain(database, Retention(), NOW_S, sleep=Sleeper())
    async with database.read() as connection:
        assert list((await connection.execute(select(journal_positions.c.file))).scalars()) == ["new"]


async def test_an_empty_log_has_nothing_to_lose(database: Database) -> None:
    assert await retain(database, Retention(), NOW_S, sleep=Sleeper()) == Removed(calls=0, usage=0)
