"""What one attempt leaves to the next, to the limits, and to the books."""

from __future__ import annotations

import asyncio
import gc
import json

import pytest

from fkproxy.adapters.base import Exchange, Timeouts, UpstreamCall
from fkproxy.attempts import RetryPolicy
from fkproxy.call import Call
from fkproxy.limits.retry_budget import RetryBudget
from fkproxy.limits.standing import Standing
from fkproxy.limits.tokens import TokenMeter, TokenMeters
from fkproxy.model.errors import UpstreamUnavailable
from fkproxy.upstream import Terms
from tests.fakes.pipeline import Bench, Hang, ListClient, Pause, ScriptedAdapter
from tests.test_attempts import Renewed, chat, completion, error_of, failing

pytestmark = pytest.mark.leaps

CLAUDE, CHAT = ("claude", "anthropic"), ("chat", "openai_chat")


def sse(*events: dict[str, object]) -> bytes:
    return b"".join(b"event: %s\ndata: %s\n\n" % (str(event["type"]).encode(), json.dumps(event).encode()) for event in events)


@pytest.mark.parametrize("count", [b"-3", b"1" + b"0" * 400])
async def test_what_nobody_can_have_used_goes_to_the_client_and_into_no_sum(count: bytes) -> None:
    bench = Bench(CHAT)
    body = completion().replace(b'"prompt_tokens": 3', b'"prompt_tokens": ' + count)
    bench.adapters[0].replies(body)
    client = await bench.send(chat())
    assert (client.status, client.body) == (200, body)
    assert bench.record.usage is None


