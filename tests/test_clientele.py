"""Calls with keys of pools: who is let in, where to, for how much, and when that ends."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.directory import ClientKey, KeyLimits, Pool
from fkproxy.model.errors import UpstreamUnavailable
from fkproxy.model.request import ReasoningConfig
from fkproxy.telemetry.prices import Pricing, Rates
from fkproxy.turnstile import Turnstile
from fkproxy.upstream import Terms
from fkproxy.wire.sse import encode_event
from tests.fakes.keys import GOLDEN, SPOKEN, asking, call, code_of, directory, key, nothing_is_left, raw, send
from tests.fakes.pipeline import KEY, Bench, Hang, ListClient, Pause, Timeouts
from tests.test_call import limited, spent
from tests.test_gateway import ROLE, chat, completion, delta, sse

pytestmark = pytest.mark.leaps

CHAT = ("compatible", "openai_chat")
SECOND = ("second", "openai_chat")


# --- the door


@pytest.mark.parametrize("dialect", SPOKEN)
@pytest.mark.parametrize(
    ("keys", "pools", "presented", "status", "code", "key_id"),
    [
        (key(), Pool(name="team"), None, 401, "invalid_api_key", None),
        (key(), Pool(name="team"), b"sk-fk-unknown", 401, "invalid_api_key", None),
        (key(state="revoked"), Pool(name="team"), raw("a"), 401, "invalid_api_key", "key-a"),
        (key(expires_s=1.0), Pool(name="team"), raw("a"), 401, "key_expired", "key-a"),
        (key(state="paused"), Pool(name="team"), raw("a"), 403, "key_paused", "key-a"),
        (key(), Pool(name="team", state="paused"), raw("a"), 403, "pool_inactive", "key-a"),
        (key(), Pool(name="team", state="archived"), raw("a"), 403, "pool_inactive", "key-a"),
        (key(), Pool(name="elsewhere"), raw("a"), 403, "pool_inactive", "key-a"),
        (key(), Pool(name="team"), KEY.encode(), 403, "administrator_key", None),
        (key(models=("other",)), Pool(name="team"), raw("a"), 403, "model_not_allowed", "key-a"),
        (key(), Pool(name="team", models=("other",)), raw("a"), 403, "model_not_allowed", "key-a"),
        (key(), Pool(name="team", upstreams=("gone",)), raw("a"), 503, "service_unavailable", "key-a"),
        (key(limits=KeyLimits(requests_per_minute=0)), Pool(name="team"), raw("a"), 429, "rate_limit_exceeded", "key-a"),
        (key(limits=KeyLimits(tokens_per_minute=0)), Pool(name="team"), raw("a"), 429, "rate_limit_exceeded", "key-a"),
        (key(limits=KeyLimits(max_concurrency=0)), Pool(name="team"), raw("a"), 429, "concurrency_exceeded", "key-a"),
        (key(limits=KeyLimits(tokens_per_week=0)), Pool(name="team"), raw("a"), 429, "token_budget_exceeded", "key-a"),
        (key(limits=KeyLimits(spend_usd_per_day=0)), Pool(name="team"), raw("a"), 429, "spend_budget_exceeded", "key-a"),
    ],
)
async def test_who_is_not_served_hears_why_in_its_own_dialect(
    keys: ClientKey, pools: Pool, presented: bytes | None, status: int, code: str, key_id: str | None, dialect: str
) -> None:
    bench = Bench(CHAT, directory=directory(keys, key("other", pool="elsewhere"), pools=(pools,)))
    client = await send(bench, asking(dialect), dialect, presented)
    assert (client.status, code_of(client)) == (status, code)
    assert ("www-authenticate" in client.headers) is (status == 401)
    assert "retry-after" not in client.headers, "waiting would not help"
    record = bench.record
    assert (record.status, record.error_code) == (status, code)
    good = status in (429, 503) or code == "model_not_allowed"
    assert record.auth == ("key" if good else "refused"), "a key at its limit is a good one"
    if key_id is not None:
        assert (record.key_id, record.pool, record.key_prefix) == (key_id, "team", "sk-fk-a")
    assert not bench.adapters[0].calls
    assert nothing_is_left(bench)


# --- where to, and what


async def test_a_call_goes_to_its_pools_upstreams_and_is_written_down_with_its_key() -> None:
    pools = (Pool(name="team", upstreams=("second",)), Pool(name="all"))
    bench = Bench(CHAT, SECOND, directory=directory(key(), key("b", pool="all"), pools=pools))
    bench.adapters[1].replies(completion())
    bench.adapters[0].replies(completion())
    assert (await send(bench, chat())).status == 200
    record = bench.record
    assert (record.auth, record.key_id, record.pool, record.key_prefix, record.provider_key) == (
        "key",
        "key-a",
        "team",
        "sk-fk-a",
        "second",
    )
    await send(bench, chat(), presented=raw("b"))
    assert (bench.record.pool, bench.record.provider_key) == ("all", "compatible")
    assert set(bench.gateway.clientele.last_used()) == {"key-a", "key-b"}
    assert nothing_is_left(bench)


async def test_pools_share_what_is_known_of_an_upstream() -> None:
    pools = (Pool(name="team", upstreams=("compatible",)), Pool(name="all"))
    bench = Bench(CHAT, SECOND, failure_threshold=1, directory=directory(key(), key("b", pool="all"), pools=pools))
    bench.adapters[0].replies(b"broken", status=500)
    bench.adapters[1].replies(completion())
    assert (await send(bench, chat())).status == 502
    assert (await send(bench, chat(), presented=raw("b"))).status == 200
    assert [(skipped.upstream, skipped.reason) for skipped in bench.record.skipped] == [("compatible", "circuit_open")]


async def test_a_reload_reaches_every_pool_and_calls_under_way_keep_their_fleet() -> None:
    bench = Bench(CHAT, directory=directory(key()))
    hang = Hang()
    bench.adapters[0].replies(hang, completion())
    client = ListClient(chat())
    task = asyncio.create_task(bench.gateway.serve(call(bench), client))
    await hang.reached.wait()
    before = bench.gateway.fleet_of("team")
    bench.gateway.fleet = bench.fleet(Terms(timeouts=Timeouts()))
    assert bench.gateway.fleet_of("team").upstreams == bench.gateway.fleet.upstreams
    assert before.upstreams[0].in_flight == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert before.upstreams[0].in_flight == 0


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_an_enforced_model_is_what_the_upstream_is_asked_for(dialect: str) -> None:
    bench = Bench(("own", dialect), directory=directory(key(enforced_model="better")))
    bench.adapters[0].streams((GOLDEN / dialect / "text_streamed" / "response.sse").read_bytes())
    assert (await send(bench, asking(dialect), dialect)).status == 200
    asked = bench.adapters[0].calls[0]
    assert asked.model == "better"
    assert json.loads(asked.body).get("model", "better") == "better"
    record = bench.record
    assert (record.model_id, record.notes) == ("better", ("enforced_model:better",))
    assert record.model_requested not in ("better", None)


@pytest.mark.parametrize("body", [chat("model-b"), chat("model-b(high)"), chat("model-a")])
async def test_an_enforced_model_is_the_one_that_the_policy_is_about(body: bytes) -> None:
    bench = Bench(CHAT, directory=directory(key(enforced_model="model-a", models=("model-b",))))
    client = await send(bench, body)
    assert (client.status, code_of(client)) == (403, "model_not_allowed")


BESIDE: list[tuple[str, dict[str, Any]]] = [
    ("openai_chat", {"models": ["MODEL"]}),
    ("openai_chat", {"tools": [{"type": "openrouter:advisor", "parameters": {"model": "MODEL"}}]}),
    ("openai_chat", {"tools": [{"type": "openrouter:fusion", "parameters": {"analysis_models": ["m1", "MODEL"]}}]}),
    ("openai_chat", {"plugins": [{"id": "fusion", "model": "m1", "analysis_models": ["MODEL"]}]}),
    ("openai_completions", {"models": ["MODEL"]}),
    ("openai_responses", {"tools": [{"type": "image_generation", "model": "MODEL"}]}),
    ("openai_responses", {"tools": [{"type": "namespace", "name": "a", "tools": [{"type": "image_generation", "model": "MODEL"}]}]}),
    ("anthropic", {"fallbacks": [{"model": "MODEL"}]}),
    ("anthropic", {"tools": [{"type": "advisor_20260301", "name": "advisor", "model": "MODEL"}]}),
]


@pytest.mark.parametrize("keys", [key(models=("m*", "claude-haiku*", "gpt-4o*")), key(enforced_model="m1")], ids=["models", "enforced"])
@pytest.mark.parametrize(("escaped", "named", "status"), [(False, "m1", 200), (False, "dear", 403), (True, "dear", 403)])
@pytest.mark.parametrize(("dialect", "fields"), BESIDE)
async def test_a_key_names_no_other_model_that_it_may_not_ask_for(
    dialect: str, fields: dict[str, Any], escaped: bool, named: str, status: int, keys: ClientKey
) -> None:
    bench = Bench(("own", "openai_chat" if dialect == "openai_completions" else dialect), directory=directory(keys))
    replies = dialect if dialect != "openai_completions" else "openai_chat"
    bench.adapters[0].streams((GOLDEN / replies / "text_streamed" / "response.sse").read_bytes())
    beside = json.loads(json.dumps(fields).replace("MODEL", named))
    body = asking(dialect, model="m1", **beside)
    if escaped:
        for name in (b"model", b"fallbacks", b"tools", b"plugins", b"analysis_models"):
            body = body.replace(b'"' + name, b'"\\u00%02x' % name[0] + name[1:])
    client = await send(bench, body, dialect)
    assert client.status == status
    if status == 403:
        assert (code_of(client), named.encode() in client.body) == ("model_not_allowed", True)
        assert not bench.adapters[0].calls


async def test_what_a_key_may_ask_for_behind_a_prefix_it_may_name_as_the_vendor_does() -> None:
    bench = Bench(CHAT, directory=directory(key(models=("compatible/*",))))
    for other, status in (("vendor/m2", 200), ("m2", 200)):
        bench.adapters[0].replies(completion())
        assert (await send(bench, chat("compatible/vendor/m1", models=[other]))).status == status
    bench = Bench(CHAT, directory=directory(key(), pools=(Pool(name="team", excluded_models=("compatible/dear",)),)))
    bench.adapters[0].replies(completion())
    assert (await send(bench, chat("compatible/m1", models=["dear"]))).status == 403


HIDDEN: list[tuple[str, dict[str, Any], tuple[bytes, bytes]]] = [
    ("gemini", {"generationConfig": {"thinkingConfig": {"thinkingBudget": "20000"}}}, (b"", b"")),
    ("gemini", {"generationConfig": {"thinkingConfig": {"thinkingBudget": 2e4}}}, (b"", b"")),
    ("gemini", {"generationConfig": {"thinkingConfig": {"thinkingBudget": "all"}}}, (b"", b"")),
    ("gemini", {"generationConfig": {"thinkingConfig": {"thinkingBudget": True}}}, (b"", b"")),
    ("gemini", {"generationConfig": {"thinkingConfig": {"thinkingBudget": 20000}}}, (b'"thinking', b'"\\u0074hinking')),
    ("gemini", {"generationConfig": {}, "generation_config": {"thinking_config": {"thinking_level": "HIGH"}}}, (b"", b"")),
    ("gemini", {"generationConfig": {"thinkingConfig": {"thinkingLevel": "low", "thinkingBudget": 20000}}}, (b"", b"")),
    ("anthropic", {"max_tokens": 32000, "thinking": {"type": "enabled", "budget_tokens": 20000}}, (b'"thinking"', b'"\\u0074hinking"')),
    ("anthropic", {"max_tokens": 32000, "thinking": {"type": "enabled", "budget_tokens": 20000.5}}, (b"", b"")),
    ("openai_chat", {"model": "gpt-5", "reasoning_effort": "high"}, (b'"reasoning', b'"\\u0072easoning')),
    ("openai_chat", {"model": "gpt-5", "reasoning_effort": "high", "reasoning": "x"}, (b"", b"")),
    ("openai_responses", {"reasoning": {"effort": "high"}}, (b'"effort"', b'"\\u0065ffort"')),
]


@pytest.mark.parametrize(("dialect", "asked", "spelt"), HIDDEN)
async def test_nothing_gets_round_what_a_key_may_think(dialect: str, asked: dict[str, Any], spelt: tuple[bytes, bytes]) -> None:
    bench = Bench(("own", dialect), directory=directory(key(maximum_thinking="low")))
    bench.adapters[0].streams((GOLDEN / dialect / "text_streamed" / "response.sse").read_bytes())
    body = asking(dialect, **asked).replace(*spelt) if spelt[0] else asking(dialect, **asked)
    assert (await send(bench, body, dialect)).status == 200
    sent = json.loads(bench.adapters[0].calls[0].body)
    assert thought(json.dumps(sent).encode()) == LITTLE[dialect]
    assert not sent.get("generation_config")
    assert bench.record.notes == ("maximum_thinking:effort low",)


def thought(body: bytes) -> Any:
    """What a request says about thinking, in its dialect's own field."""
    fields = json.loads(body)
    generation = fields.get("generationConfig", {})
    return fields.get("reasoning_effort") or fields.get("thinking") or fields.get("reasoning") or generation.get("thinkingConfig")


