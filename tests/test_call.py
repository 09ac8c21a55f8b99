"""A call's body: one that does not come, one that breaks off, and how long it is kept; a call's id."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

import pytest

from fkproxy.access import Caller
from fkproxy.adapters.base import Timeouts
from fkproxy.attempts import RetryPolicy
from fkproxy.call import Call, ClientGone, Headers
from fkproxy.directory import KeyLimits
from fkproxy.gateway import _Expiries
from fkproxy.limits.budget import Spent
from fkproxy.limits.tokens import TokenMeters
from fkproxy.model.errors import MethodNotAllowed
from fkproxy.telemetry.entry import EntryEncoder
from fkproxy.telemetry.prices import Pricing, Rates
from fkproxy.telemetry.record import CallRecord
from fkproxy.upstream import Terms
from fkproxy.wire.sse import encode_event
from tests.fakes.keys import asking, begun, call, directory, key, send
from tests.fakes.pipeline import Bench, Hang, ListClient
from tests.test_attempts import failing, outcomes
from tests.test_gateway import CHAT, DONE, GEMINI, ROLE, USAGE, chat, completion, delta, gemini, sse
from tests.test_hedging import hedging, late
from tests.test_upstream import until

pytestmark = pytest.mark.leaps


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_told_so_in_case_it_listens() -> None:
    bench = Bench(CHAT)

    class Leaver(ListClient):
        async def read_body(self, limit_bytes: int, make_room: Callable[[int], Awaitable[None]]) -> bytes:
            bench.clock.now_s += 2.0
            self.gone = True
            raise ClientGone

    client = Leaver(b"")
    await bench.gateway.serve(bench.call(), client)
    assert client.status == 400
    assert (bench.record.status, bench.record.client_ended, bench.record.attempts) == (499, True, 0)
    assert bench.record.waited_ms == 2000, "what never came was waited for, too"


@pytest.mark.parametrize(("in_pieces", "upload_s", "waited_ms"), [(True, 2.8, 2800), (True, 0.005, 0), (False, 2.8, 0)])
async def test_a_body_that_comes_slowly_is_waited_for_and_takes_no_other_wait_away(
    in_pieces: bool, upload_s: float, waited_ms: int
) -> None:
    bench = Bench(CHAT, ("other", "openai_chat"), retries=RetryPolicy(max_wait_s=5.0))
    for adapter, retry_after in zip(bench.adapters, ("2", "3"), strict=True):
        failing(adapter, 429, retry_after=retry_after)
    bench.adapters[0].replies(completion())

    class Slow(ListClient):
        async def read_body(self, limit_bytes: int, make_room: Callable[[int], Awaitable[None]]) -> bytes:
            bench.clock.now_s += upload_s
            self.in_pieces = in_pieces
            return await super().read_body(limit_bytes, make_room)

    client = Slow(chat())
    await bench.gateway.serve(bench.call(), client)
    assert (client.status, bench.record.notes) == (200, ("waited",))
    assert waited_ms + 2000 <= bench.record.waited_ms <= waited_ms + 2500


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": None, "completion_tokens": None}, {"prompt_tokens_details": {"cached_tokens": 0}}])
async def test_usage_that_names_no_count_is_none(usage: dict[str, Any], stream: bool) -> None:
    bench = Bench(CHAT)
    if stream:
        bench.adapters[0].streams(sse(ROLE, delta("a", finish="stop"), {**USAGE, "usage": usage}, DONE))
    else:
        bench.adapters[0].replies(json.dumps({**json.loads(completion()), "usage": usage}).encode())
    await bench.send(chat(stream=stream))
    assert bench.record.usage_missing


@pytest.mark.parametrize("upstream", [CHAT, GEMINI])
async def test_a_stream_does_not_keep_what_was_asked(upstream: tuple[str, str]) -> None:
    bench = Bench(upstream)
    if upstream is CHAT:
        bench.adapters[0].streams(sse(ROLE, delta("a")), sse(delta("b", finish="stop"), USAGE, DONE))
    else:
        bench.adapters[0].streams(sse(gemini({"text": "a"}, finish=None)), sse(gemini({"text": "b"})))
    kept: list[tuple[bytes, object]] = []

    class Watcher(ListClient):
        def write(self, data: bytes) -> Awaitable[None] | None:
            kept.append((call.body, call.request))
            return super().write(data)

    body, call = chat(stream=True), bench.call()
    client = Watcher(body)
    await bench.gateway.serve(call, client)
    assert client.status == 200
    assert kept[-1] == (b"", None)
    assert bench.record.request_bytes == len(body)


async def test_a_body_that_does_not_come_in_time_is_refused_and_the_client_told() -> None:
    bench = Bench(CHAT, timeouts=Timeouts(first_byte_s=0.02))

    class Dawdler(ListClient):
        async def read_body(self, limit_bytes: int, make_room: Callable[[int], Awaitable[None]]) -> bytes:
            await asyncio.sleep(10)
            return b""

    client = Dawdler(b"")
    await bench.gateway.serve(bench.call(), client)
    assert (client.status, json.loads(client.body)["error"]["code"]) == (408, "request_timeout")
    assert (bench.record.status, bench.record.error_code, bench.record.attempts) == (408, "request_timeout", 0)


async def test_a_call_that_hangs_behind_its_deadline_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fkproxy.gateway._EXPIRE_AFTER_S", 0.05)
    bench = Bench(CHAT, timeouts=Timeouts(first_byte_s=0.1, total_s=0.1))

    class Sleeper(ListClient):
        async def finish(self, data: bytes = b"") -> None:
            await asyncio.sleep(10)

    calls = [bench.call() for _ in range(3)]
    for _ in calls:
        bench.adapters[0].replies(completion())
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*(bench.gateway.serve(call, Sleeper(chat())) for call in calls))
    assert 0.15 <= asyncio.get_running_loop().time() - began < 5.0
    assert [record.error_code for record in bench.records] == ["timeout"] * 3
    assert bench.gateway.in_flight == 0
    bench.adapters[0].replies(completion())
    client = ListClient(chat())
    await bench.gateway.serve(bench.call(), client)
    assert client.status == 200, "one that comes later is not"


class Loop:
    """Its time, and what is to be called; nothing is by itself."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.looks: list[Callable[[], None]] = []

    def time(self) -> float:
        return self.now_s

    def call_later(self, delay_s: float, callback: Callable[..., None], *given: Any) -> None:
        self.looks.append(partial(callback, *given))