@pytest.mark.parametrize(
    ("dialect", "target", "body"),
    [
        ("gemini", "m(high):generateContent", b'{"contents": ['),
        ("gemini", "m(high):generateContent", b"[]"),
        ("gemini", "m(high):generateContent", b""),
        ("gemini", "m(high):generateContent", b'{"contents": [{"role":"user","parts":[{"text":"\\ud800"}]}]}'),
        ("gemini", "m(high):generateContent", b'{"contents": [], "generationConfig": {"\xff": 1}}'),
        ("gemini", "m(high):generateContent", b'{"contents": [], "generation_config": 5}'),
        ("openai_responses", "", b'{"model":"m(high)","input":"x","reasoning":"high"}'),
        ("openai_responses", "", b'{"model":"m(none)","input":"x","reasoning":true}'),
        ("anthropic", "", b'{"model":"claude-opus-4-5(high)","max_tokens":9,"messages":[],"tool_choice":{"type":"\xff"}}'),
        ("openai_chat", "", b'{"model":"m","stream":true,"stream_options":{"\xff":1},"messages":[]}'),
    ],
)
async def test_a_body_in_which_nothing_can_be_put_is_the_clients_mistake(
    dialect: str, target: str, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(("own", dialect))
    client = await bench.send(body, dialect, target=target)
    assert (client.status, bench.record.error_code, bench.record.attempts, bench.record.tries) == (400, "invalid_request", 0, ())
    assert not bench.adapters[0].calls
    assert not caplog.records


def deep(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


def with_result(content: str) -> bytes:
    asked = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }
    return chat(messages=[{"role": "user", "content": "hi"}, asked, {"role": "tool", "tool_call_id": "c", "content": content}])


@pytest.mark.parametrize(
    ("dialect", "upstream", "target", "body"),
    [
        ("openai_chat", "gemini", "", with_result(deep(490))),
        (
            "gemini",
            "openai_chat",
            "m:generateContent",
            b'{"contents":[{"role":"user","parts":[{"text":"hi"}]}],"new":%s}' % deep(600).encode(),
        ),
        ("gemini", "anthropic", "m:countTokens", b'{"contents":[{"role":"user","parts":[{"text":"hi"}]}],"new":%s}' % deep(600).encode()),
        ("gemini", "openai_chat", "m:countTokens", b'{"contents":[{"role":"user","parts":[{"text":"hi"}]}],"new":%s}' % deep(600).encode()),
    ],
)
async def test_what_is_too_deep_to_be_walked_through_is_the_clients_mistake(dialect: str, upstream: str, target: str, body: bytes) -> None:
    bench = Bench(("own", upstream))
    client = await bench.send(body, dialect, target=target)
    assert (client.status, bench.record.error_code) == (400, "invalid_request")
    assert b"nested too deeply" in client.body
    assert not bench.adapters[0].calls


async def test_what_a_failed_upstream_said_is_no_part_of_the_next_ones_reply() -> None:
    bench = Bench(CLAUDE, CHAT)
    message = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": "m",
        "usage": {"input_tokens": 999, "output_tokens": 1},
    }
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "no"}}
    bench.adapters[0].streams(sse({"type": "message_start", "message": message}, error))
    piece = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {"content": "a"}}]}
    last = {**piece, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    bench.adapters[1].streams(b"".join(b"data: %s\n\n" % json.dumps(each).encode() for each in (piece, last)) + b"data: [DONE]\n\n")
    client = await bench.send(chat(stream=True, seed=7))
    assert (client.status, bench.record.attempts, bench.record.provider_key) == (200, 2, "chat")
    assert bench.record.usage is None, "the one that served said nothing"
    assert bench.record.losses == ()
    assert "x-fkproxy-losses" not in client.headers
    assert bench.record.upstream_status == 200


def limited(**fields: int) -> Terms:
    return Terms(timeouts=Timeouts(), **fields)


def levels(bench: Bench) -> list[float]:
    meters = [upstream._tokens for upstream in bench.gateway.fleet.upstreams]
    return [round(meter._level) for meter in meters if meter is not None]


def metered(bench: Bench) -> list[TokenMeter]:
    return [upstream._requests for upstream in bench.gateway.fleet.upstreams if upstream._requests is not None]


def untouched(meter: TokenMeter, now: float) -> bool:
    """Nothing is taken or owed."""
    return meter.wait_s(meter.per_minute, now) == 0.0


async def test_failed_attempts_use_no_tokens() -> None:
    bench = Bench(CHAT, ("other", "openai_chat"), terms=limited(tokens_per_minute=5000), failure_threshold=100)
    failing(bench.adapters[0], 500)
    bench.adapters[1].refuses(UpstreamUnavailable("gone"))
    await bench.send(chat())
    assert levels(bench) == [5000, 5000]
    bench.adapters[0].streams(piece(), UpstreamUnavailable("gone"))
    await bench.send(chat(stream=True))
    assert levels(bench)[0] < 4000, "it was at work, and did not come to say how much"


async def test_an_attempt_that_the_budget_refuses_holds_nothing() -> None:
    terms = limited(tokens_per_minute=5000, requests_per_minute=10, max_concurrency=1)
    bench = Bench(CHAT, ("other", "openai_chat"), terms=terms, budget=RetryBudget(0), failure_threshold=1)
    second = bench.gateway.fleet.upstreams[1]
    second.breaker.failure(second.breaker.force(bench.clock.now_s), bench.clock.now_s)
    bench.clock.now_s += 61.0
    failing(bench.adapters[0], 500)
    client = await bench.send(chat())
    assert (client.status, bench.record.attempts, bench.record.notes) == (502, 1, ("retry_budget",))
    assert (second.in_flight, levels(bench)[1], second.breaker.retry_after_s(bench.clock.now_s)) == (0, 5000, 0.0)
    assert untouched(metered(bench)[1], bench.clock.now_s)


async def test_further_tries_at_the_same_upstream_are_metered_too() -> None:
    bench = Bench(CHAT, ("other", "openai_chat"), terms=limited(tokens_per_minute=5000, retries=1), failure_threshold=100)
    failing(bench.adapters[0], 500)
    hang = Hang()
    bench.adapters[0].replies(completion(), head=[hang])
    task = asyncio.create_task(bench.send(chat()))
    await hang.reached.wait()
    assert levels(bench)[0] < 4000
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_tokens_that_are_soon_there_are_waited_for() -> None:
    bench = Bench(CHAT, ("other", "openai_chat"), terms=limited(tokens_per_minute=60_000), retries=RetryPolicy(max_wait_s=5.0))
    for upstream in bench.gateway.fleet.upstreams:
        assert upstream._tokens is not None
        upstream._tokens.reserve(60_000, bench.clock.now_s)
    bench.adapters[0].replies(completion())
    client = await bench.send(chat(max_tokens=1500))
    assert (client.status, bench.record.notes) == (200, ("waited",))


async def test_streams_that_an_upstream_serves_hold_nothing_of_the_budget() -> None:
    bench = Bench(CHAT, ("other", "openai_chat"), budget=RetryBudget(9, per_s=0.0), failure_threshold=100)
    assert all(bench.gateway.budget.take(bench.clock.now_s) for _ in range(7))
    bench.gateway.fleet.upstreams[0].standing = Standing(max_s=0.0)
    piece = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {"content": "a"}}]}
    tasks = []
    for _ in range(5):
        failing(bench.adapters[0], 500)
        hang = Hang()
        bench.adapters[1].streams(b"data: %s\n\n" % json.dumps(piece).encode(), hang)
        tasks.append(asyncio.create_task(bench.send(chat(stream=True))))
        await asyncio.wait_for(hang.reached.wait(), 1)
    assert bench.gateway.budget.left == 2
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert bench.gateway.budget.left == 2


