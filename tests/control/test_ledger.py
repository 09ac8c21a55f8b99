"""Every change with its entry."""

from __future__ import annotations

import logging

import msgspec
import pytest

from fkproxy.control.ledger import By, Ledger, safe_target
from fkproxy.control.refusals import Forbidden
from fkproxy.directory import Document
from fkproxy.storage.store import Store
from fkproxy.storage.values import AuditEntry, StoreUnavailable
from tests.control.acting import BY, NOW_S, rows
from tests.fakes.cancelling import cancelled_at_each_wait

TARGETS = [
    ("team", "team"),
    ("one/a.project-1", "one/a.project-1"),
    ("0123456789abcdef", "0123456789abcdef"),
    ("17", "17"),
    ("APP_LOG__LEVEL", "APP_LOG__LEVEL"),
    ("sk-fk-0123456789ab", "sk-fk-0123456789ab"),
    ("sk-fk-0123456789ab-" + "x" * 43, "sk-fk-0123456789ab"),
    ("sk-ant-api03-" + "Q" * 80, "-"),
    ("fkllmproxy-20261121T101112Z.db", "fkllmproxy-20261121T101112Z.db"),
    ("*", "*"),
    ("sk-proj-Abcdefghijklmnop", "-"),
    ("a b", "-"),
    ("x" * 33, "-"),
    ("a\nb", "-"),
    ("", "-"),
]


@pytest.mark.parametrize(("typed", "target"), TARGETS, ids=[typed[:20] or "nothing" for typed, _ in TARGETS])
def test_what_is_no_name_is_not_written_down(typed: str, target: str) -> None:
    assert safe_target(typed) == target


async def test_a_change_and_its_entry_are_one(store: Store) -> None:
    ledger = Ledger(lambda: store, lambda: NOW_S)
    async with ledger.change(BY, "pool.create", "pool", "team") as change:
        change.put_document(Document(), "x")
        change.changed = ("label",)

    async def broken() -> None:
        async with ledger.change(BY, "pool.create", "pool", "other") as change:
            change.put_document(Document(), "y")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await broken()
    (row,) = await rows(store)
    assert (row.target, row.changed, row.at_s, row.outcome) == ("team", ("label",), NOW_S, "done")
    assert len(await store.revisions()) == 1


async def test_what_cannot_be_written_down_now_waits_and_the_refusal_is_the_answer(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def full(entries: list[AuditEntry]) -> None:
        raise StoreUnavailable("full", "no room")

    monkeypatch.setattr("fkproxy.control.ledger._MOST_WAITING", 2)
    ledger = Ledger(lambda: store)
    with monkeypatch.context() as away:
        away.setattr(store, "record", full)
        with pytest.raises(Forbidden):
            async with ledger.change(BY, "pool.delete", "pool", "team"):
                raise Forbidden("not_archived", "no")
        for _ in range(2):
            await ledger.note(BY, "upstream.pause", "upstream", "one/a")
        with pytest.raises(StoreUnavailable):
            await ledger.catch_up()
        assert await rows(store) == []
    await ledger.catch_up()
    assert [(row.action, row.outcome) for row in await rows(store)] == [("pool.delete", "refused"), ("upstream.pause", "done")]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "entries are missing from the audit log: too many wait for the store"
    ]


async def test_who_is_cancelled_while_it_is_written_writes_nothing_twice(store: Store) -> None:
    ledger, left = Ledger(lambda: store), 0

    async def leave_one() -> None:
        nonlocal left
        left += 1
        ledger.leave(msgspec.structs.replace(BY, request_id=f"req-{left}"), "admin.refuse", "admin", outcome="refused")
        await ledger.catch_up()

    async for _ in cancelled_at_each_wait(leave_one):
        await ledger.catch_up()
    assert [row.request_id for row in await rows(store)] == [f"req-{number + 1}" for number in range(left)]


async def test_what_changes_nothing_in_the_store_is_written_down_too(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "fkproxy.control"):
        await Ledger(lambda: store).note(BY, "upstream.pause", "upstream", "one/a", changed=["state"], note="ok")
    (row,) = await rows(store)
    assert (row.action, row.target, row.changed, row.note, row.request_id) == ("upstream.pause", "one/a", ("state",), "ok", "req-1")
    (record,) = caplog.records
    assert {"action": "upstream.pause", "target": "one/a", "outcome": "done", "actor": "administrator"}.items() <= record.__dict__.items()


async def test_where_nothing_is_kept_entries_are_told_and_wait_for_nobody(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("fkproxy.control.ledger._MOST_WAITING", 2)
    ledger = Ledger(lambda: store, keeps=False)
    with caplog.at_level(logging.INFO, "fkproxy.control"):
        for _ in range(3):
            ledger.leave(BY, "admin.refuse", "admin", outcome="refused")
        await ledger.note(BY, "upstream.pause", "upstream", "one/a")
    await ledger.catch_up()
    assert await rows(store) == []
    assert [(record.levelno, record.__dict__["action"]) for record in caplog.records] == [
        *[(logging.INFO, "admin.refuse")] * 3,
        (logging.INFO, "upstream.pause"),
    ]


def test_who_asks_is_a_value() -> None:
    assert By(actor=BY.actor).request_id is None