class Cancelled:
    """A task that counts how often it was."""

    times = 0

    def cancel(self) -> None:
        self.times += 1


@pytest.mark.parametrize(("limits", "due_s"), [(Timeouts(first_byte_s=5.0, total_s=50.0), 5.0), (Timeouts(total_s=50.0), 55.0)])
def test_a_call_is_cut_off_once_by_one_look_at_all_of_them(limits: Timeouts, due_s: float) -> None:
    loop, expiries = cast("Any", Loop()), _Expiries()
    tasks = [cast("Any", Cancelled()) for _ in range(3)]
    begun = [expiries.begin(loop, cast("Any", None), task, limits) for task in tasks]
    expiries.end(begun[2])
    for now_s, times in ((due_s - 1.0, 0), (due_s, 1), (due_s + 1.0, 1)):
        loop.now_s = now_s
        looks, loop.looks = loop.looks, []
        assert len(looks) <= 1
        for look in looks:
            look()
        assert [task.times for task in tasks] == [times, times, 0]
    assert (loop.looks, expiries._open) == ([], set())


async def test_the_time_for_the_body_is_no_limit_for_what_comes_after_it() -> None:
    bench = Bench(CHAT, timeouts=Timeouts(first_byte_s=0.02))

    class Reader(ListClient):
        async def start(self, status: int, headers: Headers) -> None:
            await asyncio.sleep(0.1)
            await super().start(status, headers)

    bench.adapters[0].replies(completion())
    client = Reader(chat())
    await bench.gateway.serve(bench.call(), client)
    assert (client.status, bench.record.status) == (200, 200)


# --- what counts against a key's limits when it is over