@pytest.mark.parametrize("failed", [0, 1])
async def test_clients_that_leave_change_nothing_of_the_budget(failed: int) -> None:
    bench = Bench(CHAT, ("other", "openai_chat"), budget=RetryBudget(9, per_s=0.0), failure_threshold=100)
    assert all(bench.gateway.budget.take(bench.clock.now_s) for _ in range(7))
    bench.gateway.fleet.upstreams[0].standing = Standing(max_s=0.0)
    for _ in range(5):
        failing(bench.adapters[0], 500, times=failed)
        hang = Hang()
        bench.adapters[failed].replies(completion(), head=[hang])
        task = asyncio.create_task(bench.send(chat()))
        await asyncio.wait_for(hang.reached.wait(), 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert [attempt.outcome for attempt in bench.record.tries] == ["upstream_error"] * failed + ["client_ended"]
    assert bench.gateway.budget.left == 2


async def test_a_retry_that_its_breaker_forbids_costs_no_budget_and_the_failure_is_told() -> None:
    bench = Bench(CHAT, budget=RetryBudget(3, per_s=0.0), terms=limited(retries=2), failure_threshold=1)
    failing(bench.adapters[0], 500)
    client = await bench.send(chat())
    assert (client.status, error_of(client)["code"], bench.gateway.budget.left) == (502, "upstream_error", 3)
    assert [each.reason for each in bench.record.skipped] == ["circuit_open"]


@pytest.mark.parametrize(("total_s", "attempts"), [(0.1, 1), (0.5, 2)])
async def test_no_retry_begins_after_the_deadline_although_the_pause_began_before(
    monkeypatch: pytest.MonkeyPatch, total_s: float, attempts: int
) -> None:
    monkeypatch.setattr("random.uniform", lambda least, most: most)
    bench = Bench(CHAT, terms=limited(retries=2), failure_threshold=9, retries=RetryPolicy(total_s=total_s, max_wait_s=0.0))
    failing(bench.adapters[0], 500, times=2)
    client = await bench.send(chat())
    assert (client.status, bench.record.attempts, bench.gateway.budget.left) == (502, attempts, 100)


EMBED = b'{"model":"m","input":"hello"}'
COUNT = b'{"model":"m","max_tokens":10,"messages":[{"role":"user","content":"hello"}]}'


async def test_an_upstream_that_cannot_say_it_is_no_attempt() -> None:
    bench = Bench(CLAUDE, CHAT, budget=RetryBudget(0), terms=limited(requests_per_minute=9))
    reply = {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
        "model": "m",
        "usage": {"prompt_tokens": 1},
    }
    bench.adapters[1].replies(json.dumps(reply).encode())
    client = await bench.send(EMBED, operation="embeddings")
    assert (client.status, bench.record.attempts, [each.provider_key for each in bench.record.tries]) == (200, 1, ["chat"])
    assert [untouched(requests, bench.clock.now_s) for requests in metered(bench)] == [True, False]


async def test_when_the_one_that_could_say_it_is_limited_the_request_is_not_called_wrong() -> None:
    bench = Bench(CLAUDE, CHAT)
    bench.gateway.fleet.upstreams[1].standing.failed("m", 0, "rate_limited", 30.0, bench.clock.now_s)
    client = await bench.send(EMBED, operation="embeddings")
    assert (client.status, client.headers["retry-after"]) == (429, "30")
    alone = Bench(CLAUDE, ("claude2", "anthropic"))
    client = await alone.send(EMBED, operation="embeddings")
    assert (client.status, error_of(client)["code"], alone.record.attempts) == (400, "unsupported_parameter", 0)


async def test_a_count_that_is_estimated_says_nothing_about_the_upstream() -> None:
    bench = Bench(CHAT, failure_threshold=1)
    failing(bench.adapters[0], 429, retry_after="60")
    await bench.send(chat())
    client = await bench.send(COUNT, "anthropic", operation="count_tokens")
    assert (client.status, len(bench.adapters[0].calls), bench.record.attempts) == (200, 1, 0)
    upstream = bench.gateway.fleet.upstreams[0]
    assert (upstream.standing.state("m"), upstream.last_success_s, upstream.in_flight) == ("limited", None, 0)


async def test_a_limit_is_over_when_the_upstream_takes_a_stream_on_and_not_first_when_it_speaks() -> None:
    bench = Bench(CHAT, ("other", "openai_chat"))
    for upstream in bench.gateway.fleet.upstreams:
        upstream.standing.failed("m", 0, "rate_limited", 2.0, bench.clock.now_s)
    bench.clock.now_s += 3.0
    thinks = Hang()
    bench.adapters[0].streams(thinks)
    probe = asyncio.create_task(bench.send(chat(stream=True)))
    await thinks.reached.wait()
    for adapter in bench.adapters:
        adapter.replies(completion())
    await bench.send(chat())
    assert (bench.record.status, bench.record.provider_key) == (200, "chat")
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)


