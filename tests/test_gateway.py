"""Stories of single calls, told from both ends. Nothing here waits: a fake clock moves when somebody would."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from fkproxy.adapters.base import Timeouts
from fkproxy.call import StreamPolicy
from fkproxy.model.errors import UpstreamTimeout, UpstreamUnavailable
from tests.fakes.pipeline import KEY, Bench, Hang, ListClient, Pause

CHAT = ("compatible", "openai_chat")
SECOND = ("second", "openai_chat")
GEMINI = ("gemini", "gemini")


def chat(model: str = "m", **fields: Any) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "hello"}], **fields}).encode()


def completion(text: str = "hi", **usage: int) -> bytes:
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m-001",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }
    return json.dumps(body).encode()


def sse(*values: Any) -> bytes:
    return b"".join(b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n" for value in values)


def delta(content: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    inner = {"content": content} if content is not None else {}
    choices = [{"index": 0, "delta": inner, "finish_reason": finish}]
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m-001", "choices": choices, **more}


ROLE = {**delta(), "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
USAGE = {**delta(), "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}}
DONE = b"[DONE]"


def gemini(*parts: dict[str, Any], finish: str | None = "STOP") -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {
        "candidates": [candidate],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4, "totalTokenCount": 7},
        "modelVersion": "gemini-x-001",
        "responseId": "r1",
    }


def events(client: ListClient) -> list[Any]:
    """The data of the client's stream, comments left out."""
    lines = [line[6:] for line in client.body.split(b"\n") if line.startswith(b"data: ")]
    return [line.decode() if line == DONE else json.loads(line) for line in lines]


def text_of(client: ListClient) -> str:
    chunks = [event for event in events(client) if isinstance(event, dict)]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices", []))


async def test_same_dialect_bytes_pass_untouched_and_the_record_has_the_usage() -> None:
    bench = Bench(CHAT)
    bench.adapters[0].replies(completion())
    client = await bench.send(chat(unknown_field={"kept": True}))
    assert (client.status, client.body, bench.record.response_bytes) == (200, completion(), len(completion()))
    assert json.loads(bench.adapters[0].calls[0].body)["unknown_field"] == {"kept": True}
    record = bench.record
    assert (record.status, record.provider_key, record.attempts, record.finish_reason) == (200, "compatible", 1, "stop")
    assert record.usage is not None
    assert (record.usage.input_tokens, record.usage.output_tokens) == (3, 4)
    assert client.headers["x-request-id"] == record.request_id


async def test_a_stream_asks_upstream_for_usage_and_hides_it_from_a_client_that_did_not() -> None:
    bench = Bench(CHAT)
    bench.adapters[0].streams(sse(ROLE, delta("a")), sse(delta("b")), sse(delta(finish="stop"), USAGE, DONE))
    client = await bench.send(chat(stream=True))
    assert json.loads(bench.adapters[0].calls[0].body)["stream_options"] == {"include_usage": True}
    assert client.body == sse(ROLE, delta("a"), delta("b"), delta(finish="stop"), DONE)
    assert bench.record.usage is not None
    assert bench.record.usage.output_tokens == 4
    assert client.headers["content-type"].startswith("text/event-stream")
    assert (client.finished, bench.record.response_bytes) == (True, len(client.body))


async def test_a_client_that_asked_for_usage_gets_every_byte() -> None:
    bench = Bench(CHAT)
    body = sse(ROLE, delta("a"), delta(finish="stop"), USAGE, DONE)
    bench.adapters[0].streams(*(body[index : index + 1] for index in range(len(body))))
    client = await bench.send(chat(stream=True, stream_options={"include_usage": True}))
    assert client.body == body


async def test_another_dialect_is_translated_both_ways() -> None:
    bench = Bench(GEMINI)
    bench.adapters[0].replies(json.dumps(gemini({"text": "bonjour"})).encode())
    client = await bench.send(chat("gemini-2.5-flash", max_tokens=9), client_headers={b"openai-beta": b"x"})
    sent, passed_on = json.loads(bench.adapters[0].calls[0].body), bench.adapters[0].calls[0].client_headers
    assert (sent["contents"], passed_on) == ([{"role": "user", "parts": [{"text": "hello"}]}], None)
    assert sent["generationConfig"]["maxOutputTokens"] == 9
    reply = json.loads(client.body)
    assert reply["choices"][0]["message"]["content"] == "bonjour"
    assert reply["usage"]["total_tokens"] == 7


