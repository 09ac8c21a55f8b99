"""Where a call is tried, how often, and what is told when nobody served it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from fkproxy.adapters.base import CredentialStatus, Timeouts
from fkproxy.attempts import RetryPolicy
from fkproxy.dialects import DIALECTS
from fkproxy.estimate import expected_usage
from fkproxy.fleet import Fleet, QuotaPolicy, Stand
from fkproxy.limits.breaker import Breaker
from fkproxy.limits.retry_budget import RetryBudget
from fkproxy.limits.standing import Standing
from fkproxy.limits.takeover import Takeover
from fkproxy.model.errors import UpstreamUnavailable
from fkproxy.model.request import ReasoningConfig
from fkproxy.model.usage import Usage
from fkproxy.routing import Member, RoutingTable, Rule
from fkproxy.upstream import Terms, Upstream
from tests.fakes.pipeline import Bench, Hang, ListClient, Pause, ScriptedAdapter

pytestmark = pytest.mark.leaps

ONE, TWO = ("one", "openai_chat"), ("two", "openai_chat")


def chat(model: str = "m", **fields: Any) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "hello"}], **fields}).encode()


def completion(text: str = "hi") -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    return json.dumps({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}).encode()


def failing(adapter: ScriptedAdapter, status: int, times: int = 1, error: Mapping[str, Any] | None = None, **headers: str) -> None:
    for _ in range(times):
        adapter.replies(json.dumps({"error": {"message": "no", **(error or {})}}).encode(), status=status, **headers)


def error_of(client: ListClient) -> Any:
    return json.loads(client.body)["error"]


def states(bench: Bench, model: str = "m") -> list[str]:
    return [upstream.standing.state(model) for upstream in bench.gateway.fleet.upstreams]


def outcomes(bench: Bench) -> list[tuple[str, str]]:
    return [(attempt.provider_key + attempt.credential, attempt.outcome) for attempt in bench.record.tries]


@pytest.mark.parametrize(
    ("status", "error", "headers", "state"),
    [
        (401, {}, {}, "reauth_required"),
        (403, {}, {}, "reauth_required"),
        (402, {}, {}, "exhausted"),
        (429, {"code": "insufficient_quota"}, {}, "exhausted"),
        (429, {}, {"retry_after": "20"}, "limited"),
        (429, {}, {}, "limited"),
        (404, {"code": "model_not_found"}, {}, "limited"),
        (503, {}, {"retry_after": "9"}, "limited"),
        (500, {}, {}, "active"),
        (529, {}, {}, "active"),
    ],
)
async def test_a_failure_that_another_upstream_can_hide_is_hidden(
    status: int, error: dict[str, Any], headers: dict[str, str], state: str
) -> None:
    bench = Bench(ONE, TWO)
    failing(bench.adapters[0], status, error=error, **headers)
    bench.adapters[1].replies(completion())
    client = await bench.send(chat())
    assert (client.status, bench.record.attempts, bench.record.provider_key) == (200, 2, "two")
    assert states(bench) == [state, "active"]
    if state == "active":
        return
    bench.adapters[1].replies(completion())
    await bench.send(chat())
    assert bench.record.attempts == 1, "the first one is left alone"
    assert [(each.provider_key, each.reason) for each in bench.record.skipped] == [("one", state)]


@pytest.mark.parametrize(("status", "error"), [(400, {}), (404, {"param": "input"}), (413, {}), (422, {})])
async def test_the_requests_own_mistake_is_told_at_once_and_held_against_nobody(status: int, error: dict[str, Any]) -> None:
    bench = Bench(ONE, TWO)
    failing(bench.adapters[0], status, error=error)
    client = await bench.send(chat())
    assert (client.status, len(bench.adapters[1].calls)) == (status, 0)
    assert states(bench) == ["active", "active"]
    assert bench.gateway.fleet.upstreams[0].standing.consecutive_failures == 0


async def test_the_next_credential_comes_before_the_next_provider_and_that_before_the_fallback_model() -> None:
    bench = Bench(("one/a", "openai_chat"), ("one/b", "openai_chat"), TWO, ("three", "openai_chat"), retries=RetryPolicy(max_wait_s=0.0))
    upstreams = bench.gateway.fleet.upstreams
    rules = [
        Rule(provider_key="one", models=("m",), members=(Member(), Member())),
        Rule(provider_key="two", models=("m",)),
        Rule(provider_key="three", models=("spare",)),
    ]
    bench.gateway.fleet = Fleet(upstreams, RoutingTable(rules, fallbacks={"m": ("spare",)}))
    for adapter in bench.adapters[:3]:
        failing(adapter, 500)
    bench.adapters[3].replies(completion())
    client = await bench.send(chat())
    assert client.status == 200
    assert outcomes(bench) == [("onea", "upstream_error"), ("oneb", "upstream_error"), ("two", "upstream_error"), ("three", "ok")]
    assert (bench.record.model_id, bench.record.notes) == ("spare", ("fallback:spare",))
    assert json.loads(bench.adapters[3].calls[0].body)["model"] == "spare"


async def test_attempts_are_bounded() -> None:
    bench = Bench(*((f"p{number}", "openai_chat") for number in range(6)), retries=RetryPolicy(max_attempts=3, max_wait_s=0.0))
    for index, held_s in ((4, 1.0), (5, 300.0)):
        bench.gateway.fleet.upstreams[index].standing.failed("m", 0, "model_missing", held_s, bench.clock.now_s)
    for adapter in bench.adapters:
        adapter.replies(b"{}", status=500, head=[Pause(1.0)])
    client = await bench.send(chat())
    assert (client.status, bench.record.attempts, error_of(client)["code"]) == (502, 3, "fallback_exhausted")


@pytest.mark.parametrize(("names", "retries", "most"), [((ONE, TWO), 0, [2, 2]), ((ONE,), 1, [2, 2]), ((ONE, TWO), 1, [3])])
async def test_an_outage_is_not_multiplied(names: tuple[tuple[str, str], ...], retries: int, most: list[int]) -> None:
    terms = Terms(timeouts=Timeouts(), retries=retries)
    bench = Bench(*names, terms=terms, budget=RetryBudget(2, per_s=0.0), failure_threshold=1000)
    for upstream in bench.gateway.fleet.upstreams:
        upstream.standing = Standing(max_s=0.0)
    for adapter in bench.adapters:
        failing(adapter, 500, times=20)
    attempts = []
    for _ in range(8):
        await bench.send(chat())
        attempts.append(bench.record.attempts)
    assert attempts == most + [1] * (8 - len(most))
    assert bench.record.notes == ("retry_budget",)
    bench.adapters[0]._replies.clear()
    bench.adapters[0].replies(completion())
    await bench.send(chat())
    assert (bench.record.status, bench.gateway.budget.left) == (200, 0), "one that succeeds at once gives a little back"


async def test_several_failures_are_told_with_what_each_one_said() -> None:
    bench = Bench(ONE, TWO)
    failing(bench.adapters[0], 500, error={"message": "secret prompt"})
    failing(bench.adapters[1], 401, error={"message": "sk-secret-key"})
    client = await bench.send(chat())
    told = error_of(client)
    assert (client.status, told["code"]) == (502, "fallback_exhausted")
    assert "one: upstream_error (500)" in told["message"]
    assert "two: upstream_authentication (401)" in told["message"]
    assert "secret" not in client.body.decode()


async def test_a_failed_attempt_keeps_nothing_of_what_it_read() -> None:
    bench = Bench(ONE, TWO)
    error = UpstreamUnavailable("the connection broke")
    error.__cause__ = OSError("reset")
    bench.adapters[0].refuses(error)
    bench.adapters[1].replies(completion())
    assert (await bench.send(chat())).status == 200
    assert (error.__traceback__, error.__cause__) == (None, None), "its frames hold the reply as far as it came"


async def test_limits_everywhere_are_told_with_the_soonest_retry_after() -> None:
    bench = Bench(ONE, TWO)
    failing(bench.adapters[0], 429, retry_after="40")
    failing(bench.adapters[1], 429, retry_after="25")
    client = await bench.send(chat())
    assert (client.status, client.headers["retry-after"]) == (429, "25")
    bench.clock.now_s += 5.0
    client = await bench.send(chat(stream=True))
    assert (client.status, client.headers["retry-after"], bench.record.attempts) == (429, "20", 0), "nobody is asked in vain"


async def test_timeouts_everywhere_are_told_as_a_timeout() -> None:
    bench = Bench(ONE, TWO, timeouts=Timeouts(first_byte_s=5.0))
    for adapter in bench.adapters:
        adapter.replies(completion(), head=[Pause(60.0)])
    client = await bench.send(chat())
    assert (client.status, error_of(client)["code"]) == (504, "timeout")


async def test_no_attempt_begins_after_the_calls_own_deadline() -> None:
    timeouts = Timeouts(first_byte_s=60.0, total_s=50.0)
    bench = Bench(ONE, TWO, timeouts=timeouts, retries=RetryPolicy(max_wait_s=0.0, total_s=50.0))
    bench.adapters[0].replies(completion(), head=[Pause(90.0)])
    client = await bench.send(chat())
    assert (client.status, bench.record.attempts) == (504, 1)


async def test_when_all_are_cooling_down_the_one_that_recovers_first_is_tried_and_it_is_said() -> None:
    bench = Bench(ONE, TWO, failure_threshold=1000)
    for _ in range(3):
        failing(bench.adapters[0], 500)
        failing(bench.adapters[1], 500)
        await bench.send(chat())
    assert states(bench) == ["limited", "limited"]
    bench.clock.now_s += 5.0
    bench.adapters[0].replies(completion())
    client = await bench.send(chat())
    assert (client.status, bench.record.provider_key, bench.record.notes) == (200, "one", ("safety_valve",))
    assert states(bench) == ["active", "limited"]


async def test_the_valve_opens_an_open_breaker_for_one_call_and_not_for_two() -> None:
    bench = Bench(ONE, TWO, failure_threshold=1)
    failing(bench.adapters[0], 500)
    failing(bench.adapters[1], 500)
    await bench.send(chat())
    hang = Hang()
    bench.adapters[0].replies(completion(), head=[hang])
    bench.adapters[1].replies(completion(), head=[hang])
    first = asyncio.create_task(bench.send(chat()))
    await hang.reached.wait()
    second = asyncio.create_task(bench.send(chat()))
    third = asyncio.create_task(bench.send(chat()))
    done, _ = await asyncio.wait([second, third], return_when=asyncio.FIRST_COMPLETED)
    refused = done.pop().result()
    assert refused.status == 503
    assert "circuit open" in error_of(refused)["message"]
    for task in (first, second, third):
        task.cancel()
    await asyncio.gather(first, second, third, return_exceptions=True)


async def test_a_model_with_one_upstream_is_asked_whatever_its_cooldown() -> None:
    bench = Bench(ONE, failure_threshold=1000)
    failing(bench.adapters[0], 429, retry_after="300")
    assert (await bench.send(chat())).status == 429
    bench.adapters[0].replies(completion())
    assert (await bench.send(chat())).status == 200
    bench.gateway.fleet.upstreams[0].standing.pause()
    client = await bench.send(chat())
    assert client.status == 503
    assert "paused" in error_of(client)["message"]


async def test_a_short_limit_is_waited_out() -> None:
    bench = Bench(ONE, TWO, retries=RetryPolicy(max_wait_s=5.0))
    failing(bench.adapters[0], 429, retry_after="2")
    failing(bench.adapters[1], 429, retry_after="3")
    bench.adapters[0].replies(completion())
    began = bench.clock.now_s
    client = await bench.send(chat())
    assert (client.status, client.watched) == (200, True)
    assert 2.0 <= bench.clock.now_s - began <= 2.5
    assert bench.record.notes == ("waited",)
    assert bench.record.waited_ms >= 2000


async def test_retries_at_the_same_upstream_are_for_failures_that_may_pass() -> None:
    terms = Terms(timeouts=Timeouts(), retries=2)
    for status, attempts in ((500, 3), (503, 3), (401, 1), (429, 1)):
        bench = Bench(ONE, terms=terms, failure_threshold=100)
        failing(bench.adapters[0], status, times=3)
        await bench.send(chat())
        assert bench.record.attempts == attempts, status
    bench = Bench(ONE, terms=terms)
    bench.adapters[0].refuses(UpstreamUnavailable("refused"))
    bench.adapters[0].replies(completion())
    assert (await bench.send(chat())).status == 200
    assert bench.record.waited_ms > 0


class Renewed:
    """A credential whose first token is refused and whose second is not."""

    name = ""
    renewable = True

    def __init__(self, works: bool) -> None:
        self.works = works
        self.current = "old"
        self.renewals: list[str] = []

    async def token(self, now: float) -> str:
        return self.current

    async def renew(self, refused: str, now: float) -> bool:
        self.renewals.append(refused)
        self.current = "new"
        return self.works

    def describe(self, now: float) -> CredentialStatus:
        return CredentialStatus()


@pytest.mark.parametrize(("status", "works"), [(401, True), (401, False), (403, True)])
async def test_a_refused_token_is_renewed_once_before_anything_is_said(status: int, works: bool) -> None:
    bench = Bench(ONE)
    credential = bench.adapters[0].credential = Renewed(works)
    failing(bench.adapters[0], status)
    bench.adapters[0].replies(completion())
    client = await bench.send(chat())
    assert (client.status, credential.renewals) == (200 if works and status == 401 else 502, ["old"] if status == 401 else [])
    assert bench.record.notes == (("credential_renewed",) if client.status == 200 else ())


async def test_a_stream_that_breaks_after_its_first_content_is_ended_and_not_tried_again() -> None:
    bench = Bench(ONE, TWO)
    piece = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {"content": "a"}}]}
    bench.adapters[0].streams(b"data: %s\n\n" % json.dumps(piece).encode(), UpstreamUnavailable("gone"))
    client = await bench.send(chat(stream=True))
    assert (client.status, len(bench.adapters[1].calls), bench.record.error_code) == (200, 0, "bad_gateway")
    assert b'"error"' in client.body
    assert b"[DONE]" not in client.body
    assert bench.gateway.fleet.upstreams[0].standing.consecutive_failures == 1


async def test_a_stream_that_only_shows_signs_of_life_is_given_up() -> None:
    bench = Bench(ONE, timeouts=Timeouts(stall_s=60.0))
    pings = [step for _ in range(30) for step in (Pause(10.0), b": still here\n\n")]
    bench.adapters[0].streams(*pings)
    client = await bench.send(chat(stream=True))
    assert (bench.record.error_code, client.status) == ("timeout", 200)
    assert b"stall" in client.body


async def test_busy_upstreams_are_waited_for_in_turn() -> None:
    bench = Bench(ONE, terms=Terms(timeouts=Timeouts(), max_concurrency=1), retries=RetryPolicy(max_wait_s=5.0))
    gate = asyncio.Event()

    class Slow(ScriptedAdapter):
        async def send(self, call: Any) -> Any:
            await gate.wait()
            return await super().send(call)

    adapter = bench.adapters[0]
    adapter.__class__ = Slow
    for _ in range(3):
        adapter.replies(completion())
    calls = [asyncio.create_task(bench.send(chat())) for _ in range(3)]
    for _ in range(5):
        await asyncio.sleep(0)
    upstream = bench.gateway.fleet.upstreams[0]
    assert (upstream.in_flight, len(upstream.waiting)) == (1, 2)
    gate.set()
    assert [client.status for client in await asyncio.gather(*calls)] == [200, 200, 200]
    assert (upstream.in_flight, len(upstream.waiting)) == (0, 0)


async def test_who_waits_too_long_for_a_slot_is_told_so() -> None:
    bench = Bench(ONE, terms=Terms(timeouts=Timeouts(), max_concurrency=1), retries=RetryPolicy(max_wait_s=0.01))
    bench.gateway.fleet.upstreams[0].in_flight = 1
    client = await bench.send(chat())
    assert (client.status, client.watched, error_of(client)["code"]) == (429, True, "concurrency_exceeded")
    assert len(bench.gateway.fleet.upstreams[0].waiting) == 0


async def test_tokens_a_minute_hold_before_and_are_put_right_after() -> None:
    bench = Bench(ONE, terms=Terms(timeouts=Timeouts(), tokens_per_minute=1100))
    for _ in range(3):
        bench.adapters[0].replies(completion())
    assert (await bench.send(chat(max_tokens=1000))).status == 200
    assert (await bench.send(chat(max_tokens=1000))).status == 200, "the first used 7 tokens of the thousand"
    bench.adapters[0].replies(completion(), head=[Pause(0.0)])
    client = await bench.send(chat(max_tokens=8000))
    assert (client.status, error_of(client)["code"]) == (429, "upstream_rate_limited")


def test_what_a_call_may_use_is_guessed_from_its_body() -> None:
    assert expected_usage(b"x" * 400) == Usage(input_tokens=100, output_tokens=1024)
    for field in ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens"):
        assert expected_usage(b'{"max": 7, "maximum": 8, "%s" : 50}' % field.encode()).output_tokens == 50
    assert expected_usage(b'{"max_tokens": 999999999}').output_tokens == 8192
    assert expected_usage(b'"max_' * 1_000_000 + b'{"max_tokens": 1}').output_tokens == 1024, "it is not looked for without end"


async def test_a_model_that_fails_too_often_has_another_stand_in_and_comes_back() -> None:
    bench = Bench(ONE, TWO, failure_threshold=1000, budget=RetryBudget(100))
    for upstream in bench.gateway.fleet.upstreams:
        upstream.standing = Standing(max_s=0.0)
    stand = Stand(Takeover(error_ratio=0.1, min_calls=2, probe_s=30.0, successes=1), "other")
    rules = [Rule(provider_key="one", models=("m",)), Rule(provider_key="two", models=("other",))]
    bench.gateway.fleet = Fleet(bench.gateway.fleet.upstreams, RoutingTable(rules), stands={"m": stand})
    failing(bench.adapters[0], 404, times=2, error={"code": "model_not_found"})
    for _ in range(10):
        bench.adapters[1].replies(completion())
    for _ in range(2):
        assert (await bench.send(chat())).status == 200, "no client pays for it"
    assert stand.takeover.active
    await bench.send(chat())
    assert (outcomes(bench), bench.record.notes) == ([("two", "ok")], ("takeover:other",))
    bench.clock.now_s += 31.0
    bench.adapters[0].replies(completion())
    await bench.send(chat())
    assert outcomes(bench) == [("one", "ok")]
    assert not stand.takeover.active


@pytest.mark.parametrize(
    ("switch_project", "switch_preview", "expected"),
    [
        (True, False, [("p1", "m"), ("p2", "m"), ("q1", "m")]),
        (False, False, [("p1", "m"), ("q1", "m")]),
        (False, True, [("p1", "m"), ("q1", "m"), ("p1", "m-preview"), ("q1", "m-preview")]),
    ],
)
async def test_when_a_quota_is_spent_projects_and_previews_are_tried_as_told(
    switch_project: bool, switch_preview: bool, expected: list[tuple[str, str]]
) -> None:
    bench = Bench(*((f"one/{name}", "openai_chat") for name in ("p1", "p2", "q1")))
    rule = Rule(provider_key="one", models=("m",), members=(Member(), Member(), Member()), previews={"m": "m-preview"})
    policy = QuotaPolicy(switch_project=switch_project, switch_preview_model=switch_preview)
    bench.gateway.fleet = Fleet(bench.gateway.fleet.upstreams, RoutingTable([rule]), accounts=("p", "p", "q"), quota=policy)
    for adapter in bench.adapters:
        failing(adapter, 429, times=4, retry_after="60")
    await bench.send(chat())
    assert [(attempt.credential, attempt.model_id) for attempt in bench.record.tries] == expected


async def test_a_conversation_stays_with_its_credential_until_that_fails() -> None:
    bench = Bench(*((f"one/{name}", "openai_chat") for name in "abc"))
    rule = Rule(provider_key="one", models=("m",), members=(Member(), Member(), Member()), strategy="sticky")
    bench.gateway.fleet = Fleet(bench.gateway.fleet.upstreams, RoutingTable([rule]))
    for adapter in bench.adapters:
        for _ in range(4):
            adapter.replies(completion())
    for _ in range(2):
        await bench.send(chat())
    (home,) = {record.credential for record in bench.records}
    place = "abc".index(home)
    bench.adapters[place]._replies.clear()
    failing(bench.adapters[place], 500)
    await bench.send(chat())
    moved = bench.record.credential
    assert moved != home
    await bench.send(chat())
    assert (bench.record.credential, bench.record.attempts) == (moved, 1)


async def test_a_reply_that_is_named_later_is_looked_for_where_it_was_given() -> None:
    bench = Bench(*((f"one/{name}", "openai_responses") for name in "abc"))
    rule = Rule(provider_key="one", models=("m",), members=(Member(), Member(), Member()), strategy="sticky")
    bench.gateway.fleet = Fleet(bench.gateway.fleet.upstreams, RoutingTable([rule]))
    for number in range(12):
        reply = {"id": f"resp_{number}", "object": "response", "created_at": 1, "model": "m", "status": "completed", "output": []}
        for adapter in bench.adapters:
            adapter._replies.clear()
            adapter.replies(json.dumps(reply).encode())
        await bench.send(json.dumps({"model": "m", "input": f"question {number}"}).encode(), "openai_responses")
        given_by = bench.record.credential
        for adapter in bench.adapters:
            adapter._replies.clear()
            adapter.replies(json.dumps({**reply, "id": "next"}).encode())
        follow = {"model": "m", "input": "and then?", "previous_response_id": f"resp_{number}"}
        await bench.send(json.dumps(follow).encode(), "openai_responses")
        assert bench.record.credential == given_by


async def test_the_providers_default_thinking_is_for_calls_that_say_nothing() -> None:
    terms = Terms(timeouts=Timeouts(), reasoning=ReasoningConfig(effort="low"))
    bench = Bench(ONE, terms=terms)
    for body, expected in ((chat(), "low"), (chat(reasoning_effort="high"), "high"), (chat("m(medium)"), "medium")):
        bench.adapters[0].replies(completion())
        await bench.send(body)
        sent = json.loads(bench.adapters[0].calls[-1].body)
        assert (sent["reasoning_effort"], sent["model"]) == (expected, "m")
    translated = Bench(("one", "anthropic"), terms=terms)
    translated.adapters[0].refuses(UpstreamUnavailable("enough"))
    await translated.send(chat("claude-opus-4-5", max_completion_tokens=9000))
    assert "thinking" in json.loads(translated.adapters[0].calls[0].body)


async def test_calls_under_way_keep_the_fleet_they_began_with() -> None:
    bench = Bench(ONE)
    hang = Hang()
    bench.adapters[0].replies(completion(), head=[hang])
    task = asyncio.create_task(bench.send(chat()))
    await hang.reached.wait()
    other = ScriptedAdapter(bench.clock, "other", "openai_chat")
    other.replies(completion("from the new one"))
    terms = Terms(timeouts=Timeouts())
    upstream = Upstream(other, DIALECTS["openai_chat"], Breaker(), Standing(), terms)
    bench.gateway.fleet = Fleet([upstream], RoutingTable([Rule(provider_key="other", models=("*",))]))
    assert b"from the new one" in (await bench.send(chat())).body
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert bench.records[-1].provider_key == "one"


async def test_our_own_bug_is_no_attempt_before_the_upstream_has_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(("a", "openai_chat"))
    bench.adapters[0].refuses(RuntimeError())
    assert (await bench.send(chat())).status == 500
    assert (bench.record.attempts, bench.record.tries) == (0, ())
    bench.adapters[0].replies(completion())
    monkeypatch.setattr(bench.gateway._attempts._exchanger._relay, "whole", None)
    assert (await bench.send(chat())).status == 500
    assert outcomes(bench) == [("a", "internal_error")]