TERMS = Terms(timeouts=Timeouts(), pricing=Pricing(own={"adviser": Rates(input=5.0, output=50.0), "*": Rates(input=1.0, output=10.0)}))
QUESTION = json.dumps({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}).encode()


def limited(dialect: str, **limits: Any) -> Bench:
    return Bench(("up", dialect), terms=TERMS, directory=directory(key(limits=KeyLimits(**limits))))


def spent(bench: Bench) -> Spent:
    return next(each for each in bench.gateway.clientele.spent()["key-a"] if each.window == "day")


def charged(bench: Bench) -> tuple[int, float | None]:
    """What the record of the last call says."""
    return bench.record.total_tokens, bench.record.cost_usd


async def hang_up(bench: Bench, body: bytes, dialect: str, hang: Hang) -> ListClient | None:
    """A client that leaves when the upstream is silent; None, it was let in."""
    client = ListClient(body)
    task = asyncio.create_task(bench.gateway.serve(call(bench, dialect), client))
    reached = asyncio.create_task(hang.reached.wait())
    await asyncio.wait((task, reached), return_when=asyncio.FIRST_COMPLETED)
    reached.cancel()
    if task.done():
        return client
    client.gone = True
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None


@pytest.mark.parametrize(("made", "tokens", "usd"), [(60_000, 60_400, 0.6004), (5, 400 + 1024, 0.01064)])
async def test_who_hangs_up_pays_what_was_used_until_then_and_what_was_expected_at_least(made: int, tokens: int, usd: float) -> None:
    bench, hang = limited("gemini", spend_usd_per_day=1.0), Hang()
    usage = {"promptTokenCount": 400, "candidatesTokenCount": made, "totalTokenCount": 400 + made}
    piece = {"candidates": [{"content": {"parts": [{"text": "much"}], "role": "model"}}], "usageMetadata": usage}
    bench.adapters[0].streams(b"data: " + json.dumps(piece).encode() + b"\n\n", hang)
    assert await hang_up(bench, QUESTION, "gemini", hang) is None
    assert bench.record.client_ended
    assert (spent(bench).tokens, spent(bench).usd) == (tokens, pytest.approx(usd)) == charged(bench)
    assert bench.record.notes == (() if made == 60_000 else ("usage_estimated",))


@pytest.mark.parametrize(("events", "made"), [(3000, None), (3, 1024)])
async def test_who_hangs_up_before_the_usage_pays_for_what_has_come(events: int, made: int | None) -> None:
    bench, hang = limited("openai_chat", spend_usd_per_day=1.0), Hang()
    event = delta(content=" word", refusal=None, padding="x" * 200)
    bench.adapters[0].streams(sse(ROLE, *[event] * events), hang)
    body = chat(stream=True)
    assert await hang_up(bench, body, "openai_chat", hang) is None
    assert (bench.record.client_ended, bench.record.notes) == (True, ("usage_estimated",))
    given, made = len(body) // 4, made or events + 1  # the role
    assert (spent(bench).tokens, spent(bench).usd) == (given + made, pytest.approx((given + made * 10) / 1e6)) == charged(bench)


@pytest.mark.parametrize("left", [False, True])
async def test_what_another_model_did_for_a_reply_counts_at_its_own_price_also_when_the_client_leaves(left: bool) -> None:
    bench, hang = limited("anthropic", spend_usd_per_day=1.0), Hang()
    attempts = [("message", None, 400, 80), ("advisor_message", "adviser", 800, 1600), ("message", None, 500, 20)]
    iterations = [{"type": kind, "model": model, "input_tokens": given, "output_tokens": made} for kind, model, given, made in attempts]
    told = {"type": "message_delta", "delta": {"stop_reason": None}, "usage": {"output_tokens": 100, "iterations": iterations}}
    ended = [{**told, "delta": {"stop_reason": "end_turn"}}, {"type": "message_stop"}]
    came, end = (b"".join(encode_event(event["type"], json.dumps(event).encode()) for event in part) for part in ([told], ended))
    bench.adapters[0].streams(begun("anthropic") + came, *([hang] if left else [end]))
    body = asking("anthropic", max_tokens=2000)
    if left:
        assert await hang_up(bench, body, "anthropic", hang) is None
    else:
        assert (await send(bench, body, "anthropic")).status == 200
    record = bench.record
    said_usd = (900 + 100 * 10 + 800 * 5 + 1600 * 50) * 1e-6
    more = 2000 - 1700 if left else 0
    assert record.usage is not None
    assert (record.client_ended, record.usage.total_tokens, record.usage.parts) == (left, 1700 + 1700 + more, ())
    assert (spent(bench).tokens, spent(bench).usd) == (3400 + more, pytest.approx(said_usd + more * 10e-6)) == charged(bench)


