"""The way of a call through many upstreams: what is remembered of it, what it costs, what counts for a stand-in."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from fkproxy.adapters.base import Timeouts
from fkproxy.attempts import RetryPolicy
from fkproxy.fleet import Course, Fleet, QuotaPolicy, Stand
from fkproxy.limits.standing import Cause, Standing
from fkproxy.limits.takeover import Takeover
from fkproxy.model.usage import Usage
from fkproxy.routing import Member, RoutingTable, Rule
from fkproxy.telemetry.record import Skipped
from fkproxy.upstream import Lease, Terms, Upstream
from tests.fakes.pipeline import Bench, Hang
from tests.test_attempts import ONE, TWO, chat, completion, error_of, failing
from tests.test_upstream import until

pytestmark = pytest.mark.leaps


async def test_names_of_models_that_callers_make_up_are_not_kept() -> None:
    bench = Bench(ONE, TWO, ("three/a", "openai_chat"), ("three/b", "openai_chat"))
    for number in range(50):
        bench.adapters[0].replies(completion())
        assert (await bench.send(chat(f"made-up-{number}"))).status == 200
    assert len(bench.gateway.fleet.selector._last) == 2
    client = await bench.send(chat("long" * 1000))
    assert (client.status, bench.record.error_code, len(client.body) < 500) == (404, "model_not_found", True)


def looks_at(bench: Bench) -> list[str]:
    """The keys of upstreams, one for each time that somebody asks whether it may be asked; it grows."""
    looks: list[str] = []

    class Counted(Upstream):
        def obstacle(self, *args: Any, **kwargs: Any) -> Skipped | None:
            looks.append(self.key)
            return super().obstacle(*args, **kwargs)

    for upstream in bench.gateway.fleet.upstreams:
        upstream.__class__ = Counted
    return looks


async def test_two_hundred_upstreams_that_are_held_are_looked_at_a_few_times_each() -> None:
    bench = Bench(*((f"p{number}", "openai_chat") for number in range(200)))
    looks = looks_at(bench)
    for upstream in bench.gateway.fleet.upstreams:
        upstream.standing.failed("m", 0, "rate_limited", 60.0, bench.clock.now_s)
    client = await bench.send(chat())
    assert (client.status, len(bench.record.skipped)) == (429, 200)
    assert len(looks) <= 4 * 200


async def test_of_two_hundred_upstreams_with_limits_one_is_looked_at() -> None:
    limited = Terms(timeouts=Timeouts(), requests_per_minute=10, tokens_per_minute=1_000_000, max_concurrency=10)
    bench = Bench(*((f"p{number}", "openai_chat") for number in range(200)), terms=limited)
    bench.gateway.fleet = Fleet(bench.gateway.fleet.upstreams, bench.gateway.fleet.table, strategy="round_robin")
    looks = looks_at(bench)
    for number in range(3):
        bench.adapters[number].replies(completion())
        assert (await bench.send(chat())).status == 200
        assert set(looks) == {f"p{number}"}
        looks.clear()


async def test_whether_an_upstream_is_in_trouble_is_known_at_once_wherever_it_began() -> None:
    bench = Bench(ONE, TWO)
    fleet = bench.gateway.fleet
    standing, breaker, now = fleet.upstreams[1].standing, fleet.upstreams[0].breaker, bench.clock.now_s
    assert not fleet.troubled
    standing.failed("m", 0, "rate_limited", 60.0, now)
    assert fleet.troubled
    standing.reset()
    assert not fleet.troubled
    standing.pause()
    assert fleet.troubled
    standing.resume()
    assert not fleet.troubled
    while breaker.state(now) == "closed":
        breaker.failure(breaker.acquire(now) or pytest.fail("a closed breaker lets everybody in"), now)
    assert fleet.troubled
    assert Fleet(fleet.upstreams, fleet.table).troubled, "one that is made of what is in trouble already"
    breaker.reset()
    assert not fleet.troubled


async def test_who_was_passed_over_is_told_as_it_is_now() -> None:
    bench = Bench(ONE, TWO, retries=RetryPolicy(max_wait_s=5.0))
    one, two = bench.gateway.fleet.upstreams
    one.standing.failed("m", 0, "rate_limited", 2.0, bench.clock.now_s)
    two.standing.failed("m", 0, "rate_limited", 60.0, bench.clock.now_s)
    failing(bench.adapters[0], 429, retry_after="90")
    client = await bench.send(chat())
    assert (client.status, bench.record.waited_ms >= 2000) == (429, True)
    assert 56 <= float(client.headers["retry-after"]) <= 58


def held(upstream: Upstream, cause: Cause, retry_after_s: float | None, now: float, times: int = 1) -> None:
    for _ in range(times):
        upstream.standing.failed("m", upstream.standing.force("m", now), cause, retry_after_s, now)


def open_breaker(upstream: Upstream, now: float) -> None:
    while upstream.breaker.retry_after_s(now) == 0:
        upstream.breaker.failure(upstream.breaker.force(now), now)


async def test_the_valve_knows_whose_call_it_lets_through() -> None:
    bench = Bench(ONE, TWO)
    rules = [Rule(provider_key="one", models=("m",)), Rule(provider_key="two", models=("spare",))]
    upstreams = bench.gateway.fleet.upstreams
    bench.gateway.fleet = Fleet(upstreams, RoutingTable(rules, fallbacks={"m": ("spare",)}))
    held(upstreams[0], "failure", None, bench.clock.now_s, times=3)
    upstreams[1].standing.failed("spare", 0, "model_missing", 200.0, bench.clock.now_s)
    bench.adapters[0].replies(completion())
    client = await bench.send(chat())
    assert (client.status, bench.record.notes) == (200, ("safety_valve",)), "it is no fallback"


async def test_the_valve_does_not_pass_over_what_a_vendor_said_of_the_model() -> None:
    bench = Bench(ONE, TWO)
    for upstream in bench.gateway.fleet.upstreams:
        held(upstream, "failure", None, bench.clock.now_s, times=3)
        held(upstream, "rate_limited", 20.0, bench.clock.now_s)
    client = await bench.send(chat())
    assert (client.status, client.headers["retry-after"], bench.record.attempts) == (429, "30", 0)


async def test_a_limit_that_is_over_does_not_keep_the_valve_shut() -> None:
    bench = Bench(ONE, TWO)
    for upstream in bench.gateway.fleet.upstreams:
        held(upstream, "rate_limited", 2.0, bench.clock.now_s)
    bench.clock.now_s += 3.0
    for upstream in bench.gateway.fleet.upstreams:
        open_breaker(upstream, bench.clock.now_s)
    bench.adapters[0].replies(completion())
    client = await bench.send(chat())
    assert (client.status, bench.record.notes) == (200, ("safety_valve",))


async def test_only_the_call_that_went_through_the_valve_closes_it() -> None:
    bench = Bench(ONE, TWO)
    now = bench.clock.now_s
    early = [upstream.lease("m", now) for upstream in bench.gateway.fleet.upstreams]
    hang = Hang()
    for upstream, adapter in zip(bench.gateway.fleet.upstreams, bench.adapters, strict=True):
        open_breaker(upstream, now)
        adapter.replies(completion(), head=[hang])
    through = [asyncio.create_task(bench.send(chat())) for _ in bench.adapters]
    await until(lambda: all(upstream.valve_open for upstream in bench.gateway.fleet.upstreams))
    for lease in early:
        assert isinstance(lease, Lease)
        lease.close(now)
    client = await bench.send(chat())
    assert (client.status, bench.record.attempts) == (503, 0)
    for task in through:
        task.cancel()
    await asyncio.gather(*through, return_exceptions=True)
    assert not any(upstream.valve_open or upstream.in_flight for upstream in bench.gateway.fleet.upstreams)


async def test_the_valve_keeps_to_what_the_operator_allows() -> None:
    bench = Bench(ONE, TWO, terms=Terms(timeouts=Timeouts(), max_concurrency=1))
    leases = [upstream.lease("m", bench.clock.now_s) for upstream in bench.gateway.fleet.upstreams]
    for upstream in bench.gateway.fleet.upstreams:
        open_breaker(upstream, bench.clock.now_s)
    client = await bench.send(chat())
    assert (client.status, bench.record.attempts, len(leases)) == (503, 0, 2)


async def test_what_keeps_failing_is_not_called_limited() -> None:
    bench = Bench(ONE, TWO)
    for upstream in bench.gateway.fleet.upstreams:
        held(upstream, "failure", None, bench.clock.now_s, times=3)
        upstream.valve_open = True
    client = await bench.send(chat())
    assert (client.status, client.headers["retry-after"], error_of(client)["code"]) == (503, "30", "service_unavailable")


async def test_busy_and_limited_together_are_limits() -> None:
    bench = Bench(ONE, TWO, terms=Terms(timeouts=Timeouts(), max_concurrency=1))
    one, two = bench.gateway.fleet.upstreams
    one.in_flight = 1
    held(two, "rate_limited", 20.0, bench.clock.now_s)
    client = await bench.send(chat())
    assert (client.status, client.headers["retry-after"]) == (429, "1")


async def test_while_a_models_quota_is_spent_every_call_has_its_preview() -> None:
    bench = Bench(("one/a", "openai_chat"), ("one/b", "openai_chat"), TWO)
    rules = [Rule(provider_key="one", models=("m",), members=(Member(), Member()), previews={"m": "m-preview"})]
    rules.append(Rule(provider_key="two", models=("m",)))
    upstreams = bench.gateway.fleet.upstreams
    bench.gateway.fleet = Fleet(upstreams, RoutingTable(rules), quota=QuotaPolicy(switch_preview_model=True))
    for adapter in bench.adapters[:2]:
        failing(adapter, 429, retry_after="60")
    for _ in range(3):
        bench.adapters[0].replies(completion())
        client = await bench.send(chat())
        assert (client.status, bench.record.model_id, bench.record.provider_key) == (200, "m-preview", "one")
    bench.clock.now_s += 61.0
    bench.adapters[0]._replies.clear()
    bench.adapters[0].replies(completion())
    await bench.send(chat())
    assert bench.record.model_id == "m"


async def test_a_call_that_a_second_credential_served_is_no_failed_call_of_the_model() -> None:
    bench = Bench(("one/a", "openai_chat"), ("one/b", "openai_chat"), TWO, failure_threshold=1000)
    stand = Stand(Takeover(error_ratio=0.1, min_calls=2), "other")
    rules = [Rule(provider_key="one", models=("m",), members=(Member(), Member())), Rule(provider_key="two", models=("other",))]
    upstreams = bench.gateway.fleet.upstreams
    upstreams[0].standing = Standing(max_s=0.0)
    bench.gateway.fleet = Fleet(upstreams, RoutingTable(rules), stands={"m": stand})
    for _ in range(6):
        failing(bench.adapters[0], 500)
        bench.adapters[1].replies(completion())
        assert (await bench.send(chat())).status == 200
    assert (stand.takeover.active, stand.takeover.error_ratio) == (False, 0.0)
    for adapter in bench.adapters[:2]:
        failing(adapter, 500)
    bench.adapters[2].replies(completion())
    assert (await bench.send(chat())).status == 200
    assert round(stand.takeover.error_ratio, 3) == round(1 / 7, 3), "once for both of them"


async def test_a_request_that_is_wrong_is_no_failed_call_of_its_model_and_one_that_nobody_served_is() -> None:
    bench = Bench(ONE, TWO, failure_threshold=1000)
    stand = Stand(Takeover(error_ratio=0.5, min_calls=2), "other")
    rules = [Rule(provider_key="one", models=("m",)), Rule(provider_key="two", models=("other",))]
    bench.gateway.fleet = Fleet(bench.gateway.fleet.upstreams, RoutingTable(rules), stands={"m": stand})
    failing(bench.adapters[0], 400, times=3)
    for _ in range(3):
        assert (await bench.send(chat())).status == 400
    assert stand.takeover.error_ratio == 0.0
    for adapter in bench.adapters:
        failing(adapter, 500)
    assert (await bench.send(chat())).status == 502
    assert stand.takeover.error_ratio == 0.25


async def test_nobody_is_held_for_a_call_that_is_served() -> None:
    bench = Bench(ONE, TWO)
    fleet, now = bench.gateway.fleet, bench.clock.now_s
    for upstream in fleet.upstreams:
        held(upstream, "rate_limited", 2.0, now)
    course = Course(fleet, fleet.table.route("m").stages, conversation=lambda: None, tokens=0, now=bench.clock, skip=lambda skipped: None)
    assert list(course.leases()) == []
    bench.clock.now_s += 3.0
    joins = course.joins()
    next(joins)
    course.served = True
    assert list(joins) == []
    assert [upstream.in_flight for upstream in fleet.upstreams] == [1, 0]


@pytest.mark.parametrize(("status", "expected"), [(429, ["p1", "q1"]), (500, ["p1", "p2", "q1"])])
async def test_other_projects_of_an_account_are_left_out_for_its_quota_and_nothing_else(status: int, expected: list[str]) -> None:
    bench = Bench(*((f"one/{name}", "openai_chat") for name in ("p1", "p2", "q1")))
    rule = Rule(provider_key="one", models=("m",), members=(Member(), Member(), Member()))
    policy = QuotaPolicy(switch_project=False)
    bench.gateway.fleet = Fleet(bench.gateway.fleet.upstreams, RoutingTable([rule]), accounts=("p", "p", "q"), quota=policy)
    for adapter in bench.adapters:
        failing(adapter, status)
    await bench.send(chat())
    assert [attempt.credential for attempt in bench.record.tries] == expected


async def test_a_call_that_may_try_nobody_any_more_does_not_wait() -> None:
    bench = Bench(ONE, TWO, retries=RetryPolicy(max_attempts=2, max_wait_s=5.0))
    for adapter in bench.adapters:
        failing(adapter, 429, retry_after="2", times=2)
    client = await bench.send(chat())
    assert (client.status, bench.record.attempts, bench.record.waited_ms) == (429, 2, 0)


async def test_a_reply_that_is_named_later_is_looked_for_at_the_provider_that_gave_it() -> None:
    bench = Bench(*((f"p{number}", "openai_responses") for number in range(3)))
    fleet = bench.gateway.fleet
    bench.gateway.fleet = Fleet(fleet.upstreams, fleet.table, strategy="sticky")
    for number in range(12):
        reply = {"id": f"resp_{number}", "object": "response", "created_at": 1, "model": "m", "status": "completed", "output": []}
        for adapter in bench.adapters:
            adapter._replies.clear()
            adapter.replies(json.dumps(reply).encode())
            adapter.replies(json.dumps({**reply, "id": "next"}).encode())
        await bench.send(json.dumps({"model": "m", "input": f"question {number}"}).encode(), "openai_responses")
        given_by = bench.record.provider_key
        follow = {"model": "m", "input": "and then?", "previous_response_id": f"resp_{number}"}
        await bench.send(json.dumps(follow).encode(), "openai_responses")
        assert bench.record.provider_key == given_by


async def test_a_calls_body_is_read_for_its_tokens_once_however_many_upstreams_limit_them(monkeypatch: pytest.MonkeyPatch) -> None:
    terms = Terms(timeouts=Timeouts(), tokens_per_minute=1_000_000)
    bench = Bench(*((f"p{number}", "openai_chat") for number in range(50)), terms=terms)
    reads: list[int] = []
    monkeypatch.setattr("fkproxy.call.expected_usage", lambda body, *_: reads.append(len(body)) or Usage(input_tokens=5, output_tokens=5))
    bench.adapters[0].replies(completion())
    assert (await bench.send(chat())).status == 200
    assert len(reads) == 1


async def test_who_is_kept_out_is_told_although_it_was_another_ones_turn() -> None:
    bench = Bench(ONE, TWO, ("three", "openai_chat"))
    bench.gateway.fleet = Fleet(bench.gateway.fleet.upstreams, bench.gateway.fleet.table, strategy="round_robin")
    for _ in range(2):
        for adapter in bench.adapters:
            adapter.replies(completion())
    await bench.send(chat())
    bench.gateway.fleet.upstreams[0].standing.pause()
    await bench.send(chat())
    assert (bench.record.provider_key, [(each.provider_key, each.reason) for each in bench.record.skipped]) == ("two", [("one", "paused")])
