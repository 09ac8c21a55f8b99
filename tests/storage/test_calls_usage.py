"""Usage adds up, by whatever it is grouped."""

from __future__ import annotations

from pathlib import Path

import pytest

from fkproxy.model.usage import Usage
from fkproxy.storage.calls_retention import retain
from fkproxy.storage.calls_tables import calls
from fkproxy.storage.calls_usage import spent, usage
from fkproxy.storage.calls_values import Begins, GroupBy, Retention, Spent, UsageFilter
from fkproxy.storage.database import Database
from fkproxy.telemetry.record import CallRecord
from tests.storage.journal import bring_in
from tests.telemetry.records import record

MONDAY_S = 1_799_625_600.0  # 2027-01-11, a Monday, at midnight
HOUR_S = 3600.0


def call(at_s: float, key: str | None = "k1", tokens: int = 100, **fields: object) -> CallRecord:
    used = Usage(input_tokens=tokens, output_tokens=1)
    return record(**{"started_s": at_s, "key_id": key, "pool": "team", "usage": used, "cost_usd": 0.5, **fields})


CALLS = [
    call(MONDAY_S),
    call(MONDAY_S + 10, model_id="m2", provider_key="p2"),
    call(MONDAY_S + HOUR_S, key="k2", pool="other", status=502, error_code="upstream_error"),
    call(MONDAY_S + 25 * HOUR_S, key=None, pool=None, client_ended=True, cost_usd=None),
    call(MONDAY_S + 26 * HOUR_S, status=404, error_code="model_not_found", provider_key=None, model_id=None, usage=None, cost_usd=None),
]


@pytest.mark.parametrize(
    ("by", "wanted"),
    [
        ("pool", {"": 1, "other": 1, "team": 3}),
        ("key", {"": 1, "k1": 3, "k2": 1}),
        ("provider", {"": 1, "p1": 3, "p2": 1}),
        ("model", {"": 1, "m2": 1, "model-1": 3}),
        ("hour", {MONDAY_S: 2, MONDAY_S + HOUR_S: 1, MONDAY_S + 25 * HOUR_S: 1, MONDAY_S + 26 * HOUR_S: 1}),
        ("day", {MONDAY_S: 3, MONDAY_S + 24 * HOUR_S: 2}),
    ],
)
async def test_calls_are_counted_by_group(database: Database, tmp_path: Path, by: GroupBy, wanted: dict[object, int]) -> None:
    await bring_in(database, tmp_path / "calls", CALLS)
    rows = await usage(database, by)
    assert {row.group: row.calls for row in rows} == wanted
    assert [row.group for row in rows] == sorted(row.group for row in rows)
    assert sum(row.tokens_input for row in rows) == 400
    assert sum(row.cost_usd for row in rows) == 1.5
    assert (sum(row.failed for row in rows), sum(row.client_ended for row in rows), sum(row.cost_unknown for row in rows)) == (1, 1, 1)


async def test_a_time_is_taken_to_the_hour(database: Database, tmp_path: Path) -> None:
    await bring_in(database, tmp_path / "calls", CALLS)
    hours = await usage(database, "hour", since_s=MONDAY_S + 1800, until_s=MONDAY_S + HOUR_S + 1)
    assert [row.group for row in hours] == [MONDAY_S, MONDAY_S + HOUR_S]
    assert [row.group for row in await usage(database, "hour", until_s=MONDAY_S + HOUR_S)] == [MONDAY_S]
    assert await usage(database, "hour", since_s=MONDAY_S + 30 * HOUR_S) == []


async def test_usage_can_be_one_keys_or_one_pools(database: Database, tmp_path: Path) -> None:
    await bring_in(database, tmp_path / "calls", CALLS)
    assert [(row.group, row.calls) for row in await usage(database, "model", which=UsageFilter(key_id="k1", provider_key="p2"))] == [
        ("m2", 1)
    ]
    assert [(row.group, row.calls) for row in await usage(database, "key", which=UsageFilter(pool="other"))] == [("k2", 1)]
    assert await usage(database, "key", which=UsageFilter(model_id="none")) == []


async def test_what_keys_have_spent_is_told_by_day_week_and_month(database: Database, tmp_path: Path) -> None:
    made = [
        call(MONDAY_S - 5 * 24 * HOUR_S, tokens=1000),  # this month, before this week
        call(MONDAY_S + HOUR_S, tokens=200),  # this week, before today
        call(MONDAY_S + 50 * HOUR_S, tokens=30),  # today
        call(MONDAY_S + 50 * HOUR_S, key="k2", tokens=4, cost_usd=0.25),
        call(MONDAY_S + 50 * HOUR_S, key=None, tokens=5),
    ]
    await bring_in(database, tmp_path / "calls", made)
    found = await spent(database, Begins(MONDAY_S + 48 * HOUR_S, MONDAY_S, MONDAY_S - 10 * 24 * HOUR_S))
    assert found == {"k1": Spent(31, 232, 0.5, 1.5), "k2": Spent(5, 5, 0.25, 0.25)}


async def test_a_week_may_begin_before_its_month(database: Database, tmp_path: Path) -> None:
    await bring_in(database, tmp_path / "calls", [call(MONDAY_S + HOUR_S), call(MONDAY_S + 30 * HOUR_S)])
    found = await spent(database, Begins(MONDAY_S + 24 * HOUR_S, MONDAY_S, MONDAY_S + 24 * HOUR_S))
    assert found == {"k1": Spent(101, 202, 0.5, 0.5)}


async def test_what_a_clock_that_was_ahead_wrote_counts_in_the_windows_it_lies_in(database: Database, tmp_path: Path) -> None:
    made = [
        call(MONDAY_S + HOUR_S, tokens=1),
        call(MONDAY_S + 25 * HOUR_S, tokens=20),  # tomorrow, this week
        call(MONDAY_S + 8 * 24 * HOUR_S, tokens=300),  # next week, this month
        call(MONDAY_S + 3000 * 24 * HOUR_S, tokens=4000),  # another decade
    ]
    await bring_in(database, tmp_path / "calls", made)
    found = await spent(database, Begins(MONDAY_S, MONDAY_S, MONDAY_S - 10 * 24 * HOUR_S))
    assert found == {"k1": Spent(2, 23, 0.5, 1.5)}


async def test_usage_outlives_the_calls_it_was_made_of(database: Database, tmp_path: Path) -> None:
    async def no_sleep(_: float) -> None:
        return None

    await bring_in(database, tmp_path / "calls", CALLS)
    await retain(database, Retention(days=1), MONDAY_S + 100 * HOUR_S, sleep=no_sleep)
    async with database.read() as connection:
        assert (await connection.execute(calls.select())).all() == []
    assert sum(row.calls for row in await usage(database, "pool")) == 5
