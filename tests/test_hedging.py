"""A second upstream asked for the same reply."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from fkproxy.adapters.base import Exchange, Timeouts, UpstreamCall
from fkproxy.fleet import Fleet
from fkproxy.hedging import HedgePolicy, Hedger, does_no_harm
from fkproxy.limits.retry_budget import RetryBudget
from fkproxy.model.errors import UpstreamUnavailable
from fkproxy.model.request import ReasoningConfig
from fkproxy.routing import Member, RoutingTable, Rule
from fkproxy.upstream import Terms
from tests.fakes.pipeline import Bench, Hang, ScriptedAdapter, ScriptedExchange
from tests.test_attempts import chat, completion, error_of, outcomes, states

pytestmark = pytest.mark.leaps

AFTER_S = 0.02


class Late(ScriptedExchange):
    """Its head comes after a while."""

    late_s = 0.0

    async def head(self, wait_s: float) -> bool:
        if self.late_s > wait_s:
            self.late_s -= wait_s
            await asyncio.sleep(wait_s)
            return False
        await asyncio.sleep(self.late_s)
        self.late_s = 0.0
        return await super().head(wait_s)


def hedging(*dialects: str, policy: HedgePolicy | None = None, **more: Any) -> Bench:
    """A bench on the loop's clock whose replies can be late."""
    names = [(name, dialect) for name, dialect in zip("abc", dialects or ("openai_chat",) * 2, strict=False)]
    bench = Bench(*names, **more)
    now = asyncio.get_running_loop().time
    bench.gateway._now = bench.gateway._attempts._now = bench.gateway._attempts._exchanger._now = now
    bench.gateway._attempts._exchanger._relay.now = now
    bench.clock.now_s = now()
    fleet = bench.gateway.fleet
    bench.gateway.fleet = Fleet(fleet.upstreams, fleet.table, hedger=Hedger(policy or HedgePolicy(after_s=AFTER_S, share=1.0)))
    return bench


def late(bench: Bench, place: int, seconds: float, body: bytes = b"", status: int = 200) -> Late:
    adapter = bench.adapters[place]
    made = Late(bench.clock, status, {"content-type": "application/json"}, (), [body or completion(f"from {place}")])
    made.late_s = seconds
    adapter._replies.append(made)
    return made


async def test_the_quicker_one_serves_and_the_other_is_cut() -> None:
    bench = hedging()
    slow, quick = late(bench, 0, 5.0), late(bench, 1, 0.0)
    client = await bench.send(chat())
    assert b"from 1" in client.body
    assert (slow.closed, quick.closed) == (True, True)
    assert outcomes(bench) == [("a", "abandoned"), ("b", "ok")]
    assert (bench.record.provider_key, bench.record.attempts, bench.record.notes) == ("b", 2, ("hedged",))
    assert [upstream.in_flight for upstream in bench.gateway.fleet.upstreams] == [0, 0]
    assert [upstream.standing.consecutive_failures for upstream in bench.gateway.fleet.upstreams] == [0, 0]


async def test_the_first_may_win_all_the_same() -> None:
    bench = hedging()
    late(bench, 0, AFTER_S * 3)
    second = late(bench, 1, 5.0)
    assert b"from 0" in (await bench.send(chat())).body
    assert second.closed
    assert outcomes(bench) == [("b", "abandoned"), ("a", "ok")]


async def test_one_that_is_quick_is_asked_alone() -> None:
    bench = hedging()
    late(bench, 0, AFTER_S / 2)
    assert (await bench.send(chat())).status == 200
    assert (len(bench.adapters[1].calls), bench.record.notes) == (0, ())


async def test_a_failure_loses_against_a_success_and_is_held_against_its_upstream() -> None:
    bench = hedging()
    late(bench, 0, AFTER_S * 3, status=500, body=b"{}")
    late(bench, 1, AFTER_S * 6)
    assert b"from 1" in (await bench.send(chat())).body
    assert outcomes(bench) == [("a", "upstream_error"), ("b", "ok")]
    assert bench.gateway.fleet.upstreams[0].standing.consecutive_failures == 1


@pytest.mark.parametrize(("status", "state"), [(401, "reauth_required"), (403, "active"), (404, "active"), (429, "limited")])
async def test_what_only_the_words_of_a_failure_tell_is_held_against_nobody(status: int, state: str) -> None:
    bench = hedging()
    late(bench, 0, AFTER_S * 3, status=status, body=b"{}")
    late(bench, 1, AFTER_S * 6)
    assert b"from 1" in (await bench.send(chat())).body
    assert (states(bench), bench.record.tries[0].status) == ([state, "active"], status)