def piece() -> bytes:
    choice = {"index": 0, "delta": {"content": "a"}}
    return (
        b"data: %s\n\n"
        % json.dumps({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}).encode()
    )


async def test_a_long_reply_that_the_calls_own_deadline_cuts_is_no_failure_of_its_upstream() -> None:
    bench = Bench(CHAT, failure_threshold=1, timeouts=Timeouts(total_s=100.0))
    bench.adapters[0].streams(*[step for _ in range(30) for step in (piece(), Pause(10.0))])
    await bench.send(chat(stream=True))
    upstream = bench.gateway.fleet.upstreams[0]
    assert (bench.record.error_code, upstream.breaker.state(bench.clock.now_s)) == ("timeout", "closed")
    assert upstream.standing.consecutive_failures == 0


async def test_who_was_asked_with_no_time_left_has_not_failed() -> None:
    bench = Bench(CHAT, ("other", "openai_chat"), failure_threshold=1, timeouts=Timeouts(first_byte_s=60.0, total_s=100.0))
    for adapter in bench.adapters:
        adapter.replies(completion(), head=[Pause(90.0)])
    client = await bench.send(chat())
    states = [upstream.breaker.state(bench.clock.now_s) for upstream in bench.gateway.fleet.upstreams]
    assert (client.status, states) == (504, ["open", "closed"])


async def test_an_upstream_that_says_nothing_until_the_deadline_has_failed() -> None:
    bench = Bench(CHAT, failure_threshold=1, timeouts=Timeouts(first_byte_s=600.0, total_s=100.0))
    bench.adapters[0].replies(completion(), head=[Pause(900.0)])
    assert (await bench.send(chat())).status == 504
    assert bench.gateway.fleet.upstreams[0].breaker.state(bench.clock.now_s) == "open"


