"""Results right behind their calls, for the vendors that want them there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import Peek
from fkproxy.dialects.pairing import NO_RESULT, results_behind_calls, with_results
from fkproxy.model.parts import Message, Text, ToolCall, ToolResult
from fkproxy.model.request import Loss

CALL = Message(role="assistant", parts=(ToolCall(id="a", name="f"),))
RESULT = Message(role="tool", parts=(ToolResult(call_id="a"),))
SAID = Message(role="user", parts=(Text(text="x"),))
STRAY = Message(role="tool", parts=(ToolResult(call_id="nobody's"),))


def test_a_result_moves_to_the_last_call_of_its_id_and_nothing_else_moves() -> None:
    assert results_behind_calls((SAID, CALL, RESULT, SAID, CALL, SAID, RESULT, SAID)) == (
        SAID,
        CALL,
        RESULT,
        SAID,
        CALL,
        RESULT,
        SAID,
        SAID,
    )
    for kept in ((STRAY, SAID, STRAY), (), (RESULT, CALL), (CALL, CALL, RESULT)):
        assert results_behind_calls(kept) == kept


def test_gemini_gets_the_results_of_a_turn_in_one_content_behind_it() -> None:
    call = {"type": "function_call", "name": "f", "arguments": "{}"}
    items = [
        {"role": "user", "content": "hello"},
        *({**call, "call_id": name} for name in "ab"),
        {"type": "function_call_output", "call_id": "b", "output": "2"},
        {"role": "user", "content": "hurry"},
        {"type": "function_call_output", "call_id": "a", "output": "1"},
    ]
    request = DIALECTS["openai_responses"].decode_request(json.dumps({"model": "m", "input": items}).encode(), Peek(model="m"))
    _, _, results, user = json.loads(DIALECTS["gemini"].encode_request(request, "gemini-2.5-pro").body)["contents"]
    assert [part["functionResponse"]["response"]["result"] for part in results["parts"]] == ["1", "2"]
    assert user["parts"] == [{"text": "hurry"}]


NONE = Message(role="tool", parts=(ToolResult(call_id="a", name="f", parts=(Text(text=NO_RESULT),), is_error=True),))
REPORTED = Loss(field="tool_calls[]", action="converted")


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ((SAID, CALL), (SAID, CALL, NONE)),
        ((CALL, SAID), (CALL, NONE, SAID)),
        ((CALL, SAID, CALL, RESULT), (CALL, NONE, SAID, CALL, RESULT)),
        ((CALL, RESULT, CALL, SAID), (CALL, RESULT, CALL, NONE, SAID)),
        ((CALL, CALL, RESULT, SAID), (CALL, CALL, RESULT, NONE, SAID)),
        ((CALL, STRAY, CALL, SAID, RESULT), (CALL, STRAY, NONE, CALL, SAID, RESULT)),
    ],
)
def test_a_call_without_a_result_gets_one_that_says_so(messages: tuple[Message, ...], expected: tuple[Message, ...]) -> None:
    losses: list[Loss] = []
    assert with_results(messages, losses) == expected
    assert losses == [REPORTED]


def test_a_call_that_is_answered_anywhere_gets_no_other_result() -> None:
    losses: list[Loss] = []
    for kept in ((CALL, RESULT, SAID), (CALL, SAID, RESULT), (CALL, CALL, RESULT, RESULT), (SAID,), ()):
        assert with_results(kept, losses) == kept
    assert losses == []


def test_a_conversation_without_tools_is_not_copied() -> None:
    messages = (SAID, Message(role="assistant", parts=(Text(text="hi"),)), SAID)
    assert results_behind_calls(messages) is messages
    assert with_results(messages, []) is messages


@pytest.mark.parametrize(
    ("target", "answers"),
    [
        ("gemini", [{"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"error": NO_RESULT}}}]}]),
        ("openai_responses", [{"type": "function_call_output", "call_id": "function_0_f", "output": f"The tool failed.\n{NO_RESULT}"}]),
    ],
)
def test_a_function_call_that_was_talked_over_is_answered_for_those_who_insist(target: str, answers: list[Any]) -> None:
    said = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    messages = [{"role": "user", "content": "a"}, said, {"role": "user", "content": "never mind"}]
    request = DIALECTS["openai_chat"].decode_request(json.dumps({"model": "m", "messages": messages}).encode(), Peek(model="m"))
    encoded = DIALECTS[target].encode_request(request, "gemini-2.5-pro")
    body = json.loads(encoded.body)
    assert body.get("contents", body.get("input"))[2:-1] == answers
    assert encoded.losses == (REPORTED,)
