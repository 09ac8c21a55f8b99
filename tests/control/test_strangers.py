"""Who guesses stands in the audit log, and does not fill it."""

from __future__ import annotations

from fkproxy.control.strangers import Strangers
from tests.control.acting import Office


async def test_what_is_heard_is_left_for_the_store_up_to_a_rate(office: Office) -> None:
    now_s = 1000.0
    strangers = Strangers(office.ledger, lambda: now_s)
    for number in range(500):
        strangers(f"192.0.{number % 256}.0/24", "slow_down" if number % 2 else "refuse")
    now_s += 300.0
    for _ in range(2):
        strangers(None, "refuse")
    assert await office.audit.all(action="admin") == [], "nobody who guesses waits for the store, or makes it wait"
    await office.ledger.catch_up()
    last, *_, second, first = await office.audit.all(action="admin", limit=100)
    assert (first.action, first.outcome, first.actor.kind, first.actor.peer) == ("admin.refuse", "refused", "system", "192.0.0.0/24")
    assert (second.action, second.actor.peer) == ("admin.slow_down", "192.0.1.0/24")
    assert (last.actor.peer, last.id - first.id) == (None, 20)