async def test_a_stream_whose_upstream_counts_nothing_counts_as_what_has_come() -> None:
    bench = limited("openai_chat", tokens_per_day=1_000_000)
    bench.adapters[0].streams(sse(ROLE, *[delta(content=" word")] * 4000, DONE))
    body = chat(stream=True)
    assert (await send(bench, body)).status == 200
    assert spent(bench).tokens == len(body) // 4 + 4000 + 2


_ENCODED = "A" * 1_500_000
_LOGPROB = {"token": " word", "logprob": -0.123456789, "bytes": [32, 119, 111, 114, 100]}
_DRAWN = gemini({"inlineData": {"mimeType": "image/png", "data": _ENCODED}}, finish=None)
_DRAWN["usageMetadata"] = {"promptTokenCount": 5, "candidatesTokenCount": 1290, "totalTokenCount": 1295}
_PARTIAL = {"type": "response.image_generation_call.partial_image", "output_index": 0, "partial_image_b64": _ENCODED}
_SPOKEN = {**delta(), "choices": [{"index": 0, "delta": {"audio": {"id": "a", "data": _ENCODED}}, "finish_reason": None}]}
_LIKELY = {
    **delta(),
    "choices": [{**delta(" word")["choices"][0], "logprobs": {"content": [{**_LOGPROB, "top_logprobs": [_LOGPROB] * 20}]}}],
}
BESIDE_TEXT: list[tuple[str, str, list[dict[str, Any]], int]] = [
    ("gemini", "gemini", [_DRAWN], 1290),
    ("gemini", "openai_chat", [_DRAWN], 1290),
    ("openai_responses", "openai_responses", [_PARTIAL], 1024),
    ("openai_chat", "openai_chat", [_SPOKEN], 1024),
    ("openai_chat", "openai_chat", [_LIKELY] * 900, 1024),
]


@pytest.mark.parametrize(("upstream", "dialect", "events", "made"), BESIDE_TEXT)
async def test_what_is_no_text_in_a_stream_that_is_left_counts_as_no_text(
    upstream: str, dialect: str, events: list[dict[str, Any]], made: int
) -> None:
    bench, hang = limited(upstream, tokens_per_day=1_000_000), Hang()
    came = sse(*events)
    bench.adapters[0].streams(begun(upstream) + came[:-40], came[-40:], hang)
    body = asking(dialect)
    assert await hang_up(bench, body, dialect, hang) is None
    assert bench.record.response_bytes > 1_000_000
    assert made < spent(bench).tokens < made * 1.2


@pytest.mark.parametrize("stream", [False, True])
async def test_who_hangs_up_before_a_reply_has_used_tokens_of_the_minute(stream: bool) -> None:
    bench = limited("openai_chat", tokens_per_minute=3000)
    body = chat(max_tokens=1000, stream=stream, user="x" * 4000)
    for refused in (False, True):
        hang = Hang()
        (bench.adapters[0].streams if stream else bench.adapters[0].replies)(hang)
        client = await hang_up(bench, body, "openai_chat", hang)
        assert (client is not None and client.status == 429) is refused