async def test_an_upstream_that_falls_silent_within_its_reply_has_failed() -> None:
    bench = Bench(CHAT, failure_threshold=1, timeouts=Timeouts(silence_s=20.0))
    bench.adapters[0].streams(piece(), Pause(90.0))
    await bench.send(chat(stream=True))
    state = bench.gateway.fleet.upstreams[0].breaker.state(bench.clock.now_s)
    assert (bench.record.error_code, state) == ("timeout", "open")


async def test_counting_tokens_uses_none() -> None:
    bench = Bench(CLAUDE, terms=limited(tokens_per_minute=5000))
    meters = bench.gateway._meters = TokenMeters(5000)
    for _ in range(10):
        bench.adapters[0].replies(b'{"input_tokens": 12}')
        client = await bench.send(COUNT, "anthropic", operation="count_tokens")
        assert client.status == 200
    assert levels(bench) == [5000]
    assert untouched(meters.of("peer:None"), bench.clock.now_s)


async def test_a_credential_that_is_refused_in_the_middle_of_a_reply_does_not_begin_it_again() -> None:
    bench = Bench(("one", "gemini"))
    credential = bench.adapters[0].credential = Renewed(works=True)
    part = {"candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": "hello"}]}}]}
    refused = {"error": {"code": 401, "status": "UNAUTHENTICATED", "message": "no"}}
    bench.adapters[0].streams(*(b"data: %s\n\n" % json.dumps(each).encode() for each in (part, refused)))
    client = await bench.send(chat(stream=True))
    assert (len(bench.adapters[0].calls), credential.renewals, client.finished) == (1, [], True)
    assert client.body.count(b"hello") == 1


async def test_a_client_that_is_slow_to_read_does_not_keep_others_from_an_upstream_that_is_back() -> None:
    bench = Bench(CHAT, failure_threshold=1)
    failing(bench.adapters[0], 500)
    await bench.send(chat())
    bench.clock.now_s += 61.0
    reading = asyncio.Event()

    class Slow(ListClient):
        async def finish(self, data: bytes = b"") -> None:
            reading.set()
            await asyncio.Event().wait()

    bench.adapters[0].replies(completion())
    probe = asyncio.create_task(bench.gateway.serve(bench.call(), Slow(chat())))
    await reading.wait()
    bench.adapters[0].replies(completion())
    assert (await bench.send(chat())).status == 200
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)


async def test_a_count_is_estimated_only_where_no_upstream_can_make_it() -> None:
    bench = Bench(CHAT, CLAUDE)
    bench.adapters[1].replies(b'{"input_tokens": 12}')
    client = await bench.send(COUNT, "anthropic", operation="count_tokens")
    assert (json.loads(client.body), bench.record.provider_key, bench.record.losses) == ({"input_tokens": 12}, "claude", ())
    bench.gateway.fleet.upstreams[1].standing.failed("m", 0, "rate_limited", 30.0, bench.clock.now_s)
    client = await bench.send(COUNT, "anthropic", operation="count_tokens")
    assert (client.status, bench.record.attempts, bench.record.losses) == (200, 0, ("input_tokens (estimated)",))


async def test_when_the_only_upstream_is_back_all_who_come_are_served() -> None:
    bench = Bench(CHAT, failure_threshold=1, retries=RetryPolicy(max_wait_s=90.0))
    failing(bench.adapters[0], 500)
    assert [(await bench.send(chat())).status for _ in range(2)] == [502, 503], "no call waits for a breaker"
    bench.clock.now_s += 60.0
    gate = asyncio.Event()

    class Slow(ScriptedAdapter):
        async def send(self, call: UpstreamCall) -> Exchange:
            await gate.wait()
            return await super().send(call)

    bench.adapters[0].__class__ = Slow
    for _ in range(5):
        bench.adapters[0].replies(completion())
    calls = [asyncio.create_task(bench.send(chat())) for _ in range(5)]
    await asyncio.sleep(0)
    gate.set()
    clients = await asyncio.gather(*calls)
    assert [client.status for client in clients] == [200] * 5
    assert sorted(record.notes for record in bench.records[2:]) == [()] + [("safety_valve",)] * 4


