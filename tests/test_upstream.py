"""Slots, and those who wait for one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fkproxy.adapters.base import Timeouts
from fkproxy.attempts import RetryPolicy
from fkproxy.limits.breaker import Breaker
from fkproxy.limits.standing import Standing
from fkproxy.model.errors import (
    UpstreamFailed,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamRefusedCredential,
    UpstreamRejected,
    UpstreamUnavailable,
)
from fkproxy.upstream import Lease, Terms, Upstream
from tests.fakes.pipeline import Bench, Hang, ListClient, ScriptedAdapter
from tests.test_attempts import ONE, TWO, chat, completion, failing

pytestmark = pytest.mark.leaps

PATIENT = RetryPolicy(max_wait_s=5.0)


async def until(happened: Callable[[], bool]) -> None:
    """Not one turn of the loop later."""
    for _ in range(1000):
        if happened():
            return
        await asyncio.sleep(0)
    raise TimeoutError


async def turns(number: int = 8) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def one_at_a_time(*adapters: tuple[str, str]) -> Bench:
    return Bench(*adapters, terms=Terms(timeouts=Timeouts(), max_concurrency=1), retries=PATIENT)


def begin(bench: Bench) -> asyncio.Task[ListClient]:
    return asyncio.create_task(bench.send(chat()))


async def hold(bench: Bench) -> asyncio.Task[ListClient]:
    """A call that keeps the slot until it is cancelled."""
    hang = Hang()
    bench.adapters[0].replies(completion(), head=[hang])
    task = begin(bench)
    await hang.reached.wait()
    return task


async def test_a_slot_goes_to_who_waits_and_not_to_who_comes_just_then() -> None:
    bench = one_at_a_time(ONE)
    first = await hold(bench)
    bench.adapters[0].replies(completion())
    bench.adapters[0].replies(completion())
    waits = begin(bench)
    await turns()
    upstream = bench.gateway.fleet.upstreams[0]
    lease = upstream.lease("m", bench.clock.now_s)
    assert not isinstance(lease, Lease)
    first.cancel()
    await until(lambda: upstream.in_flight == 0)
    comes = upstream.lease("m", bench.clock.now_s)
    assert not isinstance(comes, Lease), "it is promised already"
    assert (await waits).status == 200


async def test_a_slot_that_its_waiter_does_not_take_goes_to_the_next() -> None:
    bench = one_at_a_time(ONE)
    first = await hold(bench)
    bench.adapters[0].replies(completion())
    leaves, stays = begin(bench), begin(bench)
    await turns()
    upstream = bench.gateway.fleet.upstreams[0]
    assert len(upstream.waiting) == 2
    first.cancel()
    await until(lambda: upstream.in_flight == 0)
    leaves.cancel()
    async with asyncio.timeout(1):
        assert (await stays).status == 200
    assert (upstream.in_flight, upstream.promised, len(upstream.waiting)) == (0, 0, 0)


async def test_a_free_slot_is_not_kept_for_one_who_has_another_by_now() -> None:
    upstream = one_at_a_time(ONE).gateway.fleet.upstreams[0]
    has_one, waits = (asyncio.get_running_loop().create_future() for _ in range(2))
    has_one.set_result(upstream)
    for waiter in (has_one, waits):
        upstream.waiting.put("key", waiter)
    upstream.wake()
    assert (waits.done(), upstream.promised) == (True, 1)


async def test_so_many_wait_for_a_slot_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fkproxy.attempts._MOST_WAITING", 2)
    bench = one_at_a_time(ONE)
    tasks = [await hold(bench), begin(bench), begin(bench)]
    await turns()
    async with asyncio.timeout(1):
        assert (await begin(bench)).status == 429
    assert len(bench.gateway.fleet.upstreams[0].waiting) == 2
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("threshold", [1, 1000], ids=["breaker", "standing"])
async def test_while_one_call_finds_out_the_others_join_it_where_nobody_else_is_left(threshold: int) -> None:
    bench = Bench(ONE, TWO, failure_threshold=threshold, retries=RetryPolicy(max_wait_s=0.0))
    for _ in range(1 if threshold == 1 else 3):
        failing(bench.adapters[0], 500)
        failing(bench.adapters[1], 500)
        await bench.send(chat())
    bench.clock.now_s += 3600.0
    failing(bench.adapters[0], 500, times=3)
    hangs = [Hang(), Hang()]
    for hang in hangs:
        bench.adapters[1].replies(completion(), head=[hang])
    bench.adapters[1].replies(completion())
    slow = []
    for hang in hangs:
        slow.append(asyncio.create_task(bench.send(chat())))
        await hang.reached.wait()
    client = await bench.send(chat())
    assert (client.status, bench.record.provider_key, bench.record.notes) == (200, "two", ("safety_valve",))
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)


FAILURES = st.sampled_from(
    [
        UpstreamRateLimited("no"),
        UpstreamRateLimited("no", retry_after_s=7.0),
        UpstreamRateLimited("no", retry_after_s=1e6),
        UpstreamQuotaExhausted("no"),
        UpstreamQuotaExhausted("no", whole_account=False, retry_after_s=1e6),
        UpstreamRefusedCredential("no", upstream_status=401),
        UpstreamRefusedCredential("no", upstream_status=403),
        UpstreamFailed("no"),
        UpstreamFailed("no"),
        UpstreamUnavailable("no", ours=True),
        UpstreamRejected(400, "no"),
    ]
)


async def test_what_this_host_lacks_is_not_held_against_an_upstream() -> None:
    bench = Bench(ONE)
    upstream = bench.gateway.fleet.upstreams[0]
    for ours in (True, False):
        for _ in range(20):
            lease = upstream.lease("m", bench.clock.now_s)
            if isinstance(lease, Lease):
                lease.failed(UpstreamUnavailable("no", ours=ours), bench.clock.now_s)
                lease.close(bench.clock.now_s)
        assert upstream.breaker.state(bench.clock.now_s) == ("closed" if ours else "open")
        assert upstream.in_flight == 0


def half_open(upstream: Upstream, now: float) -> Lease:
    """The one call that finds out whether it is back."""
    for _ in range(3):
        upstream.breaker.failure(upstream.breaker.force(now), now)
    lease = upstream.lease("m", now + 60.0)
    assert isinstance(lease, Lease)
    assert upstream.breaker.state(now + 60.0) == "half_open"
    return lease


async def test_who_says_that_the_request_is_wrong_works() -> None:
    bench = Bench(ONE)
    upstream, now = bench.gateway.fleet.upstreams[0], bench.clock.now_s
    lease = half_open(upstream, now)
    lease.failed(UpstreamRejected(400, "no"), now + 60.0)
    lease.close(now + 60.0)
    assert upstream.breaker.state(now + 60.0) == "closed"


async def test_who_is_held_does_not_keep_its_breaker_waiting_for_a_call_that_was_not_made() -> None:
    bench = Bench(ONE)
    upstream, now = bench.gateway.fleet.upstreams[0], bench.clock.now_s
    half_open(upstream, now).close(now + 60.0)
    upstream.standing.failed("m", upstream.standing.serial, "rate_limited", 30.0, now + 60.0)
    assert not isinstance(upstream.lease("m", now + 60.0), Lease)
    assert upstream.breaker.retry_after_s(now + 60.0) == 0.0


async def test_who_leaves_while_finding_out_leaves_that_to_the_next() -> None:
    upstream, now = Bench(ONE).gateway.fleet.upstreams[0], 1000.0
    upstream.standing.failed("m", 0, "rate_limited", 2.0, now)
    for _ in range(2):
        lease = upstream.lease("m", now + 3.0)
        assert isinstance(lease, Lease)
        assert not isinstance(upstream.lease("m", now + 3.0), Lease)
        lease.close(now + 3.0)


async def test_an_answer_counts_once_and_so_does_an_end() -> None:
    bench, told = Bench(ONE), list[float]()
    lease = bench.gateway.fleet.upstreams[0].lease("m", bench.clock.now_s)
    assert isinstance(lease, Lease)
    lease.when_answered = lambda: told.append(bench.clock.now_s)
    for now in (5.0, 6.0):
        lease.answered(now)
        lease.close(now)
    assert (len(told), lease.answered_s, lease.upstream.in_flight) == (1, 5.0, 0)


class Leases(RuleBasedStateMachine):
    """Calls come, are answered, fail and leave in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        terms = Terms(timeouts=Timeouts(), max_concurrency=5, tokens_per_minute=1000, requests_per_minute=100)
        breaker = Breaker(failure_threshold=4, open_s=30.0)
        standing = Standing(max_s=40.0, exhausted_max_s=90.0)
        adapter: Any = ScriptedAdapter(None, "one", "openai_chat")  # type: ignore[arg-type]  # it is never asked
        self.upstream = Upstream(adapter, None, breaker, standing, terms)  # type: ignore[arg-type]  # nothing is decoded
        self.open: list[Lease] = []
        self.probes: dict[int, int] = {}

    @rule(model=st.sampled_from("mn"), tokens=st.sampled_from((0, 10, 200)))
    def comes(self, model: str, tokens: int) -> None:
        may = self.upstream.obstacle(model, self.now, tokens) is None
        hold = self.upstream.standing.hold(model)
        lease = self.upstream.lease(model, self.now, tokens=tokens)
        assert isinstance(lease, Lease) == may
        if not isinstance(lease, Lease):
            return
        self.open.append(lease)
        if hold is not None:
            rivals = [each for each in self.open if self.probes.get(id(each)) == hold.serial and self.now - each.began_s < 120.0]
            assert not rivals, "one call at a time finds out whether a hold is over"
            self.probes[id(lease)] = hold.serial

    @rule(model=st.sampled_from("mn"))
    def passes_through_the_valve(self, model: str) -> None:
        if not self.upstream.valve_open:
            self.open.append(self.upstream.valve(model, self.now))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def is_answered(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.open)).answered(self.now)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), error=FAILURES)
    def fails(self, data: st.DataObject, error: Any) -> None:
        lease = data.draw(st.sampled_from(self.open))
        lease.failed(error, self.now)
        self._leave(lease, 0, asked=True)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), used=st.sampled_from((None, 0, 50)), asked=st.booleans())
    def leaves(self, data: st.DataObject, used: int | None, asked: bool) -> None:
        self._leave(data.draw(st.sampled_from(self.open)), used, asked=asked)

    def _leave(self, lease: Lease, used: int | None, *, asked: bool) -> None:
        lease.close(self.now, used, asked=asked)
        lease.close(self.now, used, asked=asked)
        self.open.remove(lease)
        self.probes.pop(id(lease), None)

    @rule(seconds=st.sampled_from((0.5, 3.0, 31.0, 61.0, 95.0)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def places_are_counted(self) -> None:
        assert self.upstream.in_flight == len(self.open)
        assert self.upstream.valve_open <= bool(self.open)

    @invariant()
    def nothing_is_held_for_longer_than_its_cap(self) -> None:
        for model in "mn":
            assert self.upstream.standing.retry_after_s(model, self.now) <= 90.0

    def teardown(self) -> None:
        for lease in list(self.open):
            self._leave(lease, 0, asked=True)
        later = self.now + 95.0
        for model in "mn":
            assert self.upstream.obstacle(model, later, 10) is None


TestLeases = Leases.TestCase
TestLeases.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