async def test_who_hangs_up_before_anybody_was_asked_has_used_no_tokens() -> None:
    bench = Bench(CHAT, terms=Terms(timeouts=Timeouts(), max_concurrency=1), retries=RetryPolicy(max_wait_s=5.0))
    meters = bench.gateway._meters = TokenMeters(3000)
    upstream = bench.gateway.fleet.upstreams[0]
    upstream.in_flight = 1
    client = ListClient(chat(max_tokens=1000))
    task = asyncio.create_task(bench.gateway.serve(bench.call(), client))
    await until(lambda: len(upstream.waiting) == 1)
    client.gone = True
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert meters.of("peer:None").wait_s(3000, bench.clock.now_s) == 0.0


async def test_a_failure_gives_tokens_of_the_minute_back() -> None:
    bench = limited("openai_chat", tokens_per_minute=3000)
    bench.adapters[0].replies(b'{"error": {"message": "no"}}', status=500)
    await send(bench, chat(max_tokens=1000))
    meter = bench.gateway.clientele._allowances.by_key["key-a"].meter
    assert meter is not None
    assert meter.wait_s(3000, bench.clock.now_s) == 0.0


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({}, "estimate"),
        ({"total_tokens": 600_000}, "estimate"),
        ({"prompt_tokens": 500_000}, 500_000 + 100),
        ({"completion_tokens": 50_000}, "input + 50000"),
        ({"prompt_tokens": 7, "completion_tokens": 5}, 12),
    ],
)
async def test_what_was_not_said_counts_as_it_was_expected(usage: dict[str, int], tokens: int | str) -> None:
    bench = limited("openai_chat", spend_usd_per_day=10.0)
    choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
    bench.adapters[0].replies(json.dumps({"id": "x", "choices": [choice], "usage": usage}).encode())
    body = chat(max_tokens=100)
    assert (await send(bench, body)).status == 200
    given = len(body) // 4
    expected = {"estimate": given + 100, "input + 50000": given + 50_000}.get(str(tokens), tokens)
    assert spent(bench).tokens == expected
    assert spent(bench).usd > 0


@pytest.mark.parametrize("dialect", ["gemini", "anthropic"])
async def test_to_count_tokens_uses_none(dialect: str) -> None:
    bench = limited(dialect, tokens_per_day=1_000_000, tokens_per_minute=1_000_000)
    bench.adapters[0].replies(b'{"totalTokens": 5, "input_tokens": 5}')
    asked = call(bench, dialect)
    if dialect == "gemini":
        asked.target, body = "m:countTokens", QUESTION
    else:
        asked.operation, body = "count_tokens", chat()
    client = ListClient(body)
    await bench.gateway.serve(asked, client)
    assert (client.status, spent(bench).tokens) == (200, 0)


async def test_the_slower_one_of_two_was_sent_the_whole_request() -> None:
    bench = hedging(terms=Terms(timeouts=Timeouts(), tokens_per_minute=100_000))
    late(bench, 0, 5.0)
    late(bench, 1, 0.0)
    await bench.send(chat(max_tokens=4000))
    assert outcomes(bench) == [("a", "abandoned"), ("b", "ok")]
    slower, quicker = (upstream._tokens for upstream in bench.gateway.fleet.upstreams)
    assert slower is not None
    assert quicker is not None
    now = bench.gateway._now()
    assert slower.wait_s(100_000, now) > quicker.wait_s(100_000, now)


# --- what is not begun, and what goes on


async def test_what_the_pipeline_need_not_see_leaves_its_record_all_the_same() -> None:
    bench, client = Bench(CHAT), ListClient(b"")
    await bench.gateway.refuse(bench.call(), client, MethodNotAllowed("GET", ("POST",)))
    assert (client.status, client.headers["allow"]) == (405, "POST")
    assert [(record.status, record.error_code) for record in bench.records] == [(405, "method_not_allowed")]


async def test_a_reply_that_nobody_could_fetch_is_not_begun() -> None:
    bench = limited("openai_responses")
    client = await send(bench, b'{"model": "m", "input": "x", "background": true}', "openai_responses")
    assert (client.status, bench.record.error_code) == (400, "invalid_request")
    assert not bench.adapters[0].calls


