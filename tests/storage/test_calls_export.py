"""An export is a file that programs and spreadsheets can read, that runs nothing, and that needs no memory."""

from __future__ import annotations

import csv
import io
import tracemalloc
from pathlib import Path

import msgspec
import pytest

from fkproxy.storage.calls_export import export
from fkproxy.storage.calls_tables import CALL_COLUMNS
from fkproxy.storage.calls_values import CallFilter, CallRow, ExportFormat
from fkproxy.storage.database import Database
from fkproxy.telemetry.record import Attempt
from tests.storage.journal import bring_in
from tests.telemetry.records import record


async def exported(database: Database, kind: ExportFormat, which: CallFilter | None = None) -> str:
    return b"".join([piece async for piece in export(database, which or CallFilter(), kind)]).decode()


async def test_csv_has_a_head_and_a_line_for_each_call(database: Database, tmp_path: Path) -> None:
    calls = [record(request_id=f"r{number}", started_s=1_800_000_000 + number, cost_usd=1e-9) for number in range(3)]
    await bring_in(database, tmp_path / "calls", calls)
    head, *lines = csv.reader(io.StringIO(await exported(database, "csv")))
    assert head[:4] == ["time", "request_id", "family", "route"]
    rows = [dict(zip(head, line, strict=True)) for line in lines]
    assert [row["request_id"] for row in rows] == ["r2", "r1", "r0"]
    assert rows[0]["time"] == "2027-01-15T08:00:02.000Z"
    assert (rows[0]["tokens_input"], rows[0]["tokens_cache_write"], rows[0]["cost_usd"]) == ("100", "", "1e-09")


async def test_json_lines_hold_all_of_each_call(database: Database, tmp_path: Path) -> None:
    tries = (Attempt(provider_key="p1", outcome="timeout"), Attempt(provider_key="p2"))
    await bring_in(database, tmp_path / "calls", [record(tries=tries), record(request_id="r0", started_s=1.0)])
    lines = [msgspec.json.decode(line) for line in (await exported(database, "jsonl")).splitlines()]
    assert [line["request_id"] for line in lines] == ["r1", "r0"]
    assert set(lines[0]) == {"time", *CallRow.__struct_fields__}
    assert lines[0]["time"] == "2027-01-15T08:00:00.500Z"
    assert lines[0]["detail"]["tries"][0]["outcome"] == "timeout"


async def test_an_export_is_filtered_as_a_search_is(database: Database, tmp_path: Path) -> None:
    await bring_in(database, tmp_path / "calls", [record(), record(request_id="bad", status=502, error_code="upstream_error")])
    lines = (await exported(database, "jsonl", CallFilter(failures=True))).splitlines()
    assert [msgspec.json.decode(line)["request_id"] for line in lines] == ["bad"]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
async def test_without_calls_there_is_a_head_or_nothing(database: Database, kind: ExportFormat) -> None:
    assert len((await exported(database, kind)).splitlines()) == (kind == "csv")


@pytest.mark.parametrize("word", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", '=HYPERLINK("http://192.0.2.1","x")'])
async def test_no_cell_is_a_formula(database: Database, tmp_path: Path, word: str) -> None:
    await bring_in(database, tmp_path / "calls", [record(request_id=word, model_requested=word, model_id=word)])
    head, line = csv.reader(io.StringIO(await exported(database, "csv")))
    row = dict(zip(head, line, strict=True))
    assert row["request_id"] == f"'{word}"
    assert row["model_id"].startswith("'") or not word.isprintable()
    assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for cell in line)
    # A program that reads JSON gets what was said.
    assert msgspec.json.decode(await exported(database, "jsonl"))["request_id"] == word


async def test_a_hundred_thousand_calls_are_exported_with_the_memory_of_a_page(database: Database, tmp_path: Path) -> None:
    await bring_in(database, tmp_path / "calls", [record(request_id=f"r{number}", started_s=1.8e9 + number) for number in range(1000)])
    columns = ", ".join(CALL_COLUMNS)
    for _ in range(50):
        async with database.begin() as connection:
            await connection.exec_driver_sql(f"INSERT INTO calls ({columns}) SELECT {columns} FROM calls ORDER BY id LIMIT 2000")
    count = 100_000
    peaks: list[int] = []
    lines = 0
    async for piece in export(database, CallFilter(), "csv"):
        lines += piece.count(b"\n")
        number = len(peaks)
        # A look at a piece early on and at one late: watching all of them would take longer than the export.
        if number in (5, 70):
            tracemalloc.start()
        peaks.append(tracemalloc.get_traced_memory()[1])
        if number in (8, 73):
            tracemalloc.stop()
    assert lines == count + 1
    assert 0 < peaks[8] < 3_000_000
    assert 0 < peaks[73] < 3_000_000
