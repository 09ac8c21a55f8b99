"""What keys have used is known before it is imported: every line once, whoever has imported it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fkproxy.storage.calls_import import Importer
from fkproxy.storage.calls_values import Begins, Spent
from fkproxy.storage.calls_waiting import spent_by_others
from fkproxy.storage.database import Database
from fkproxy.telemetry.journal import Journal
from tests.storage.journal import bring_in, import_all, leave
from tests.storage.test_calls_usage import HOUR_S, MONDAY_S, call

BEGINS = Begins(MONDAY_S + 48 * HOUR_S, MONDAY_S, MONDAY_S - 240 * HOUR_S)
TODAY_S = MONDAY_S + 50 * HOUR_S
NOBODY = "-nobody.jsonl"


async def no_rest(_: float) -> None:
    return None


async def others(database: Database, directory: Path, own: str = NOBODY) -> dict[str, Spent]:
    return await spent_by_others(database, directory, BEGINS, own, sleep=no_rest)


async def test_what_waits_is_added_to_what_is_in_the_store_by_window(database: Database, tmp_path: Path) -> None:
    await bring_in(database, tmp_path / "calls", [call(TODAY_S, tokens=1000)])
    waiting = [
        call(MONDAY_S - 5 * 24 * HOUR_S, tokens=400),  # this month, before this week
        call(MONDAY_S + HOUR_S, tokens=30),  # this week, before today
        call(TODAY_S, tokens=2),
        call(TODAY_S + 3000 * 24 * HOUR_S, tokens=5000),  # the clock was wrong
        call(TODAY_S, key="k2", tokens=4, cost_usd=None),
        call(TODAY_S, key=None, tokens=5),
    ]
    leave(tmp_path / "calls", waiting, tail=b"half a line")
    assert await others(database, tmp_path / "calls") == {"k1": Spent(1004, 1035, 1.0, 2.0), "k2": Spent(5, 5, 0.0, 0.0)}


async def test_a_file_that_is_imported_in_part_is_counted_once(database: Database, tmp_path: Path) -> None:
    path = leave(tmp_path / "calls", [call(TODAY_S)])
    importer = Importer(database, tmp_path / "calls")
    await importer.step()
    with path.open("ab") as more:
        more.write(path.read_bytes() * 2)
    assert (await others(database, tmp_path / "calls"))["k1"].tokens_day == 303
    await import_all(importer)
    importer.close()
    assert (await others(database, tmp_path / "calls"))["k1"].tokens_day == 303


@pytest.mark.parametrize("imported", [False, True])
async def test_what_this_process_counted_itself_is_left_out(database: Database, tmp_path: Path, imported: bool) -> None:
    leave(tmp_path / "calls", [call(TODAY_S, tokens=10)])
    journal = Journal(tmp_path / "calls", gather_s=0)
    journal.write(call(TODAY_S, tokens=1000))
    journal.close(60.0)
    if imported:
        importer = Importer(database, tmp_path / "calls")
        await import_all(importer)
        importer.close()
    assert await others(database, tmp_path / "calls", journal.ending) == {"k1": Spent(11, 11, 0.5, 0.5)}
    assert (await others(database, tmp_path / "calls"))["k1"].tokens_day == 1012


async def test_much_is_read_in_pieces_with_a_rest_after_each(database: Database, tmp_path: Path) -> None:
    path = leave(tmp_path / "calls", [call(TODAY_S)])
    path.write_bytes(path.read_bytes() * 6000)
    rests: list[float] = []

    async def rest(seconds: float) -> None:
        rests.append(seconds)

    began = time.monotonic()
    assert (await spent_by_others(database, tmp_path / "calls", BEGINS, NOBODY, sleep=rest))["k1"].tokens_day == 6000 * 101
    assert len(rests) > 1
    assert 0 < sum(rests) <= time.monotonic() - began