MUCH: dict[str, dict[str, Any]] = {
    "openai_chat": {"reasoning_effort": "high"},
    "openai_responses": {"reasoning": {"effort": "high"}},
    "anthropic": {"thinking": {"type": "enabled", "budget_tokens": 20000}},
    "gemini": {"generationConfig": {"thinkingConfig": {"thinkingBudget": 20000}}},
}
ABLE: dict[str, dict[str, Any]] = {"openai_chat": {"model": "gpt-5"}, "anthropic": {"max_tokens": 32000}}
"""What makes a request one that may think."""
LITTLE: dict[str, Any] = {
    "openai_chat": "low",
    "openai_responses": {"effort": "low"},
    "anthropic": {"type": "enabled", "budget_tokens": 1024},
    "gemini": {"thinkingBudget": 1024, "includeThoughts": True},
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("policy", "asked", "lowered", "note"),
    [
        ({"maximum_thinking": "low"}, True, True, ("maximum_thinking:effort low",)),
        ({"maximum_thinking": "max"}, True, False, ()),
        ({"maximum_thinking": "low"}, False, False, ()),
        ({"enforced_thinking": "low"}, True, True, ("enforced_thinking:effort low",)),
        ({"enforced_thinking": "low"}, False, True, ("enforced_thinking:effort low",)),
    ],
)
async def test_thinking_is_what_the_key_allows_also_where_bytes_pass_through(
    policy: dict[str, str], asked: bool, lowered: bool, note: tuple[str, ...], dialect: str
) -> None:
    bench = Bench(("own", dialect), directory=directory(key(**policy)))
    bench.adapters[0].streams((GOLDEN / dialect / "text_streamed" / "response.sse").read_bytes())
    body = asking(dialect, **ABLE.get(dialect, {}), **MUCH[dialect] if asked else {})
    assert (await send(bench, body, dialect)).status == 200
    sent = bench.adapters[0].calls[0].body
    assert thought(sent) == (LITTLE[dialect] if lowered else thought(body))
    record = bench.record
    assert record.notes == note
    assert (record.reasoning_requested is not None) is asked
    assert (record.reasoning_applied is not None) is (asked or lowered)
    assert lowered == (record.reasoning_applied != record.reasoning_requested)


