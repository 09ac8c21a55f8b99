"""Stories of calls that are no chat: counts of tokens, embeddings."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from tests.fakes.pipeline import Bench, ListClient

MESSAGES = {"model": "m", "messages": [{"role": "user", "content": "hello there"}], "system": "be brief"}
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "hello there"}]}]}
INPUT = {"model": "m", "input": "hello there", "instructions": "be brief"}
DETAILS = {"promptTokensDetails": [{"modality": "TEXT", "tokenCount": 9}]}
EMBED = {"model": "m", "input": ["one", "two"], "dimensions": 2}


async def sent(bench: Bench, dialect: str, body: Any, **fields: Any) -> tuple[int | None, Any]:
    client: ListClient = await bench.send(json.dumps(body).encode(), dialect, **fields)
    return client.status, json.loads(client.body)


async def counted(bench: Bench, dialect: str) -> tuple[int | None, Any]:
    if dialect == "anthropic":
        return await sent(bench, dialect, MESSAGES, operation="count_tokens")
    if dialect == "openai_responses":
        return await sent(bench, dialect, INPUT, operation="count_tokens")
    return await sent(bench, dialect, CONTENTS, target="m:countTokens")


async def test_a_count_passes_through_at_home() -> None:
    bench = Bench(("a", "anthropic"))
    bench.adapters[0].replies(b'{"input_tokens": 12, "more": 1}')
    assert await counted(bench, "anthropic") == (200, {"input_tokens": 12, "more": 1})
    (call,) = bench.adapters[0].calls
    assert (call.operation, json.loads(call.body)) == ("count_tokens", MESSAGES)


async def test_responses_are_counted_at_home_and_abroad() -> None:
    bench = Bench(("r", "openai_responses"))
    bench.adapters[0].replies(b'{"object": "response.input_tokens", "input_tokens": 12}')
    assert await counted(bench, "openai_responses") == (200, {"object": "response.input_tokens", "input_tokens": 12})
    assert json.loads(bench.adapters[0].calls[0].body) == INPUT

    bench = Bench(("a", "anthropic"))
    bench.adapters[0].replies(b'{"input_tokens": 9}')
    assert await counted(bench, "openai_responses") == (200, {"object": "response.input_tokens", "input_tokens": 9})
    assert json.loads(bench.adapters[0].calls[0].body)["system"] == [{"type": "text", "text": "be brief"}]

    bench = Bench(("r", "openai_responses"))
    bench.adapters[0].replies(b'{"object": "response.input_tokens", "input_tokens": 7}')
    assert await counted(bench, "anthropic") == (200, {"input_tokens": 7})
    assert json.loads(bench.adapters[0].calls[0].body).keys() == {"model", "input"}, "what counts, and nothing of keeping and streaming"
    assert bench.record.losses == (), "what does not count is not lost"


@pytest.mark.parametrize("field", [{"previous_response_id": "resp_1"}, {"conversation": "conv_1"}, {"prompt": {"id": "pmpt_1"}}])
async def test_what_only_the_vendor_has_is_not_left_out_of_a_count(field: dict[str, Any]) -> None:
    bench = Bench(("g", "gemini"), ("r", "openai_responses"))
    bench.adapters[1].replies(b'{"input_tokens": 12}')
    assert (await sent(bench, "openai_responses", {**INPUT, **field}, operation="count_tokens"))[0] == 200
    status, answer = await sent(Bench(("o", "openai_chat")), "openai_responses", {**INPUT, **field}, operation="count_tokens")
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, "unsupported_parameter", next(iter(field)))


async def test_a_suffix_of_the_model_is_not_a_part_of_its_name() -> None:
    bench = Bench(("a", "anthropic"))
    bench.adapters[0].replies(b'{"input_tokens": 12}')
    await sent(bench, "anthropic", {**MESSAGES, "model": "m(high)"}, operation="count_tokens")
    assert json.loads(bench.adapters[0].calls[0].body)["model"] == "m"


async def test_what_is_left_out_of_a_count_is_told() -> None:
    bench = Bench(("g", "gemini"))
    bench.adapters[0].replies(b'{"totalTokens": 7}')
    system = [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}]
    client = await bench.send(json.dumps({**MESSAGES, "system": system}).encode(), "anthropic", operation="count_tokens")
    assert client.headers["x-fkproxy-losses"] == "messages[].content[].*"


async def test_a_count_is_asked_in_the_upstreams_words() -> None:
    bench = Bench(("g", "gemini"))
    bench.adapters[0].replies(b'{"totalTokens": 7}')
    assert await counted(bench, "anthropic") == (200, {"input_tokens": 7})
    asked = json.loads(bench.adapters[0].calls[0].body)["generateContentRequest"]
    assert asked["model"] == "models/m"
    assert asked["contents"] == CONTENTS["contents"]
    assert asked["systemInstruction"]["parts"] == [{"text": "be brief"}]

    bench = Bench(("a", "anthropic"))
    bench.adapters[0].replies(b'{"input_tokens": 9}')
    status, answer = await counted(bench, "gemini")
    assert (status, answer["totalTokens"]) == (200, 9)
    asked = json.loads(bench.adapters[0].calls[0].body)
    assert set(asked) == {"model", "messages"}, "what counts, and nothing that the question has no place for"


@pytest.mark.parametrize(("dialect", "body"), [("anthropic", MESSAGES), ("gemini", CONTENTS), ("openai_responses", INPUT)])
async def test_a_count_that_nobody_can_make_is_estimated_and_said_to_be(dialect: str, body: dict[str, Any]) -> None:
    bench = Bench(("o", "openai_chat"))
    asked = {"target": "m:countTokens"} if dialect == "gemini" else {"operation": "count_tokens"}
    client = await bench.send(json.dumps(body).encode(), dialect, **asked)
    answer = json.loads(client.body)
    assert 3 <= (answer.get("input_tokens") or answer["totalTokens"]) <= 20
    assert "estimated" in client.headers["x-fkproxy-losses"]
    assert bench.adapters[0].calls == []


@pytest.mark.parametrize("name", ["generateContentRequest", "generate_content_request"])
async def test_a_whole_request_is_counted_with_all_that_it_says(name: str) -> None:
    bench = Bench(("a", "anthropic"))
    bench.adapters[0].replies(b'{"input_tokens": 9}')
    tools = [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object", "properties": {}}}]}]
    whole = {"model": "models/m", **CONTENTS, "systemInstruction": {"parts": [{"text": "be brief"}]}, "tools": tools}
    assert await sent(bench, "gemini", {name: whole}, target="m:countTokens") == (200, {"totalTokens": 9} | DETAILS)
    asked = json.loads(bench.adapters[0].calls[0].body)
    assert set(asked) == {"model", "messages", "system", "tools"}


@pytest.mark.parametrize("given", [5, "x", []])
async def test_a_whole_request_to_count_is_an_object(given: Any) -> None:
    bench = Bench(("o", "openai_chat"))
    status, answer = await sent(bench, "gemini", {"generateContentRequest": given}, target="m:countTokens")
    assert (status, answer["error"]["message"]) == (400, "generateContentRequest: expected an object")


async def test_a_count_moves_on_when_an_upstream_fails() -> None:
    bench = Bench(("one", "anthropic"), ("two", "anthropic"))
    bench.adapters[0].replies(b"{}", status=500)
    bench.adapters[1].replies(b'{"input_tokens": 3}')
    assert await counted(bench, "anthropic") == (200, {"input_tokens": 3})
    assert bench.record.attempts == 2


async def test_what_is_wrong_with_a_count_is_told_in_the_clients_dialect() -> None:
    bench = Bench(("g", "gemini"))
    status, answer = await sent(bench, "anthropic", {"model": "m", "messages": []}, operation="count_tokens")
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")


async def test_embeddings_pass_through_at_home_and_are_counted() -> None:
    bench = Bench(("o", "openai_chat"))
    reply = {"object": "list", "data": [{"index": 0, "embedding": "AACAPw=="}], "usage": {"prompt_tokens": 5, "total_tokens": 5}}
    bench.adapters[0].replies(json.dumps(reply).encode())
    assert await sent(bench, "openai_chat", EMBED, operation="embeddings") == (200, reply)
    assert json.loads(bench.adapters[0].calls[0].body) == EMBED
    assert bench.record.usage is not None
    assert bench.record.usage.input_tokens == 5


@pytest.mark.parametrize("usage", [{"prompt_tokens": "5"}, {"prompt_tokens": 5.5}, "5", None])
async def test_embeddings_whose_usage_cannot_be_read_are_served_and_not_counted(usage: object) -> None:
    bench = Bench(("o", "openai_chat"))
    reply = {"object": "list", "data": [{"index": 0, "embedding": [1]}], "usage": usage}
    bench.adapters[0].replies(json.dumps(reply).encode())
    assert await sent(bench, "openai_chat", EMBED, operation="embeddings") == (200, reply)
    assert bench.record.usage is None

    bench = Bench(("g", "gemini"))
    bench.adapters[0].replies(json.dumps({"embeddings": [{"values": [1]}], "usageMetadata": usage}).encode())
    assert (await sent(bench, "openai_chat", EMBED, operation="embeddings"))[0] == 200
    assert bench.record.usage is None


@pytest.mark.parametrize("embedding", [[[1, 2], [3, 4]], {"float": [1]}, "AQID"])
async def test_embeddings_that_only_their_client_can_read_are_served(embedding: object) -> None:
    bench = Bench(("o", "openai_chat"))
    reply = {"data": [{"index": 0, "embedding": embedding}], "usage": {"prompt_tokens": 5}}
    bench.adapters[0].replies(json.dumps(reply).encode())
    assert await sent(bench, "openai_chat", EMBED, operation="embeddings") == (200, reply)
    assert bench.record.usage is not None


@pytest.mark.parametrize("reply", [b"<html>", b"[]", b'{"error": {"message": "no"}}', b'{"data": null, "error": "no"}'])
async def test_an_answer_that_holds_no_embeddings_is_one_of_an_upstream_that_fails(reply: bytes) -> None:
    bench = Bench(("one", "openai_chat"), ("two", "openai_chat"))
    bench.adapters[0].replies(reply)
    bench.adapters[1].replies(b'{"data": []}')
    assert await sent(bench, "openai_chat", EMBED, operation="embeddings") == (200, {"data": []})
    assert bench.record.attempts == 2


@pytest.mark.parametrize("number", [{}, {"index": None}])
async def test_embeddings_without_a_number_are_in_the_order_of_their_texts(number: dict[str, Any]) -> None:
    bench = Bench(("o", "openai_chat"))
    reply = {"data": [{**number, "embedding": [1]}, {**number, "embedding": [0]}]}
    bench.adapters[0].replies(json.dumps(reply).encode())
    assert await sent(bench, "openai_chat", EMBED, operation="embeddings") == (200, reply)
    bench.adapters[0].replies(json.dumps(reply).encode())
    body = {"requests": [{"content": {"parts": [{"text": text}]}} for text in ("one", "two")]}
    answer = {"embeddings": [{"values": [1.0]}, {"values": [0.0]}]}
    assert await sent(bench, "gemini", body, target="m:batchEmbedContents") == (200, answer)


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_embeddings_of_another_dialect(encoding: str) -> None:
    bench = Bench(("g", "gemini"))
    bench.adapters[0].replies(b'{"embeddings": [{"values": [1, 0.5]}, {"values": [0, -2]}]}')
    status, answer = await sent(bench, "openai_chat", {**EMBED, "encoding_format": encoding, "user": "u"}, operation="embeddings")
    assert status == 200
    vectors = [entry["embedding"] for entry in answer["data"]]
    if encoding == "base64":
        vectors = [list(struct.unpack("<2f", base64.b64decode(vector))) for vector in vectors]
    assert vectors == [[1, 0.5], [0, -2]]
    asked = json.loads(bench.adapters[0].calls[0].body)["requests"]
    assert asked == [{"model": "models/m", "outputDimensionality": 2, "content": {"parts": [{"text": text}]}} for text in ("one", "two")]
    assert bench.record.losses == ("user",)


@pytest.mark.parametrize(
    ("method", "body", "shape"),
    [
        ("embedContent", {"content": {"parts": [{"text": "one"}]}, "taskType": "RETRIEVAL_QUERY"}, {"embedding": {"values": [1.0, 2.0]}}),
        ("embedContent", {"content": {"parts": {"text": "one"}}, "task_type": "RETRIEVAL_QUERY"}, {"embedding": {"values": [1.0, 2.0]}}),
        ("batchEmbedContents", {"requests": [{"content": {"parts": [{"text": "one"}]}}]}, {"embeddings": [{"values": [1.0, 2.0]}]}),
        ("batchEmbedContents", {"requests": {"content": {"parts": {"text": "one"}}}}, {"embeddings": [{"values": [1.0, 2.0]}]}),
    ],
)
async def test_the_other_way_round(method: str, body: Any, shape: Any) -> None:
    bench = Bench(("o", "openai_chat"))
    bench.adapters[0].replies(b'{"data": [{"index": 0, "embedding": [1, 2]}]}')
    status, answer = await sent(bench, "gemini", body, target=f"m:{method}")
    assert (status, answer) == (200, shape)
    assert json.loads(bench.adapters[0].calls[0].body) == {"model": "m", "input": ["one"], "encoding_format": "float"}


async def test_what_only_the_clients_dialect_has_for_embeddings_is_told() -> None:
    bench = Bench(("o", "openai_chat"))
    bench.adapters[0].replies(b'{"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [2]}]}')
    one = {"model": "models/m", "content": {"parts": [{"text": "one"}]}, "taskType": "RETRIEVAL_QUERY"}
    body = {"requests": [{**one, "autoTruncate": False}, {**one, "audio_track_extraction": True}]}
    assert (await sent(bench, "gemini", body, target="m:batchEmbedContents"))[0] == 200
    assert set(bench.record.losses) == {"taskType", "autoTruncate", "audioTrackExtraction"}


@pytest.mark.parametrize("given", [[1, 2, 3], [[1, 2], [3]]])
async def test_token_numbers_mean_nothing_to_another_vendor(given: Any) -> None:
    bench = Bench(("g", "gemini"))
    status, answer = await sent(bench, "openai_chat", {"model": "m", "input": given}, operation="embeddings")
    assert (status, answer["error"]["code"]) == (400, "unsupported_parameter")


async def test_an_upstream_without_embeddings_is_passed_over() -> None:
    bench = Bench(("a", "anthropic"), ("o", "openai_chat"))
    bench.adapters[1].replies(b'{"data": []}')
    assert (await sent(bench, "openai_chat", EMBED, operation="embeddings"))[0] == 200
    bench = Bench(("a", "anthropic"))
    status, answer = await sent(bench, "openai_chat", EMBED, operation="embeddings")
    assert (status, answer["error"]["code"]) == (400, "unsupported_parameter")


async def test_an_upstream_that_embeds_again_has_recovered() -> None:
    bench = Bench(("o", "openai_chat"), failure_threshold=1)
    bench.adapters[0].replies(b"{}", status=500)
    bench.adapters[0].replies(b'{"data": []}')
    assert (await sent(bench, "openai_chat", EMBED, operation="embeddings"))[0] == 502
    bench.clock.now_s += 60.0
    assert (await sent(bench, "openai_chat", EMBED, operation="embeddings"))[0] == 200
    assert bench.gateway.fleet.upstreams[0].breaker.state(bench.clock.now_s) == "closed"


async def test_a_stream_without_alt_is_an_array() -> None:
    bench = Bench(("g", "gemini"))
    frame = b'data: {"candidates": [{"content": {"role": "model", "parts": [{"text": "x"}]}, "finishReason": "STOP"}]}\n\n'
    bench.adapters[0].streams(frame)
    client = await bench.send(json.dumps(CONTENTS).encode(), "gemini", target="m:streamGenerateContent")
    assert client.array
    bench.adapters[0].streams(frame)
    client = await bench.send(json.dumps(CONTENTS).encode(), "gemini", target="m:streamGenerateContent", query="alt=sse")
    assert not client.array
