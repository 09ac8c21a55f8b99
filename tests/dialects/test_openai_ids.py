"""Ids of tool calls, as OpenAI takes them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.model.parts import Message, Text, ToolCall, ToolResult
from fkproxy.model.request import ChatRequest

VLLM = "chatcmpl-tool-0123456789abcdef0123456789abcdef"
PAIRS = {"openai_chat": ("messages", "id", "tool_call_id"), "openai_responses": ("input", "call_id", "call_id")}


def ids(target: str, *call_ids: str, client: str = "anthropic", model: str = "gpt-4.1") -> tuple[list[str], list[str]]:
    """(those of the calls, those of the results) in a request to `target`."""
    calls = Message(role="assistant", parts=tuple(ToolCall(id=call_id, name="f") for call_id in call_ids))
    results = tuple(Message(role="tool", parts=(ToolResult(call_id=call_id, parts=(Text(text="r"),)),)) for call_id in call_ids)
    field, of_call, of_result = PAIRS[target]
    encoded = DIALECTS[target].encode_request(ChatRequest(dialect=client, model="m", messages=(calls, *results)), model)
    entries: list[Any] = json.loads(encoded.body)[field]
    asked = [call for entry in entries for call in entry.get("tool_calls", [entry] if entry.get("type") == "function_call" else [])]
    answered = [entry for entry in entries if entry.get("role") == "tool" or entry.get("type") == "function_call_output"]
    return [call[of_call] for call in asked], [entry[of_result] for entry in answered]


@pytest.mark.parametrize(("target", "most"), [("openai_chat", 40), ("openai_responses", 64)])
def test_an_id_that_is_too_long_is_cut_alike_for_a_call_and_its_result(target: str, most: int) -> None:
    fits, long, other = "a" * most, "a" * (most + 1), "a" * most + "b"
    asked, answered = ids(target, fits, long, other)
    assert asked == answered
    assert asked[0] == fits
    assert [len(call_id) for call_id in asked] == [most] * 3
    assert len(set(asked)) == 3


def test_one_of_vllm_goes_to_chat_completions_cut_and_to_responses_whole() -> None:
    (asked,), _ = ids("openai_chat", VLLM)
    assert (asked[:14], len(asked)) == ("chatcmpl-tool-", 40)
    assert ids("openai_responses", VLLM) == ([VLLM], [VLLM])
    assert ids("openai_chat", VLLM, client="openai_chat") == ([VLLM], [VLLM])


@pytest.mark.parametrize("target", PAIRS)
def test_what_an_id_says_to_another_vendors_model_is_left(target: str) -> None:
    call_id = "functions.mcp__plugin_of_a_long_name__resolve_the_id_of_a_library:0"
    assert ids(target, call_id, model="moonshotai/kimi-k2.5") == ([call_id], [call_id])