async def test_a_short_limit_of_the_only_upstream_is_waited_out() -> None:
    bench = Bench(CHAT, terms=Terms(timeouts=Timeouts(), requests_per_minute=60), retries=RetryPolicy(max_wait_s=2.0))
    for _ in range(62):
        bench.adapters[0].replies(completion())
    assert [(await bench.send(chat())).status for _ in range(61)] == [200] * 61
    assert [record.notes for record in bench.records] == [()] * 60 + [("waited",)]
    assert 1000 <= bench.record.waited_ms <= 1250


@pytest.mark.parametrize(
    ("per_minute", "patience"),
    [(1, RetryPolicy(max_wait_s=2.0)), (60, RetryPolicy(max_wait_s=1.1)), (60, RetryPolicy(max_wait_s=2.0, total_s=1.1))],
)
async def test_a_limit_that_takes_longer_than_a_call_may_is_told_at_once(per_minute: int, patience: RetryPolicy) -> None:
    bench = Bench(CHAT, terms=limited(requests_per_minute=per_minute), retries=patience)
    for _ in range(per_minute + 1):
        bench.adapters[0].replies(completion())
    assert [(await bench.send(chat())).status for _ in range(per_minute + 1)] == [200] * per_minute + [429]
    assert bench.record.waited_ms == 0


def calls_alive() -> int:
    return sum(type(each) is Call for each in gc.get_objects())


@pytest.mark.parametrize("body", [chat(), b"{", chat("long" * 200)])
async def test_a_call_that_failed_does_not_wait_for_the_collector_of_cycles(body: bytes) -> None:
    bench = Bench(CHAT, ("other", "openai_chat"))
    for adapter in bench.adapters:
        failing(adapter, 500)
    gc.collect()
    before = calls_alive()
    gc.disable()
    try:
        assert (await bench.send(body)).status >= 400
        assert calls_alive() == before
    finally:
        gc.enable()


async def test_what_a_reply_holds_that_the_clients_dialect_cannot_tell_is_named() -> None:
    bench = Bench(CLAUDE)
    found = {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"type": "web_search_result", "url": "u", "title": "t"}]}
    text = {"type": "text", "text": "It rains.", "citations": [{"type": "char_location", "cited_text": "rain"}]}
    message = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, found, text],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    bench.adapters[0].replies(json.dumps(message).encode())
    client = await bench.send(chat("claude-x"))
    assert client.status == 200
    assert client.headers["x-fkproxy-losses"] == "reply.server_tool_use, reply.web_search_tool_result, reply.citation"
    assert bench.record.losses == ("reply.server_tool_use", "reply.web_search_tool_result", "reply.citation")
    bench.adapters[0].replies(json.dumps(message).encode())
    asked = {"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    client = await bench.send(json.dumps(asked).encode(), "anthropic")
    assert "x-fkproxy-losses" not in client.headers, "its own dialect has them"


async def test_an_image_that_the_clients_dialect_has_no_place_for_is_named_in_the_record_of_a_stream() -> None:
    bench = Bench(("gemini", "gemini"))
    parts = [{"text": "here:"}, {"inlineData": {"mimeType": "image/png", "data": "aGk="}}]
    reply = {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}], "responseId": "r"}
    for dialect, asked, lost in (("anthropic", {"max_tokens": 9, "stream": True}, ("reply.image",)), ("openai_chat", {"stream": True}, ())):
        bench.adapters[0].streams(b"data: " + json.dumps(reply).encode() + b"\n\n")
        await bench.send(json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], **asked}).encode(), dialect)
        assert bench.record.losses == lost