async def test_a_suffix_is_lowered_too_and_so_is_the_providers_default() -> None:
    policy = directory(key(maximum_thinking="low"))
    bench = Bench(CHAT, directory=policy)
    bench.adapters[0].replies(completion())
    await send(bench, chat("m(high)"))
    assert json.loads(bench.adapters[0].calls[0].body)["reasoning_effort"] == "low"
    assert json.loads(bench.adapters[0].calls[0].body)["model"] == "m"
    by_default = Bench(CHAT, directory=policy, terms=Terms(timeouts=Timeouts(), reasoning=ReasoningConfig(effort="high")))
    by_default.adapters[0].replies(completion())
    await send(by_default, chat())
    assert json.loads(by_default.adapters[0].calls[0].body)["reasoning_effort"] == "low"
    assert by_default.record.notes == ("default_thinking:effort low",)


# --- how much


async def test_a_keys_own_bucket_stands_in_place_of_the_one_for_all() -> None:
    limits = KeyLimits(requests_per_minute=2)
    bench = Bench(CHAT, capacity=1, directory=directory(key(limits=limits), key("b")))
    for _ in range(2):
        bench.adapters[0].replies(completion())
    replies = [await send(bench, chat()) for _ in range(3)]
    assert [client.status for client in replies] == [200, 200, 429]
    assert [client.headers["x-ratelimit-limit"] for client in replies] == ["2"] * 3
    assert [client.headers["x-ratelimit-remaining"] for client in replies] == ["1", "0", "0"]
    assert replies[2].headers["retry-after"] == "30"
    assert "2 requests a minute" in json.loads(replies[2].body)["error"]["message"]
    bench.adapters[0].replies(completion())
    others = [await send(bench, chat(), presented=raw("b")) for _ in range(2)]
    assert [(client.status, client.headers["x-ratelimit-limit"]) for client in others] == [(200, "1"), (429, "1")]


