"""The audit log: found by what is asked for, never altered, and when it is, it shows."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Awaitable, Callable

import asyncpg
import msgspec
import pytest
from sqlalchemy import text

from fkproxy.storage.opening import open_at
from fkproxy.storage.store import Store
from fkproxy.storage.values import ACTIONS, Actor, AuditEntry, AuditVerdict, StoreError
from tests.storage.conftest import KEYS, PATIENT

ADMIN = Actor(kind="administrator", name="master", peer="192.0.2.0/24")
Tamper = Callable[[str], Awaitable[None]]


def entry(number: int) -> AuditEntry:
    actions = ("key.create", "key.revoke", "pool.update")
    return AuditEntry(
        actor=ADMIN,
        action=actions[number % 3],
        target_kind="key",
        target=f"k{number}",
        outcome="refused" if number % 5 == 0 else "done",
        changed=("label", "models"),
        note="a label",
        request_id=f"r{number}",
        at_s=100.0 + number,
    )


@pytest.fixture
async def filled(store: Store) -> Store:
    """Entry 1 is the making of the store, then 1 to 9 at 101 to 109 s as entries 2 to 10."""
    await store.record([entry(number) for number in range(1, 6)])
    await store.record([entry(number) for number in range(6, 10)])
    return store


@pytest.fixture
async def tamper(filled: Store, url: str) -> Tamper:
    """Somebody with every right in the database, but without the key."""

    async def run(statements: str) -> None:
        if filled.database.path is not None:
            with contextlib.closing(sqlite3.connect(filled.database.path)) as connection:
                for trigger in ("keeps_rows", "loses_nothing", "replaces_nothing"):
                    connection.execute(f"DROP TRIGGER IF EXISTS audit_{trigger}")
                connection.executescript(statements)
            return
        server = await asyncpg.connect(url)
        await server.execute(f"ALTER TABLE audit DISABLE TRIGGER USER; {statements}")
        await server.close()

    return run


async def test_an_entry_comes_back_as_it_was_written(filled: Store) -> None:
    row = (await filled.audit(limit=1))[0]
    fields = msgspec.structs.asdict(row)
    assert (fields.pop("id"), len(fields.pop("hash"))) == (10, 64)
    assert fields == msgspec.structs.asdict(entry(9))


async def test_an_entry_without_a_time_gets_that_of_its_writing(store: Store) -> None:
    await store.record([AuditEntry(actor=ADMIN, action="upstream.pause")])
    assert (await store.audit(limit=1))[0].at_s == 1000.0


@pytest.mark.parametrize(
    ("asked", "ids"),
    [
        ({}, [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]),
        ({"limit": 3}, [10, 9, 8]),
        ({"before_id": 4}, [3, 2, 1]),
        ({"action": "key.revoke"}, [8, 5, 2]),
        ({"action": "key"}, [10, 8, 7, 5, 4, 2]),
        ({"action": "ke"}, []),
        ({"action": "%"}, []),
        ({"outcome": "refused"}, [6]),
        ({"target": "k3"}, [4]),
        ({"since_s": 103.0, "until_s": 105.0}, [5, 4]),
        ({"action": "pool.update", "outcome": "done", "since_s": 102.5, "until_s": 108.5}, [9]),
    ],
)
async def test_it_is_searched(filled: Store, asked: dict[str, object], ids: list[int]) -> None:
    rows = await filled.audit(**asked)  # type: ignore[arg-type]  # a table of arguments
    assert [row.id for row in rows] == ids


async def test_an_action_that_is_not_one_is_refused_and_nothing_is_written(filled: Store) -> None:
    with pytest.raises(ValueError, match=r"key\.steal"):
        await filled.record([entry(1), AuditEntry(actor=ADMIN, action="key.steal")])
    assert (await filled.audit(limit=1))[0].id == 10


def test_actions_are_a_family_and_a_verb() -> None:
    assert {"key.create", "pool.update", "upstream.pause", "secret.rotate"} <= ACTIONS
    assert all(action.count(".") == 1 and action == action.lower() for action in ACTIONS)


async def test_a_whole_log_is_found_whole(filled: Store) -> None:
    assert await filled.verify_audit() == AuditVerdict(ok=True, rows=10)


async def test_a_long_log_is_walked_to_its_end(store: Store) -> None:
    await store.record([entry(number) for number in range(1200)])
    assert await store.verify_audit() == AuditVerdict(ok=True, rows=1201)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET body = '{}' WHERE id = 3",
        "DELETE FROM audit WHERE id = 3",
        "DELETE FROM audit",
        "INSERT INTO audit SELECT 3, at_s, action, outcome, target, body, hash FROM audit WHERE id = 4",
    ],
)
async def test_the_database_refuses_to_alter_it(filled: Store, statement: str) -> None:
    async def run() -> None:
        async with filled.database.begin() as connection:
            await connection.execute(text(statement))

    with pytest.raises(StoreError):
        await run()
    assert await filled.verify_audit() == AuditVerdict(ok=True, rows=10)


@pytest.mark.parametrize("kind", ["sqlite"])
async def test_the_database_refuses_to_replace_a_row(filled: Store) -> None:
    async def run() -> None:
        async with filled.database.begin() as connection:
            await connection.execute(text("INSERT OR REPLACE INTO audit SELECT * FROM audit WHERE id = 4"))

    with pytest.raises(StoreError):
        await run()


@pytest.mark.parametrize("kind", ["postgresql"])
async def test_the_database_refuses_to_empty_it(filled: Store) -> None:
    async def run() -> None:
        async with filled.database.begin() as connection:
            await connection.execute(text("TRUNCATE audit"))

    with pytest.raises(StoreError):
        await run()


SWAP = "UPDATE audit SET id = -4 WHERE id = 4; UPDATE audit SET id = 4 WHERE id = 5; UPDATE audit SET id = 5 WHERE id = -4"
CUT_OFF = """DELETE FROM audit WHERE id > 8;
UPDATE meta SET audit_rows = 8, audit_hash = (SELECT hash FROM audit WHERE id = 8)"""


@pytest.mark.parametrize(
    ("done", "bad"),
    [
        ("UPDATE audit SET body = replace(body, 'k4', 'k9') WHERE id = 5", 5),
        ("UPDATE audit SET target = 'k9' WHERE id = 5", 5),
        ("UPDATE audit SET at_s = 1.5 WHERE id = 1", 1),
        ("UPDATE audit SET outcome = 'done' WHERE id = 6", 6),
        (f"UPDATE audit SET hash = '{'0' * 64}' WHERE id = 7", 7),
        ("DELETE FROM audit WHERE id = 5", 5),
        ("DELETE FROM audit WHERE id = 1", 1),
        (SWAP, 4),
        ("DELETE FROM audit WHERE id > 8", 9),
        (CUT_OFF, 9),
        ("DELETE FROM audit", 1),
        ("DELETE FROM audit; UPDATE meta SET audit_rows = 0, audit_hash = '', audit_seal = ''", 1),
        ("UPDATE meta SET audit_rows = 9", 10),
        ("INSERT INTO audit SELECT 11, at_s, action, outcome, target, body, hash FROM audit WHERE id = 10", 11),
    ],
)
async def test_tampering_shows(filled: Store, tamper: Tamper, done: str, bad: int) -> None:
    await tamper(done)
    verdict = await filled.verify_audit()
    assert (verdict.ok, verdict.first_bad_id) == (False, bad)


async def test_after_tampering_the_log_goes_on_and_still_tells(filled: Store, tamper: Tamper) -> None:
    await tamper("UPDATE audit SET body = replace(body, 'k4', 'k9') WHERE id = 5")
    await filled.record([entry(10)])
    assert await filled.verify_audit() == AuditVerdict(ok=False, rows=4, first_bad_id=5)


async def test_another_process_carries_the_chain_on(filled: Store, url: str) -> None:
    other, _ = await open_at(url, secret_keys=KEYS, deadlines=PATIENT)
    await other.record([entry(10)])
    await filled.record([entry(11)])
    assert await other.verify_audit() == AuditVerdict(ok=True, rows=12)
    await other.close()