async def test_who_waits_when_a_key_loses_its_limit_goes_on() -> None:
    bench = limited("openai_chat", max_concurrency=1)
    hangs = [Hang(), Hang()]
    for hang in hangs:
        bench.adapters[0].replies(hang)
    tasks = [asyncio.create_task(bench.gateway.serve(call(bench), ListClient(chat()))) for _ in hangs]
    await hangs[0].reached.wait()
    bench.gateway.clientele.replace(directory(key()))
    async with asyncio.timeout(1):
        await hangs[1].reached.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_who_waits_when_a_key_may_have_no_calls_any_more_is_not_let_in() -> None:
    bench, hang = limited("openai_chat", max_concurrency=1), Hang()
    bench.adapters[0].replies(hang)
    clients = [ListClient(chat()) for _ in range(2)]
    tasks = [asyncio.create_task(bench.gateway.serve(call(bench), client)) for client in clients]
    await hang.reached.wait()
    bench.gateway.clientele.replace(directory(key(limits=KeyLimits(max_concurrency=0))))
    async with asyncio.timeout(1):
        await tasks[1]
    assert (clients[1].status, len(bench.adapters[0].calls)) == (429, 1)
    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# --- what is kept of it


async def test_what_nobody_served_is_not_kept_by_way_of_who_was_passed_over() -> None:
    bench = limited("openai_chat")
    bench.gateway.fleet.upstreams[0].standing.pause()
    await send(bench, chat("my canary text"))
    assert bench.record.skipped
    assert b"canary" not in EntryEncoder().encode(bench.record)


@pytest.mark.parametrize("kind", ["canary, said by the upstream", "canary" * 10])
async def test_a_block_that_nobody_knows_is_not_named_in_its_own_words(kind: str) -> None:
    bench = limited("anthropic")
    message = {"id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn", "usage": {}}
    bench.adapters[0].replies(json.dumps({**message, "content": [{"type": kind}, {"type": "text", "text": "a"}]}).encode())
    client = await send(bench, chat())
    assert bench.record.losses == ("reply.other",)
    assert client.headers["x-fkproxy-losses"] == "reply.other"


async def test_a_wait_that_nobody_can_mean_is_not_told() -> None:
    bench = limited("gemini")
    error = b'{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "no"}}'
    bench.adapters[0].replies(error, status=429, retry_after="1e300")
    assert "retry-after" not in (await send(bench, chat())).headers


@pytest.mark.parametrize("body", [{"max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}, {"messages": 7, "stream": True}])
async def test_every_reply_tells_its_id_where_the_clients_of_its_dialect_look_for_it(body: dict[str, Any]) -> None:
    bench = Bench(CHAT)
    bench.adapters[0].replies(completion())
    client = await bench.send(json.dumps({"model": "m", **body}).encode(), "anthropic")
    assert client.headers["request-id"] == client.headers["x-request-id"] == bench.record.request_id


def test_a_record_has_each_thing_in_its_place() -> None:
    bench = Bench(CHAT)
    made = bench.call()
    same = [name for name in CallRecord.__struct_fields__ if name in Call.__slots__ and name not in ("dialect", "losses", "usage")]
    for name in same:
        setattr(made, name, f"the {name}")
    made.caller = Caller("the key", "the prefix", "the pool")
    made.asked_model, made.recorded_losses = "asked", ("lost",)
    made.waited_s, made.upstream_s, made.ttft_s = 1.0, 2.0, 3.0
    made.error = MethodNotAllowed("GET", ("POST",))
    bench.clock.now_s += 4.0
    bench.gateway.record(made, client_gone=True)
    record = bench.record
    assert {name: getattr(record, name) for name in same} == {name: f"the {name}" for name in same}
    assert (record.dialect, record.stream, record.model_requested, record.losses) == ("openai_chat", False, "asked", ("lost",))
    assert (record.waited_ms, record.upstream_ms, record.ttft_ms, record.duration_ms) == (1000, 2000, 3000, 4000)
    assert (record.key_id, record.key_prefix, record.pool, record.client_ended) == ("the key", "the prefix", "the pool", True)
    assert (record.error_code, record.skipped, record.cost_usd) == (made.error.code, (), None)