@pytest.mark.parametrize("dialect", SPOKEN)
@pytest.mark.parametrize(
    ("limits", "code", "words"),
    [
        ({"tokens_per_minute": 1000}, "rate_limit_exceeded", "1000 tokens a minute"),
        ({"tokens_per_day": 1000}, "token_budget_exceeded", "1000 tokens a day"),
        ({"tokens_per_week": 1000}, "token_budget_exceeded", "1000 tokens a week"),
        ({"spend_usd_per_day": 0.5}, "spend_budget_exceeded", "0.5 USD a day"),
        ({"spend_usd_per_month": 0.5}, "spend_budget_exceeded", "0.5 USD a month"),
    ],
)
async def test_what_is_used_up_is_refused_until_it_is_back(limits: dict[str, Any], code: str, words: str, dialect: str) -> None:
    priced = Terms(timeouts=Timeouts(), pricing=Pricing(own={"*": Rates(input=100_000.0, output=100_000.0)}))
    bench = Bench(CHAT, terms=priced, directory=directory(key(limits=KeyLimits(**limits))))
    bench.adapters[0].streams(sse(ROLE, delta("a"), delta(finish="stop"), USED, DONE))
    assert (await send(bench, asking(dialect), dialect)).status == 200
    client = await send(bench, asking(dialect), dialect)
    assert (client.status, code_of(client)) == (429, code)
    assert words in json.loads(client.body)["error"]["message"]
    waits = {"minute": 480, "day": 12 * 3600, "week": 4.5 * 86400, "month": 12.5 * 86400}
    assert int(client.headers["retry-after"]) == waits[words.rsplit(" ", 1)[1]]
    assert len(bench.adapters[0].calls) == 1
    assert nothing_is_left(bench)


