"""Calls are found by what is known of them, newest first, and pages stay what they are while calls come in."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from fkproxy.storage.calls_rows import row_of
from fkproxy.storage.calls_search import MAX_PAGE, search
from fkproxy.storage.calls_tables import CALL_COLUMNS
from fkproxy.storage.calls_values import CallFilter, Detail
from fkproxy.storage.database import Database
from fkproxy.telemetry.entry import EntryEncoder, decode_entry
from fkproxy.telemetry.record import Attempt, CallRecord, Skipped
from tests.storage.journal import bring_in
from tests.telemetry.records import record

START_S = 1_800_000_000.0

ERRORS = {200: None, 201: None, 502: "upstream_error", 429: "rate_limit_exceeded", 404: "model_not_found"}


def calls(count: int) -> list[CallRecord]:
    """Of every kind, one a second, always the same."""
    draw = random.Random(3)
    made = []
    for number in range(count):
        status = draw.choice([200, 200, 200, 200, 201, 502, 429, 404])
        served = status != 404
        made.append(
            record(
                request_id=f"r{number}",
                started_s=START_S + number,
                status=status,
                error_code=ERRORS[status],
                key_id=draw.choice([None, "k1", "k2", "k3"]),
                pool=draw.choice(["team-a", "team-b"]),
                provider_key=draw.choice(["p1", "p2"]) if served else None,
                credential=draw.choice(["", "second"]) if served else "",
                model_requested=draw.choice(["m1", "m2", "alias"]),
                model_id=draw.choice(["m1", "m2"]) if served else None,
                client_ended=draw.random() < 0.1,
                route=draw.choice(["/v1/chat/completions", "/v1/messages"]),
            )
        )
    return made


CALLS = calls(400)

FILTERS: list[dict[str, Any]] = [
    {},
    {"request_id": "r7"},
    {"request_id": "none"},
    {"key_id": "k1"},
    {"key_id": "nobody"},
    {"pool": "team-a"},
    {"provider_key": "p2"},
    {"provider_key": "p2", "credential": "second"},
    {"model": "m1"},
    {"model": "alias"},
    {"model": "none"},
    {"model": "m2", "key_id": "k2"},
    {"model": "m2", "failures": True},
    {"status": 200},
    {"status": 201},
    {"status": 502},
    {"status": 404, "pool": "team-b"},
    {"status_class": 2},
    {"status_class": 2, "outcome": "client_ended"},
    {"status": 200, "failures": True},
    {"status": 200, "status_class": 5},
    {"status_class": 4},
    {"status_class": 5, "key_id": "k3"},
    {"status_class": 3},
    {"outcome": "ok"},
    {"outcome": "failed"},
    {"outcome": "client_ended"},
    {"outcome": "limited", "model": "m1"},
    {"error_code": "model_not_found"},
    {"failures": True},
    {"failures": True, "pool": "team-a", "provider_key": "p1", "key_id": "k1"},
    {"family": "messages"},
    {"ended_by": "client"},
    {"ended_by": "gateway", "family": "chat"},
    {"since_s": START_S + 100, "until_s": START_S + 110},
    {"since_s": START_S + 390},
    {"until_s": START_S + 5, "model": "m1"},
    {"key_id": "k1", "pool": "team-a", "provider_key": "p1", "model": "m1", "outcome": "ok", "since_s": START_S, "until_s": START_S + 350},
]


def fits(call: CallRecord, which: dict[str, Any]) -> bool:
    row = dict(zip(CALL_COLUMNS, row_of(decode_entry(EntryEncoder().encode(call))), strict=True))
    for field, wanted in which.items():
        match field:
            case "since_s":
                found = call.started_s >= wanted
            case "until_s":
                found = call.started_s < wanted
            case "model":
                found = wanted in (row["model_requested"], row["model_id"])
            case "failures":
                found = row["outcome"] != "ok"
            case _:
                found = row[field] == wanted
        if not found:
            return False
    return True


async def pages(database: Database, which: CallFilter, limit: int) -> list[list[str]]:
    found, cursor = [], None
    while True:
        page = await search(database, which, limit=limit, cursor=cursor)
        found.append([row.request_id for row in page.rows])
        cursor = page.next
        if cursor is None:
            return found


async def test_every_filter_finds_what_fits_and_nothing_else(database: Database, tmp_path: Path) -> None:
    await bring_in(database, tmp_path / "calls", CALLS)
    for which in FILTERS:
        wanted = [call.request_id for call in reversed(CALLS) if fits(call, which)]
        found = await pages(database, CallFilter(**which), 40)
        assert [each for page in found for each in page] == wanted, which
        assert all(len(page) == 40 for page in found[:-1])


async def test_a_row_tells_what_was_recorded(database: Database, tmp_path: Path) -> None:
    tries = (Attempt(provider_key="p1", outcome="timeout", duration_ms=3.0), Attempt(provider_key="p2", status=200))
    skipped = (Skipped(provider_key="p3", reason="limited", retry_after_s=2.5),)
    call = record(
        stream=True, tries=tries, skipped=skipped, notes=("waited",), losses=("stop",), cost_usd=0.25, duration_ms=1.23456, ttft_ms=None
    )
    await bring_in(database, tmp_path / "calls", [call])
    (row,) = (await search(database, CallFilter())).rows
    assert (row.request_id, row.stream, row.cost_usd, row.duration_ms, row.ttft_ms) == ("r1", True, 0.25, 1.235, None)
    assert (row.tokens_input, row.tokens_cache_write, row.started_ms, row.outcome) == (100, None, 1_800_000_000_500, "ok")
    assert row.detail == Detail(tries=tries, skipped=skipped, notes=("waited",), losses=("stop",))


async def test_pages_stay_what_they_are_while_calls_come_in(database: Database, tmp_path: Path) -> None:
    first = [record(request_id=f"r{number}", started_s=START_S + number // 3) for number in range(60)]
    await bring_in(database, tmp_path / "calls", first)
    found, cursor, came = [], None, 0
    while True:
        page = await search(database, CallFilter(), limit=7, cursor=cursor)
        found += [row.request_id for row in page.rows]
        cursor = page.next
        if cursor is None:
            break
        came += 1
        await bring_in(database, tmp_path / "calls", [record(request_id=f"new{came}", started_s=START_S + 1000)])
    assert found == [f"r{number}" for number in reversed(range(60))]
    assert came == 8


async def test_a_page_is_never_larger_than_the_largest_and_never_empty(database: Database, tmp_path: Path) -> None:
    await bring_in(database, tmp_path / "calls", [record(request_id=str(number)) for number in range(MAX_PAGE + 10)])
    assert len((await search(database, CallFilter(), limit=10**9)).rows) == MAX_PAGE
    assert len((await search(database, CallFilter(), limit=-5)).rows) == 1


@pytest.mark.parametrize("cursor", ["", "-", "1", "1-", "-1", "a-1", "1-1-1", "1" * 50 + "-1", "1800000000000-1; DROP TABLE calls"])
async def test_what_is_no_cursor_is_refused(database: Database, cursor: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        await search(database, CallFilter(), cursor=cursor)


async def test_words_in_filters_are_values_and_nothing_else(database: Database, tmp_path: Path) -> None:
    await bring_in(database, tmp_path / "calls", CALLS[:5])
    for word in ("' OR 1=1 --", 'x"; DELETE FROM calls; --', "%", "?", "$1", ":p"):
        assert not (await search(database, CallFilter(key_id=word, model=word))).rows
        assert not (await search(database, CallFilter(request_id=word))).rows
    assert len((await search(database, CallFilter())).rows) == 5


async def test_every_index_that_is_named_is_there(database: Database) -> None:
    """A statement that names one that is missing fails on SQLite; PostgreSQL finds its own way."""
    for which in FILTERS:
        await search(database, CallFilter(**which))
    query = "SELECT name FROM sqlite_master WHERE type = 'index'" if database.path else "SELECT indexname FROM pg_indexes"
    async with database.read() as connection:
        names = set((await connection.execute(text(query))).scalars())
    told = {
        "calls_request",
        "calls_time",
        "calls_key",
        "calls_model",
        "calls_pool",
        "calls_provider",
        "calls_asked_else",
        "calls_not_plain",
    }
    assert told <= names
