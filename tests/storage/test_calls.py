"""The request log as a whole: in from the journal, out by every door, and nothing in it that anybody said."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import get_args

import pytest
from sqlalchemy import select

from fkproxy.storage.calls import Calls
from fkproxy.storage.calls_import import Importer
from fkproxy.storage.calls_tables import journal_positions
from fkproxy.storage.calls_values import Begins, CallFilter, ExportFormat, Retention
from fkproxy.storage.database import Database
from fkproxy.telemetry.journal import Journal
from tests.storage.journal import bring_in, import_all
from tests.telemetry.records import record

NOW_S = 1_800_000_000.0
CANARIES = ("prompt-canary", "192.0.2.99", "agent-canary", "sk-canary-7Hq2Lw9Zx4Vb8Nm3Kp6Tr1")


async def _until(ask: Callable[[], Awaitable[int]], wanted: int) -> None:
    """What runs by itself has half a minute for it, and needs none."""
    async with asyncio.timeout(30):
        while await ask() != wanted:  # noqa: ASYNC110 - a row in a database sets no event
            await asyncio.sleep(0.01)


async def test_calls_of_one_id_are_all_given_newest_first(database: Database, tmp_path: Path) -> None:
    calls = Calls(database, tmp_path / "calls")
    made = [record(request_id="mine", started_s=NOW_S + number, attempts=number) for number in range(3)]
    await bring_in(database, tmp_path / "calls", [*made, record(request_id="other")])
    assert [row.attempts for row in await calls.get("mine")] == [2, 1, 0]
    assert await calls.get("nobody's") == ()


async def test_it_runs_by_itself_and_takes_away_what_is_old(database: Database, tmp_path: Path) -> None:
    now = NOW_S
    keep = Retention(days=1)
    waits: list[float] = []
    pause = asyncio.Event()

    async def sleep(seconds: float) -> None:
        nonlocal now
        waits.append(seconds)
        await asyncio.sleep(0.001)
        if seconds >= 600:
            await pause.wait()
            now += 3 * 86400
            pause.clear()

    calls = Calls(database, tmp_path / "calls", retention=lambda: keep, now=lambda: now, ticks=lambda: now, sleep=sleep)
    journal = Journal(tmp_path / "calls", gather_s=0.001)
    journal.write(record(started_s=NOW_S))

    async def count() -> int:
        return len((await calls.search(CallFilter())).rows)

    running = asyncio.create_task(calls.run())
    await _until(count, 1)
    assert calls.figures.working
    assert (calls.figures.imported, calls.figures.trouble) == (1, None)
    pause.set()
    await _until(count, 0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not calls.figures.working
    journal.close(60.0)
    assert {1.0, 600.0} <= set(waits)


async def test_a_clock_that_is_wrong_for_a_while_takes_nothing_away(database: Database, tmp_path: Path) -> None:
    """Nor the positions, without which every line would be imported again."""
    monotonic, wrong_s, ahead, pauses = 0.0, 3000 * 86400.0, {600.0, 1200.0, 4800.0}, 0
    over = asyncio.Event()

    async def sleep(seconds: float) -> None:
        nonlocal monotonic, pauses
        await asyncio.sleep(0.001)
        if seconds >= 600:
            calls.figures.working = True
            monotonic += seconds
            pauses += 1
            if pauses > 10:
                over.set()
                await asyncio.Event().wait()

    def now() -> float:
        return NOW_S + monotonic + (wrong_s if monotonic in ahead else 0.0)

    keep = Retention(days=1, usage_days=1)
    calls = Calls(database, tmp_path / "calls", retention=lambda: keep, now=now, ticks=lambda: monotonic, sleep=sleep)
    await bring_in(database, tmp_path / "calls", [record(started_s=NOW_S)])
    async with database.begin() as connection:
        await connection.execute(journal_positions.insert().values(file="here", read_bytes=1, updated_s=NOW_S))
    retaining = asyncio.create_task(calls._keep_retaining())
    async with asyncio.timeout(20):
        await over.wait()
    retaining.cancel()
    assert len((await calls.search(CallFilter())).rows) == 1
    assert len(await calls.usage("key")) == 1
    async with database.read() as connection:
        assert (await connection.execute(select(journal_positions.c.file))).scalars().all() == ["here"]


async def test_nothing_that_anybody_said_is_anywhere(database: Database, tmp_path: Path) -> None:
    prompt, address, agent, key = CANARIES
    journal = Journal(tmp_path / "calls")
    journal.write(record(peer=address, user_agent=agent))
    journal.write(record(model_requested=f"{prompt} and more, please", provider_key=None, model_id=None, status=404))
    journal.write(record(model_requested=key, provider_key=None, model_id=None, status=404, notes=(f"takeover:{key}",)))
    journal.write(record(method=agent, reasoning_requested=f"{prompt}!"))
    journal.close(60.0)
    calls = Calls(database, tmp_path / "calls")
    spool = b"".join(path.read_bytes() for path in (tmp_path / "calls").iterdir())
    importer = Importer(database, tmp_path / "calls")
    await import_all(importer)
    importer.close()
    found = [spool]
    for kind in get_args(ExportFormat):
        found += [piece async for piece in calls.export(CallFilter(), kind)]
    assert len(found) == 3
    if database.path is not None:
        found += [path.read_bytes() for path in database.path.parent.glob("store.db*")]
    for canary in CANARIES:
        assert not any(canary.encode() in each for each in found), canary
    assert any(b"other" in each for each in found)


async def test_usage_and_budgets_are_asked_here_too(database: Database, tmp_path: Path) -> None:
    calls = Calls(database, tmp_path / "calls")
    await bring_in(database, tmp_path / "calls", [record(started_s=NOW_S, cost_usd=0.5)])
    assert [(row.group, row.calls) for row in await calls.usage("key")] == [("0badcafe", 1)]
    day = NOW_S - NOW_S % 86400
    assert (await calls.spent(Begins(day, day, day)))["0badcafe"].cost_day_usd == 0.5
    assert (await calls.retain(Retention(days=None, max_rows=0))).calls == 1