async def test_a_translated_stream_keeps_the_grammar() -> None:
    bench = Bench(GEMINI)
    bench.adapters[0].streams(sse(gemini({"text": "bon"}, finish=None)), sse(gemini({"text": "jour"})))
    client = await bench.send(chat("gemini-2.5-flash", stream=True))
    seen = events(client)
    assert seen[0]["choices"][0]["delta"]["role"] == "assistant"
    assert text_of(client) == "bonjour"
    assert seen[-2]["choices"][0]["finish_reason"] == "stop"
    assert seen[-1] == "[DONE]"
    assert bench.record.ttft_ms is not None


MESSAGES = [
    {"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "content": [], "model": "m", "usage": {}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "bon"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "jour"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]
RESPONSES = [
    {"type": "response.created", "response": {"id": "r", "model": "m", "created_at": 1, "output": []}},
    {"type": "response.output_text.delta", "output_index": 0, "delta": "bon"},
    {"type": "response.output_text.delta", "output_index": 0, "delta": "jour"},
    {"type": "response.completed", "response": {"id": "r", "status": "completed", "output": []}},
]


@pytest.mark.parametrize(
    ("dialect", "told", "body", "first_s"),
    [
        ("anthropic", MESSAGES, {"max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}, 3.0),
        ("openai_responses", RESPONSES, {"input": "x"}, 2.0),
    ],
)
async def test_the_first_text_of_a_stream_that_passes_through_is_when_it_began(
    dialect: str, told: list[dict[str, Any]], body: dict[str, Any], first_s: float
) -> None:
    bench = Bench(("own", dialect))
    frames = [b"event: %b\ndata: %b\n\n" % (each["type"].encode(), json.dumps(each, separators=(",", ":")).encode()) for each in told]
    bench.adapters[0].streams(*(step for frame in frames for step in (Pause(1.0), frame)))
    client = await bench.send(json.dumps({"model": "m", "stream": True, **body}).encode(), dialect)
    assert client.body == b"".join(frames)
    assert bench.record.ttft_ms == pytest.approx(first_s * 1000, abs=50)


async def test_what_could_not_be_carried_is_named_in_a_header_and_in_the_record() -> None:
    bench = Bench(GEMINI)
    bench.adapters[0].replies(json.dumps(gemini({"text": "x"})).encode())
    client = await bench.send(chat("gemini-2.5-flash", logit_bias={"1": 1}))
    assert "logit_bias" in client.headers["x-fkproxy-losses"]
    assert "logit_bias" in bench.record.losses


async def test_a_clients_own_words_are_told_back_safely_and_kept_nowhere() -> None:
    bench = Bench(GEMINI)
    bench.adapters[0].replies(json.dumps(gemini({"text": "x"})).encode())
    client = await bench.send(chat("gemini-2.5-flash", **{"my\r\nset-cookie: secret": 1, "secret.*": 1, "metadata": {"a": "b"}}))
    assert client.headers["x-fkproxy-losses"] == "my??set-cookie: secret, metadata"
    assert bench.record.losses == ("other", "metadata")


@pytest.mark.parametrize(("asked", "kept"), [("m" * 512, "m" * 512), ("m" * 100_000, "m" * 512 + "…")])
async def test_of_a_name_that_nobody_has_no_more_is_kept_than_names_have(asked: str, kept: str) -> None:
    bench = Bench(CHAT)
    bench.adapters[0].replies(completion())
    await bench.send(chat(asked))
    assert bench.record.model_requested == kept


async def test_a_stream_that_fails_before_its_first_token_is_taken_over_by_the_next_upstream() -> None:
    bench = Bench(CHAT, SECOND)
    bench.adapters[0].streams(sse(ROLE, {"error": {"message": "overloaded", "type": "server_error", "code": 503}}))
    bench.adapters[1].streams(sse(ROLE, delta("ok"), delta(finish="stop"), DONE))
    client = await bench.send(chat(stream=True))
    assert client.status == 200
    assert client.body == sse(ROLE, delta("ok"), delta(finish="stop"), DONE)
    assert (bench.record.attempts, bench.record.provider_key, bench.record.error_code) == (2, "second", None)


async def test_a_200_that_fails_before_its_first_token_gets_a_proper_status() -> None:
    bench = Bench(CHAT)
    bench.adapters[0].streams(sse(ROLE, {"error": {"message": "slow down", "type": "rate_limit_error", "code": 429}}))
    client = await bench.send(chat(stream=True))
    assert (client.status, bench.record.upstream_status) == (429, 429)
    assert json.loads(client.body)["error"]["message"]


async def test_a_failure_after_the_first_token_ends_the_stream_with_an_error_event_and_nobody_takes_over() -> None:
    bench = Bench(CHAT, SECOND)
    bench.adapters[0].streams(sse(ROLE, delta("half")), UpstreamUnavailable("the upstream closed the connection"))
    client = await bench.send(chat(stream=True))
    assert client.status == 200
    assert "error" in events(client)[-1]
    assert not bench.adapters[1].calls
    assert (bench.record.status, bench.record.error_code) == (200, "bad_gateway")


async def test_a_stream_that_just_stops_is_an_error_and_not_an_end() -> None:
    bench = Bench(GEMINI)
    bench.adapters[0].streams(sse(gemini({"text": "half"}, finish=None)))
    client = await bench.send(chat("gemini-2.5-flash", stream=True))
    assert "error" in events(client)[-1]
    assert "[DONE]" not in events(client)
    assert bench.record.error_code == "upstream_protocol_error"


async def test_an_error_event_of_the_same_dialect_reaches_the_client_as_it_came() -> None:
    bench = Bench(CHAT)
    failure = {"error": {"message": "boom", "type": "server_error", "code": "boom", "detail": {"kept": 1}}}
    bench.adapters[0].streams(sse(ROLE, delta("half"), failure))
    client = await bench.send(chat(stream=True))
    assert client.body == sse(ROLE, delta("half"), failure)
    assert bench.record.error_code is not None


async def test_a_silent_upstream_is_bridged_by_comments_and_may_still_be_replaced() -> None:
    bench = Bench(CHAT, SECOND, stream=StreamPolicy(keep_alive_s=10.0, commit_after_s=10.0))
    bench.adapters[0].streams(UpstreamUnavailable("gone"), head=[Pause(35.0)])
    bench.adapters[1].streams(sse(ROLE, delta("ok"), delta(finish="stop"), DONE))
    client = await bench.send(chat(stream=True))
    assert client.status == 200
    comments = [piece for piece in client.pieces if piece.startswith(b":")]
    assert len(comments) == 3
    assert text_of(client) == "ok"
    assert bench.record.attempts == 2


async def test_when_all_fail_after_the_head_went_out_the_stream_says_so() -> None:
    bench = Bench(CHAT)
    bench.adapters[0].streams(head=[Pause(1000.0)])
    client = await bench.send(chat(stream=True))
    assert client.status == 200
    assert events(client)[-1]["error"]["code"] == "timeout"
    assert bench.record.error_code == "timeout"


@pytest.mark.parametrize(
    ("head", "body", "limits", "phase"),
    [
        ([Pause(1000.0)], [], Timeouts(first_byte_s=30.0), "first_byte"),
        ([], [Pause(1000.0)], Timeouts(silence_s=30.0), "silence"),
        ([], [b"{", *(step for _ in range(20) for step in (Pause(9.0), b" "))], Timeouts(silence_s=10.0, total_s=50.0), "total"),
    ],
)
async def test_every_wait_has_a_deadline(head: list[Any], body: list[Any], limits: Timeouts, phase: str) -> None:
    bench = Bench(CHAT, timeouts=limits)
    bench.adapters[0].replies(*body, head=head)
    client = await bench.send(chat())
    assert client.status == 504
    assert phase in json.loads(client.body)["error"]["message"]
    assert bench.adapters[0].exchanges[0].closed


async def test_an_open_breaker_spares_the_upstream_and_says_when_to_come_back() -> None:
    bench = Bench(CHAT, failure_threshold=2)
    for _ in range(2):
        bench.adapters[0].refuses(UpstreamUnavailable("connection refused"))
        assert (await bench.send(chat())).status == 502
    client = await bench.send(chat())
    assert client.status == 503
    assert client.headers["retry-after"] == "60"
    assert len(bench.adapters[0].calls) == 2
    bench.clock.now_s += 61
    bench.adapters[0].replies(completion())
    assert (await bench.send(chat())).status == 200


async def test_the_callers_mistakes_do_not_open_the_breaker_and_are_not_retried() -> None:
    bench = Bench(CHAT, SECOND, failure_threshold=1)
    for _ in range(3):
        bench.adapters[0].replies(b'{"error":{"message":"bad field","type":"invalid_request_error","param":"x","code":null}}', status=400)
        client = await bench.send(chat())
        assert client.status == 400
        assert "bad field" in json.loads(client.body)["error"]["message"]
    assert not bench.adapters[1].calls


async def test_the_gateways_own_dead_key_is_not_told_to_the_caller_as_theirs() -> None:
    bench = Bench(CHAT)
    bench.adapters[0].replies(
        b'{"error":{"message":"Incorrect API key provided: sk-operator-secret","code":"invalid_api_key"}}', status=401
    )
    client = await bench.send(chat())
    assert client.status == 502
    assert b"sk-operator-secret" not in client.body
    assert bench.record.error_code == "upstream_authentication"


async def test_an_upstream_rate_limit_keeps_its_status_and_retry_after() -> None:
    bench = Bench(CHAT)
    bench.adapters[0].replies(b'{"error":{"message":"slow down"}}', status=429, retry_after="17")
    client = await bench.send(chat())
    assert (client.status, client.headers["retry-after"]) == (429, "17")


async def test_a_wrong_key_is_refused_before_the_body_is_read() -> None:
    bench = Bench(CHAT, require_key=True)
    for presented in (None, b"wrong", KEY[:-1].encode(), b""):
        client = await bench.send(chat(), presented_key=presented)
        assert client.status == 401
        assert (client.headers["www-authenticate"], client.headers["x-should-retry"]) == ("Bearer", "false")
        assert (bench.record.auth, bench.record.request_bytes) == ("refused", 0)
    bench.adapters[0].replies(completion())
    assert (await bench.send(chat(), presented_key=KEY.encode())).status == 200
    assert bench.record.auth == "key"


async def test_the_bucket_is_the_keys_or_the_peers() -> None:
    bench = Bench(CHAT, capacity=2)
    for peer in ("10.0.0.1", "10.0.0.1", "10.0.0.2"):
        bench.adapters[0].replies(completion())
        assert (await bench.send(chat(), peer=peer)).status == 200
    client = await bench.send(chat(), peer="10.0.0.1")
    assert (client.status, client.headers["retry-after"], client.headers["x-ratelimit-remaining"]) == (429, "1", "0")
    assert json.loads(client.body)["error"]["code"] == "rate_limit_exceeded"


async def test_too_many_streams_are_refused_and_a_finished_one_makes_room() -> None:
    bench = Bench(CHAT, max_streams=1)
    hang = Hang()
    bench.adapters[0].streams(sse(ROLE, delta("a")), hang)
    call, client = bench.call(), ListClient(chat(stream=True))
    running = asyncio.create_task(bench.gateway.serve(call, client))
    await hang.reached.wait()
    refused = await bench.send(chat(stream=True))
    assert refused.status == 429
    assert json.loads(refused.body)["error"]["code"] == "concurrency_exceeded"
    client.gone = True
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert bench.record.client_ended
    assert bench.adapters[0].exchanges[0].closed
    bench.adapters[0].streams(sse(ROLE, delta("b"), delta(finish="stop"), DONE))
    assert (await bench.send(chat(stream=True))).status == 200


async def test_a_client_that_left_is_neither_a_success_nor_a_failure_of_the_upstream() -> None:
    bench = Bench(CHAT, failure_threshold=1)
    hang = Hang()
    bench.adapters[0].replies(head=[hang])
    client = ListClient(chat())
    running = asyncio.create_task(bench.gateway.serve(bench.call(), client))
    await hang.reached.wait()
    client.gone = True
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (bench.record.status, bench.record.client_ended) == (499, True)
    bench.adapters[0].replies(completion())
    assert (await bench.send(chat())).status == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_a_thought_signature_returns_even_if_the_client_dropped_it(stream: bool) -> None:
    bench = Bench(GEMINI)
    called = gemini({"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "c2lnbmF0dXJl"})
    if stream:
        bench.adapters[0].streams(sse(called))
    else:
        bench.adapters[0].replies(json.dumps(called).encode())
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    client = await bench.send(chat("gemini-3-pro-preview", tools=tools, stream=stream))
    if stream:
        chunks = [event for event in events(client) if isinstance(event, dict)]
        call = {}
        for delta_ in (c["delta"]["tool_calls"][0] for chunk in chunks for c in chunk["choices"] if c["delta"].get("tool_calls")):
            call = {**delta_, **call, **{key: delta_[key] for key in ("extra_content",) if key in delta_}}
    else:
        call = json.loads(client.body)["choices"][0]["message"]["tool_calls"][0]
    assert call["extra_content"]["google"]["thought_signature"] == "c2lnbmF0dXJl"
    rebuilt = {"id": call["id"], "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    turns = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": None, "tool_calls": [rebuilt]},
        {"role": "tool", "tool_call_id": call["id"], "content": "42"},
    ]
    bench.adapters[0].replies(json.dumps(gemini({"text": "done"})).encode())
    await bench.send(json.dumps({"model": "gemini-3-pro-preview", "messages": turns, "tools": tools}).encode())
    parts = [part for content in json.loads(bench.adapters[0].calls[1].body)["contents"] for part in content["parts"]]
    assert next(part for part in parts if "functionCall" in part)["thoughtSignature"] == "c2lnbmF0dXJl"


async def test_bytes_we_cannot_read_still_reach_a_client_of_the_same_dialect() -> None:
    bench = Bench(CHAT)
    strange = sse(ROLE, delta("a")) + b"data: {not json\n\n" + sse(delta(finish="stop"), DONE)
    bench.adapters[0].streams(strange)
    client = await bench.send(chat(stream=True))
    assert client.body == strange
    assert bench.record.usage is None


async def test_a_whole_reply_that_we_cannot_read_reaches_a_client_of_the_same_dialect_if_it_is_json() -> None:
    bench = Bench(CHAT)
    strange = b'{"choices":"of another kind"}'
    bench.adapters[0].replies(strange)
    client = await bench.send(chat())
    assert (client.status, client.body) == (200, strange)


@pytest.mark.parametrize("body", [b"", b"<html>", completion()[:-9], completion("\u20ac").replace(b"\\u20ac", b"\xe2\x82")])
async def test_what_nobody_can_read_is_a_failure_before_the_first_content(body: bytes) -> None:
    bench = Bench(CHAT, SECOND)
    bench.adapters[0].replies(body)
    bench.adapters[0].streams(sse(ROLE, body or b"<html>", DONE))
    for stream, good in ((False, completion()), (True, sse(ROLE, delta("ok"), delta(finish="stop"), DONE))):
        (bench.adapters[1].streams if stream else bench.adapters[1].replies)(good)
        client = await bench.send(chat(stream=stream))
        assert (client.status, client.body, bench.record.attempts) == (200, good, 2)
        assert bench.record.tries[0].outcome == "upstream_protocol_error"


async def test_a_server_that_ignores_stream_still_gives_the_client_a_stream() -> None:
    bench = Bench(CHAT)
    bench.adapters[0].replies(completion("whole"))
    client = await bench.send(chat(stream=True))
    assert client.headers["content-type"].startswith("text/event-stream")
    assert text_of(client) == "whole"
    assert events(client)[-1] == "[DONE]"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_request"),
        (b"{", 400, "invalid_request"),
        (b"[]", 400, "invalid_request"),
        (b'{"messages":[]}', 400, "invalid_request"),
        (b"x" * 2_000_000, 413, "request_too_large"),
    ],
)
async def test_bad_bodies_are_answered_in_the_clients_dialect(body: bytes, status: int, code: str) -> None:
    bench = Bench(CHAT)
    client = await bench.send(body)
    assert client.status == status
    assert json.loads(client.body)["error"]["code"] == code
    assert not bench.adapters[0].calls


async def test_our_own_bug_is_a_500_and_its_words_stay_inside(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(CHAT)
    bench.adapters[0].refuses(RuntimeError("canary-in-an-exception"))
    client = await bench.send(chat())
    assert client.status == 500
    assert b"canary" not in client.body
    assert bench.record.error_code == "internal_error"
    assert len(caplog.records) == 1


async def test_a_timeout_while_connecting_goes_to_the_next_upstream() -> None:
    bench = Bench(CHAT, SECOND)
    bench.adapters[0].refuses(UpstreamTimeout("connect", 10.0))
    bench.adapters[1].replies(completion())
    client = await bench.send(chat())
    assert client.status == 200
    assert bench.record.attempts == 2


async def test_what_one_upstream_cannot_say_goes_to_another_that_can() -> None:
    bench = Bench(GEMINI, SECOND)
    bench.adapters[1].replies(completion("by file id"))
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]}).encode()
    client = await bench.send(body)
    assert (client.status, bench.record.provider_key) == (200, "second")
    assert not bench.adapters[0].calls
    alone = Bench(GEMINI)
    refused = await alone.send(body)
    assert (refused.status, json.loads(refused.body)["error"]["code"]) == (400, "unsupported_parameter")


async def test_an_upstream_that_speaks_two_dialects_is_asked_in_the_clients() -> None:
    bench = Bench(("o", "openai_chat"))
    bench.adapters[0].spoken = frozenset(("openai_chat", "openai_responses"))
    body = b'{"model": "m",  "input": "x", "custom": 1.0}'
    reply = b'{"id": "r", "object": "response", "output": [], "status": "completed"}'
    bench.adapters[0].replies(reply)
    client = await bench.send(body, "openai_responses")
    assert (client.status, client.body) == (200, reply)
    assert (bench.adapters[0].calls[0].body, bench.adapters[0].calls[0].dialect) == (body, "openai_responses")
