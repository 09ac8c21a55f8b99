"""A client of another dialect sees no id of a call twice in its conversation."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.codex import DIALECT as CODEX
from fkproxy.model.events import collect
from fkproxy.model.parts import ToolCall
from tests.fakes.pipeline import Bench
from tests.test_gateway import CHAT, DONE, GEMINI, ROLE, delta, events, gemini, sse

pytestmark = pytest.mark.leaps

TOOLS = [{"name": "f", "input_schema": {"type": "object"}}]


def asked(*ids: str, stream: bool = False) -> bytes:
    """A conversation of Anthropic's with calls of these ids so far."""
    turns: list[dict[str, Any]] = [{"role": "user", "content": "x"}]
    for call_id in ids:
        turns.append({"role": "assistant", "content": [{"type": "tool_use", "id": call_id, "name": "f", "input": {}}]})
        turns.append({"role": "user", "content": [{"type": "tool_result", "tool_use_id": call_id, "content": "r"}]})
    return json.dumps({"model": "m", "max_tokens": 9, "messages": turns, "tools": TOOLS, "stream": stream}).encode()


def calls(*ids: str) -> list[dict[str, Any]]:
    return [
        {"index": index, "id": call_id, "type": "function", "function": {"name": "f", "arguments": "{}"}}
        for index, call_id in enumerate(ids)
    ]


def reply(*ids: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": None, "tool_calls": calls(*ids)}
    return {**delta(), "object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}


def scripted(bench: Bench, *ids: str, stream: bool) -> None:
    if stream:
        called = {**delta(), "choices": [{"index": 0, "delta": {"tool_calls": calls(*ids)}, "finish_reason": None}]}
        bench.adapters[0].streams(sse(ROLE, called, delta(finish="tool_calls"), DONE))
    else:
        bench.adapters[0].replies(json.dumps(reply(*ids)).encode())


async def told(bench: Bench, body: bytes, *, stream: bool) -> list[str]:
    """The ids of the calls that the client is told."""
    client = await bench.send(body, dialect="anthropic")
    if stream:
        blocks = [event["content_block"] for event in events(client) if event.get("type") == "content_block_start"]
        return [block["id"] for block in blocks if block["type"] == "tool_use"]
    (choice,) = collect(DIALECTS["anthropic"].decode_reply(client.body)).choices
    return [part.id for part in choice.parts if isinstance(part, ToolCall)]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_id_that_the_conversation_has_is_another_one(stream: bool) -> None:
    bench = Bench(CHAT)
    scripted(bench, "call_0", "call_1", stream=stream)
    first = await told(bench, asked(stream=stream), stream=stream)
    assert first == ["call_0", "call_1"]
    scripted(bench, "call_0", "call_2", stream=stream)
    again, new = await told(bench, asked(*first, stream=stream), stream=stream)
    assert new == "call_2"
    assert again not in (*first, new)
    scripted(bench, "x", stream=stream)
    await told(bench, asked(*first, again, stream=stream), stream=stream)
    sent = json.loads(bench.adapters[0].calls[-1].body)["messages"]
    assert [message["tool_call_id"] for message in sent if message["role"] == "tool"] == [*first, again]


async def test_whoever_asks_for_a_stream_and_gets_a_whole_reply_is_told_the_same() -> None:
    bench = Bench(CHAT)
    bench.adapters[0].replies(json.dumps(reply("call_0")).encode(), content_type="application/json")
    (new,) = await told(bench, asked("call_0", stream=True), stream=True)
    assert new != "call_0"


@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_kept_by_the_id_is_that_calls_own(stream: bool) -> None:
    bench = Bench(GEMINI)
    seen: list[str] = []
    for signature in ("Zmlyc3Q=", "c2Vjb25k"):
        called = gemini({"functionCall": {"id": "call_0", "name": "f", "args": {}}, "thoughtSignature": signature})
        if stream:
            bench.adapters[0].streams(sse(called))
        else:
            bench.adapters[0].replies(json.dumps(called).encode())
        seen += await told(bench, asked(*seen, stream=stream), stream=stream)
    bench.adapters[0].replies(json.dumps(gemini({"text": "done"})).encode())
    await bench.send(asked(*seen), dialect="anthropic")
    parts = [part for turn in json.loads(bench.adapters[0].calls[-1].body)["contents"] for part in turn["parts"] if "functionCall" in part]
    assert [part["thoughtSignature"] for part in parts] == ["Zmlyc3Q=", "c2Vjb25k"]


async def test_a_client_of_the_same_dialect_has_what_its_upstream_said() -> None:
    bench = Bench(CHAT)
    body = json.dumps(reply("call_0")).encode()
    turns = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "tool_calls": calls("call_0")},
        {"role": "tool", "tool_call_id": "call_0", "content": "r"},
    ]
    bench.adapters[0].replies(body)
    client = await bench.send(json.dumps({"model": "m", "messages": turns}).encode())
    assert client.body == body


def test_who_waits_for_a_result_by_its_id_is_not_kept_waiting() -> None:
    assert CODEX.awaits_results
    assert not any(dialect.awaits_results for dialect in DIALECTS.values() if dialect is not CODEX)
