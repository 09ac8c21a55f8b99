"""Results right behind their calls, for the vendors that want them there."""

from __future__ import annotations

import json

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import Peek
from fkproxy.dialects.pairing import results_behind_calls
from fkproxy.model.parts import Message, Text, ToolCall, ToolResult

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
        *({**call, "call_id": name} for name in "ab"),
        {"type": "function_call_output", "call_id": "b", "output": "2"},
        {"role": "user", "content": "hurry"},
        {"type": "function_call_output", "call_id": "a", "output": "1"},
    ]
    request = DIALECTS["openai_responses"].decode_request(json.dumps({"model": "m", "input": items}).encode(), Peek(model="m"))
    _, results, user = json.loads(DIALECTS["gemini"].encode_request(request, "gemini-2.5-pro").body)["contents"]
    assert [part["functionResponse"]["response"]["result"] for part in results["parts"]] == ["1", "2"]
    assert user["parts"] == [{"text": "hurry"}]
