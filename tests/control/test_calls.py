"""What an administrator is told of the log of calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from fkproxy.control.calls import CallControl
from fkproxy.control.key_views import NewKey
from fkproxy.storage.calls import Calls
from fkproxy.storage.calls_values import CallFilter, ExportFormat, GroupBy, UsageFilter
from fkproxy.storage.values import StoreUnavailable
from tests.control.acting import BY, NOW_S, Office
from tests.storage.journal import bring_in
from tests.telemetry.records import record

HOUR_S, DAY_S = 3600.0, 86400.0


@pytest.fixture
async def calls(office: Office, tmp_path: Path) -> CallControl:
    """Four calls, the last of them in the hour of `NOW_S` and of another pool."""
    hours = (-2 * DAY_S, -DAY_S, -DAY_S, 0.0)
    records = [record(started_s=NOW_S + at_s, pool="team" if at_s else "spare") for at_s in hours]
    await bring_in(office.store.database, tmp_path / "calls", records)
    return CallControl(lambda: Calls(office.store.database, tmp_path / "calls"), office.ledger, lambda: NOW_S)


@pytest.mark.parametrize(
    ("by", "limit", "wanted", "more"),
    [
        ("hour", 9, [NOW_S - 2 * DAY_S, NOW_S - DAY_S, NOW_S], 0),
        ("hour", 2, [NOW_S - DAY_S, NOW_S], 1),
        ("day", 1, [NOW_S // DAY_S * DAY_S], 2),
        ("pool", 1, ["team"], 1),
        ("pool", 2, ["team", "spare"], 0),
    ],
)
async def test_of_times_the_newest_are_told_and_of_names_those_with_most_calls(
    calls: CallControl, by: GroupBy, limit: int, wanted: list[object], more: int
) -> None:
    told = await calls.usage(by, since_s=None, until_s=None, which=UsageFilter(), limit=limit)
    assert ([row.group for row in told.rows], told.more) == (wanted, more)


async def test_keys_are_told_with_their_names_also_when_they_are_gone(office: Office, tmp_path: Path) -> None:
    made = [(await office.keys.create(NewKey(pool="team", label=label), by=BY)).key for label in ("there", "gone", "idle")]
    records = [record(started_s=NOW_S, pool="team", key_id=id_) for id_ in (made[0].id, made[1].id, "master", None)]
    await bring_in(office.store.database, tmp_path / "calls", records)
    await office.keys.delete(made[1].id, confirm=made[1].prefix, by=BY)
    calls = CallControl(lambda: Calls(office.store.database, tmp_path / "calls"), office.ledger, lambda: NOW_S)
    told = await calls.usage("key", since_s=None, until_s=None, which=UsageFilter(), limit=9)
    assert {row.group for row in told.rows} == {made[0].id, made[1].id, "master", ""}
    assert {id_: (name.label, name.deleted_s is None) for id_, name in told.keys.items()} == {
        made[0].id: ("there", True),
        made[1].id: ("gone", False),
    }
    assert told.keys[made[1].id].prefix == made[1].prefix
    assert (await calls.usage("pool", since_s=None, until_s=None, which=UsageFilter(), limit=9)).keys == {}


async def test_sums_are_told_with_the_hour_that_they_begin_with(calls: CallControl) -> None:
    told = await calls.usage("hour", since_s=NOW_S + 300, until_s=None, which=UsageFilter(), limit=9)
    assert (told.since_s, [row.group for row in told.rows]) == (NOW_S, [NOW_S])


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
async def test_a_store_that_is_away_begins_no_file(calls: CallControl, tmp_path: Path, kind: ExportFormat) -> None:
    (tmp_path / "state" / "store.db").rename(tmp_path / "away.db")
    with pytest.raises(StoreUnavailable):
        await calls.export(CallFilter(), kind, by=BY)