@pytest.mark.parametrize("fails_at", ["connect", "head"])
async def test_a_second_that_cannot_be_had_costs_the_first_nothing(fails_at: str) -> None:
    bench = hedging()
    late(bench, 0, AFTER_S * 4)
    if fails_at == "connect":
        bench.adapters[1].refuses(UpstreamUnavailable("refused"))
    else:
        late(bench, 1, 0.0, status=503, body=b"{}")
    assert b"from 0" in (await bench.send(chat())).body
    assert outcomes(bench)[0][0] == "b"
    assert outcomes(bench)[1] == ("a", "ok")


SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "x", "schema": {"type": "object", "properties": {}, "additionalProperties": False}},
}
MESSAGE = json.dumps(
    {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "{}"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
).encode()


async def test_a_second_whose_model_cannot_be_asked_so_costs_the_first_nothing() -> None:
    bench = hedging("anthropic", "anthropic")
    names = {"a": "claude-haiku-4-5", "b": "claude-3-5-haiku"}  # the older one takes no schema
    rules = [Rule(provider_key=key, models=("m",), names={"m": name}, members=(Member(),)) for key, name in names.items()]
    policy = HedgePolicy(after_s=AFTER_S, share=1.0)
    bench.gateway.fleet = Fleet(bench.gateway.fleet.upstreams, RoutingTable(rules), hedger=Hedger(policy))
    late(bench, 0, AFTER_S * 4, MESSAGE)
    assert (await bench.send(chat(response_format=SCHEMA))).status == 200
    assert outcomes(bench) == [("a", "ok")]
    assert (bench.record.attempts, bench.record.notes) == (1, ())
    assert not bench.adapters[1].calls
    assert [upstream.in_flight for upstream in bench.gateway.fleet.upstreams] == [0, 0]


@pytest.mark.parametrize(
    ("seconds", "served", "applied", "losses", "notes"),
    [
        ((5.0, 0.0), "b", "budget 4096", ("reasoning.budget_tokens", "temperature"), ("hedged", "default_thinking:effort high")),
        ((AFTER_S * 3, 5.0), "a", None, (), ("hedged",)),
    ],
)
async def test_what_is_written_down_is_how_the_one_was_asked_that_serves(
    seconds: tuple[float, float], served: str, applied: str | None, losses: tuple[str, ...], notes: tuple[str, ...]
) -> None:
    bench = hedging("anthropic", "anthropic")
    bench.gateway.fleet.upstreams[1].terms = Terms(timeouts=Timeouts(), reasoning=ReasoningConfig(effort="high"))
    for place, wait_s in enumerate(seconds):
        late(bench, place, wait_s, MESSAGE)
    client = await bench.send(chat(temperature=0.3))
    assert [len(adapter.calls) for adapter in bench.adapters] == [1, 1]
    record = bench.record
    assert (record.provider_key, record.reasoning_applied, record.losses, record.notes) == (served, applied, losses, notes)
    assert client.headers.get("x-fkproxy-losses", "") == ", ".join(losses)


async def test_a_second_that_was_quicker_and_breaks_off_is_held_against_itself() -> None:
    bench = hedging()
    late(bench, 0, 5.0)
    late(bench, 1, 0.0)._body[:] = [UpstreamUnavailable("gone")]
    assert (await bench.send(chat())).status == 502
    assert outcomes(bench) == [("a", "abandoned"), ("b", "bad_gateway")]
    assert [upstream.standing.consecutive_failures for upstream in bench.gateway.fleet.upstreams] == [0, 1]


async def test_when_both_fail_the_call_goes_on_as_ever() -> None:
    bench = hedging("openai_chat", "openai_chat", "openai_chat")
    late(bench, 0, AFTER_S * 3, status=500, body=b'{"error": {"message": "no"}}')
    late(bench, 1, AFTER_S * 3, status=503, body=b"{}")
    late(bench, 2, 0.0)
    assert b"from 2" in (await bench.send(chat())).body
    assert [upstream.in_flight for upstream in bench.gateway.fleet.upstreams] == [0, 0, 0]


async def test_a_deadline_ends_both() -> None:
    bench = hedging(timeouts=Timeouts(first_byte_s=AFTER_S * 3))
    exchanges = [late(bench, 0, 5.0), late(bench, 1, 5.0)]
    client = await bench.send(chat())
    assert (client.status, error_of(client)["code"]) == (504, "timeout")
    assert all(exchange.closed for exchange in exchanges)
    assert [upstream.in_flight for upstream in bench.gateway.fleet.upstreams] == [0, 0]


async def test_a_client_that_leaves_ends_both() -> None:
    bench = hedging()
    exchanges = [late(bench, 0, 5.0), late(bench, 1, 5.0)]
    task = asyncio.create_task(bench.send(chat()))
    await asyncio.sleep(AFTER_S * 3)
    assert len(bench.adapters[1].calls) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert all(exchange.closed for exchange in exchanges)
    assert [upstream.in_flight for upstream in bench.gateway.fleet.upstreams] == [0, 0]


async def test_a_client_that_leaves_in_the_middle_of_the_quicker_ones_reply_ends_both() -> None:
    bench = hedging()
    hang, slow = Hang(), late(bench, 0, 5.0)
    late(bench, 1, 0.0)._body[:] = [hang]
    task = asyncio.create_task(bench.send(chat()))
    async with asyncio.timeout(1):
        await hang.reached.wait()
    assert slow.closed, "as soon as it is not needed"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert outcomes(bench) == [("a", "abandoned"), ("b", "client_ended")]
    assert [upstream.in_flight for upstream in bench.gateway.fleet.upstreams] == [0, 0]


async def test_a_second_that_is_not_connected_yet_never_will_be() -> None:
    bench = hedging()
    ended = asyncio.Event()

    class Unreachable(ScriptedAdapter):
        async def send(self, call: UpstreamCall) -> Exchange:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            raise AssertionError

    bench.adapters[1].__class__ = Unreachable
    late(bench, 0, AFTER_S * 3)
    assert b"from 0" in (await bench.send(chat())).body
    async with asyncio.timeout(1):
        await ended.wait()


async def test_a_reply_of_the_second_gives_its_part_to_the_budget() -> None:
    bench = hedging(budget=RetryBudget(9, per_s=0.0))
    assert all(bench.gateway.budget.take(0.0) for _ in range(9))
    for _ in range(10):
        late(bench, 0, 5.0)
        late(bench, 1, 0.0)
        await bench.send(chat())
    assert bench.gateway.budget.left == 1


async def test_only_an_upstream_that_takes_the_same_body_is_asked() -> None:
    bench = hedging("openai_chat", "anthropic", "openai_chat")
    late(bench, 0, 5.0)
    late(bench, 2, 0.0)
    assert b"from 2" in (await bench.send(chat())).body
    assert len(bench.adapters[1].calls) == 0


@pytest.mark.parametrize("body", [chat(store=True), chat(tools=[{"type": "web_search"}])])
async def test_what_the_vendor_keeps_or_runs_is_asked_for_once(body: bytes) -> None:
    bench = hedging()
    late(bench, 0, AFTER_S * 3)
    assert (await bench.send(body)).status == 200
    assert len(bench.adapters[1].calls) == 0


@pytest.mark.parametrize(
    ("body", "stores", "expected"),
    [
        ({"messages": []}, False, True),
        ({"input": "x"}, True, False),
        ({"input": "x", "store": False}, True, True),
        ({"input": "x", "store": False, "previous_response_id": "r"}, True, False),
        ({"input": "x", "store": False, "previous_response_id": None}, True, True),
        ({"background": True, "store": False}, True, False),
        ({"tools": [{"type": "function", "name": "web_search"}]}, False, True),
        ({"tools": [{"type": "code_execution_20250825"}]}, False, False),
        ({"tools": [{"googleSearch": {}}]}, False, False),
        ({"mcp_servers": [{"url": "x"}]}, False, False),
        ({"cachedContent": "cachedContents/1"}, False, False),
        ({"continuationToken": "AAAA"}, False, False),
        ({"thread": {"type": "create"}}, False, False),
        ({"thread": None}, False, True),
    ],
)
def test_what_may_be_asked_twice(body: dict[str, Any], stores: bool, expected: bool) -> None:
    assert does_no_harm(json.dumps(body).encode(), stores=stores) == expected
    assert does_no_harm(json.dumps(body, separators=(",", ":")).encode(), stores=stores) == expected


def test_what_it_costs_has_a_cap() -> None:
    hedger = Hedger(HedgePolicy(after_s=1.0, share=0.1))
    asked = sum(hedger.after_s("a", "m") is not None and hedger.take() for _ in range(1000))
    assert 95 <= asked <= 102
    for _ in range(10_000):
        hedger.after_s("a", "m")
    assert sum(hedger.take() for _ in range(100)) == 10, "a quiet time saves up ten at most"


def test_the_usual_time_has_to_be_known() -> None:
    hedger = Hedger(HedgePolicy(share=1.0))
    for number in range(100):
        assert (hedger.after_s("a", "m") is None) == (number < 20)
        hedger.saw("a", "m", number / 100)
    assert hedger.after_s("a", "m") == 0.95
    assert hedger.after_s("a", "other") is None
    for number in range(3000):
        hedger.saw("a", f"invented-{number}", 1.0)
    assert len(hedger._took_s) <= 1024
    for _ in range(500):
        hedger.saw("a", "m", 2.0)
    assert len(hedger._took_s["a", "m"]) == 100