USED = {**delta(), "choices": [], "usage": {"prompt_tokens": 4000, "completion_tokens": 4000, "total_tokens": 8000}}
DONE = b"[DONE]"


async def test_many_calls_at_once_cannot_pass_a_budget_together() -> None:
    bench = Bench(CHAT, directory=directory(key(limits=KeyLimits(tokens_per_day=5000))))
    hangs = [Hang() for _ in range(20)]
    for hang in hangs:
        bench.adapters[0].replies(hang, completion())
    clients = [ListClient(chat(max_tokens=1000)) for _ in hangs]
    tasks = [asyncio.create_task(bench.gateway.serve(call(bench), client)) for client in clients]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    refused = [client for client in clients if client.status == 429]
    assert len(refused) == 16
    assert {client.headers["retry-after"] for client in refused} == {"1"}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert nothing_is_left(bench)


async def test_the_keys_own_concurrency_waits_in_turn_and_then_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(CHAT, directory=directory(key(limits=KeyLimits(max_concurrency=1)), key("b")))
    real = Turnstile.wait

    async def wait(turnstile: Turnstile, payer: str) -> None:
        bench.clock.now_s += 2.0
        await real(turnstile, payer)

    monkeypatch.setattr(Turnstile, "wait", wait)
    hang = Hang()
    bench.adapters[0].replies(hang, completion())
    task = asyncio.create_task(bench.gateway.serve(call(bench), ListClient(chat())))
    await hang.reached.wait()
    client = await send(bench, chat())
    assert (client.status, code_of(client)) == (429, "concurrency_exceeded")
    assert bench.record.waited_ms == 2000, "the turn is none of what the gateway adds"
    bench.adapters[0].replies(completion())
    assert (await send(bench, chat(), presented=raw("b"))).status == 200
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    bench.adapters[0].replies(completion())
    assert (await send(bench, chat())).status == 200
    assert nothing_is_left(bench)


