"""The audit log as an administrator reads it."""

from __future__ import annotations

from typing import Any

import pytest

from fkproxy.control.refusals import Forbidden, Invalid
from tests.control.acting import BY, Office, rows


async def test_what_was_done_and_what_was_refused_stand_there(office: Office) -> None:
    await office.pools.pause("team", by=BY)
    with pytest.raises(Forbidden):
        await office.pools.delete("team", by=BY)
    last, first = await office.audit.all(limit=2)
    assert (first.action, first.target_kind, first.target, first.outcome, first.changed) == (
        "pool.pause",
        "pool",
        "team",
        "done",
        ("state",),
    )
    assert (first.actor, first.request_id) == (BY.actor, "req-1")
    assert (last.action, last.outcome, last.note) == ("pool.delete", "refused", "forbidden")
    assert [row.id for row in await office.audit.all(before_id=last.id, limit=1)] == [first.id]
    assert [row.id for row in await office.audit.all(action="pool", outcome="refused")] == [last.id]
    assert [row.id for row in await office.audit.all(target="team", action="pool.pause")] == [first.id]


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"action": "x"}, "action"),
        ({"outcome": "x"}, "outcome"),
        ({"before_id": 10**30}, "before_id"),
        ({"target": "a\x00"}, "target"),
        ({"since_s": float("nan")}, "since_s"),
        ({"until_s": float("inf")}, "until_s"),
    ],
)
async def test_a_question_that_makes_no_sense(office: Office, wanted: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        await office.audit.all(**wanted)
    assert [fault.field for fault in caught.value.faults] == [field]


async def test_verifying_walks_the_chain_and_is_written_down(office: Office) -> None:
    verdict = await office.audit.verify(by=BY)
    assert (verdict.ok, verdict.rows > 0) == (True, True)
    last = (await rows(office.store))[-1]
    assert (last.action, last.note) == ("audit.verify", "ok")
