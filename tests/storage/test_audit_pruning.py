"""What is old goes, what is left is verified from there on, and nobody else can take anything away."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from fkproxy.storage.audit_pruning import Altered
from fkproxy.storage.store import Store
from fkproxy.storage.values import AuditVerdict, StoreError
from tests.storage.test_audit import Tamper, entry, filled, tamper

__all__ = ["filled", "tamper"]


async def ids(store: Store) -> list[int]:
    return [row.id for row in reversed(await store.audit(limit=100))]


async def test_what_is_older_goes_and_the_log_says_so(filled: Store) -> None:
    """Entry 1, the making of the store at 1000 s, stands before older ones: it waits with them until it is old itself."""
    assert await filled.prune_audit(105.0) == 0
    assert await filled.prune_audit(1000.5) == 9
    assert await ids(filled) == [10, 11]
    row = (await filled.audit(limit=1))[0]
    assert (row.action, row.target, row.actor.kind, len(row.note)) == ("audit.prune", "9", "system", 64)
    assert await filled.verify_audit() == AuditVerdict(ok=True, rows=2, pruned=9)


async def test_it_is_done_once_and_not_for_its_own_sake(filled: Store) -> None:
    assert await filled.prune_audit(5000.0) == 9
    assert await filled.prune_audit(5000.0) == 1
    assert await filled.prune_audit(5000.0) == 0
    assert await ids(filled) == [11, 12]
    assert await filled.verify_audit() == AuditVerdict(ok=True, rows=2, pruned=10)


async def test_the_chain_goes_on_behind_it(filled: Store) -> None:
    await filled.prune_audit(1000.5)
    await filled.record([entry(number) for number in range(10, 15)])
    assert await filled.verify_audit() == AuditVerdict(ok=True, rows=7, pruned=9)
    assert await filled.prune_audit(1000.5) == 6, "the newest one stays, however old it is"
    assert await ids(filled) == [16, 17]
    assert await filled.verify_audit() == AuditVerdict(ok=True, rows=2, pruned=15)


async def test_the_guards_stand_again(filled: Store) -> None:
    await filled.prune_audit(1000.5)

    async def run(statement: str) -> None:
        async with filled.database.begin() as connection:
            await connection.execute(text(statement))

    for statement in ("DELETE FROM audit WHERE id = 10", "UPDATE audit SET target = 'x' WHERE id = 10"):
        with pytest.raises(StoreError):
            await run(statement)


FORGED = 'UPDATE audit SET target = \'10\', body = replace(body, \'"target":"9"\', \'"target":"10"\') WHERE id = 11'


@pytest.mark.parametrize(
    ("done", "bad"),
    [
        ("DELETE FROM audit WHERE id = 10", 10),
        ("DELETE FROM audit WHERE id = 11", 1),
        (f"DELETE FROM audit WHERE id = 10; {FORGED}", 11),
        ("UPDATE audit SET body = replace(body, 'a label', 'b label') WHERE id = 10", 10),
        ("INSERT INTO audit SELECT 9, at_s, action, outcome, target, body, hash FROM audit WHERE id = 10", 10),
        ('UPDATE audit SET body = replace(body, \'"note":"\', \'"note":"0\') WHERE id = 11', 10),
    ],
)
async def test_what_somebody_else_takes_away_is_missed(filled: Store, tamper: Tamper, done: str, bad: int) -> None:
    await filled.prune_audit(1000.5)
    await tamper(done)
    verdict = await filled.verify_audit()
    assert (verdict.ok, verdict.first_bad_id) == (False, bad)


async def test_what_was_altered_is_not_covered_up_by_its_age(filled: Store, tamper: Tamper) -> None:
    await tamper("UPDATE audit SET body = replace(body, 'k4', 'k9') WHERE id = 5")
    with pytest.raises(Altered, match="entry 5 "):
        await filled.prune_audit(1000.5)
    assert await ids(filled) == list(range(1, 11))


async def test_of_very_many_a_part_goes_at_once(store: Store) -> None:
    await store.record([entry(number) for number in range(1, 1201)])
    assert [await store.prune_audit(5000.0) for _ in range(3)] == [1000, 201, 0]
    assert await store.verify_audit() == AuditVerdict(ok=True, rows=2, pruned=1201)