@pytest.mark.parametrize(
    ("reply", "tokens", "usd"),
    [
        ([sse(ROLE, delta("a"), delta(finish="stop"), USED, DONE)], 8000, 0.008),
        ([sse(ROLE, delta("a"), delta(finish="stop"), DONE)], "estimate", "estimate"),
        ([sse(ROLE, delta("a")), ConnectionResetError()], "estimate", "estimate"),
        ([b"no event"], 0, 0.0),
    ],
)
async def test_what_a_call_used_is_booked_once(reply: list[Any], tokens: Any, usd: Any) -> None:
    priced = Terms(timeouts=Timeouts(), pricing=Pricing(own={"*": Rates(input=1.0, output=1.0)}))
    bench = Bench(CHAT, terms=priced, directory=directory(key(limits=KeyLimits(tokens_per_day=100_000, spend_usd_per_day=1.0))))
    bench.adapters[0].streams(*reply)
    body = chat(stream=True, max_tokens=100)
    await send(bench, body)
    spent = bench.gateway.clientele.spent()["key-a"][0]
    estimate = len(body) // 4 + 100
    assert spent.tokens == (estimate if tokens == "estimate" else tokens)
    assert spent.usd == pytest.approx(estimate / 1e6 if usd == "estimate" else usd)
    assert nothing_is_left(bench)


async def test_what_was_used_before_this_process_is_told_to_it() -> None:
    bench = Bench(CHAT, directory=directory(key(limits=KeyLimits(tokens_per_day=5000)), key("b")))
    clientele = bench.gateway.clientele
    clientele.seed("day", {"key-a": (4999, 0.5), "nobody": (1, 1.0)}, bench.now_s)
    assert (await send(bench, chat())).status == 429
    clientele.replace(directory(key(limits=KeyLimits(tokens_per_day=50_000)), key("b")))
    bench.adapters[0].replies(completion())
    assert (await send(bench, chat())).status == 200
    assert {name: windows[0].tokens for name, windows in clientele.spent().items()} == {"key-a": 5006}


async def test_embeddings_whose_upstream_counts_nothing_cost_what_went_in() -> None:
    bench = limited("gemini", spend_usd_per_day=1.0, tokens_per_day=100)
    body = json.dumps({"content": {"parts": [{"text": "hello there"}]}}).encode()
    bench.adapters[0].replies(b'{"embedding": {"values": [0.5]}}')
    asked, client = call(bench, "gemini"), ListClient(body)
    asked.target = "m:embedContent"
    await bench.gateway.serve(asked, client)
    given = len(body) // 4
    assert (client.status, bench.record.total_tokens, bench.record.cost_usd) == (200, given, pytest.approx(given / 1e6))
    assert (spent(bench).tokens, spent(bench).usd) == (given, bench.record.cost_usd)


@pytest.mark.parametrize("stopped", [Pause(10_000.0), UpstreamUnavailable("reset")])
@pytest.mark.parametrize("dialect", ["anthropic", "openai_responses"])
@pytest.mark.parametrize("limits", [{"spend_usd_per_day": 1.0}, {}])
async def test_a_reply_that_ends_before_it_says_anything_costs_nothing(stopped: Any, dialect: str, limits: dict[str, float]) -> None:
    bench = limited("anthropic", **limits)
    counts = {"input_tokens": 412, "output_tokens": 1}
    start = {"type": "message_start", "message": {"id": "msg_1", "role": "assistant", "model": "m", "content": [], "usage": counts}}
    bench.adapters[0].streams(encode_event("message_start", json.dumps(start).encode()), stopped)
    await send(bench, asking(dialect, stream=True), dialect)
    assert bench.record.error_code in ("timeout", "bad_gateway")
    assert (bench.record.usage, bench.record.cost_usd, spent(bench).tokens, spent(bench).usd) == (None, None, 0, 0.0)
