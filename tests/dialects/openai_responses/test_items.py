"""Items for models of other vendors: what agents of the client say to one another, and what only the vendor can read."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.model.errors import InvalidRequest, Unrepresentable
from fkproxy.model.parts import Text, ToolResult
from fkproxy.model.request import ChatRequest
from tests.fakes.pipeline import Bench

RESPONSES = DIALECTS["openai_responses"]
FOREIGN = {"openai_chat": "m", "anthropic": "claude-sonnet-4-5", "gemini": "gemini-2.5-pro"}
HEAD = "Message Type: NEW_TASK\nSender: lead\nPayload:\n"
SEALED = base64.urlsafe_b64encode(bytes((0x80, 0, 0, 0, 0)) + bytes(68)).decode()


def said(payload: Any, **fields: Any) -> dict[str, Any]:
    """As the Codex CLI 0.169 tells an agent that it has just made what to do."""
    content = [{"type": "input_text", "text": HEAD}, {"type": "encrypted_content", "encrypted_content": payload}]
    return {"type": "agent_message", "id": "amsg_1", "author": "lead", "recipient": "lead/b", "content": content, **fields}


def decoded(*items: Any) -> ChatRequest:
    body = json.dumps({"model": "m", "input": items}).encode()
    return RESPONSES.decode_request(body, RESPONSES.peek(body, "", ""))


@pytest.mark.parametrize("payload", ["count to three", "count", "gAAAAA", "über " * 100])
@pytest.mark.parametrize("dialect", FOREIGN)
def test_what_an_agent_says_to_another_one_is_told_to_it_in_the_place_of_the_user(dialect: str, payload: str) -> None:
    spawned = {"type": "function_call", "call_id": "1", "name": "spawn_agent", "arguments": "{}"}
    done = {"type": "function_call_output", "call_id": "1", "output": "aborted"}
    request = decoded({"role": "user", "content": "x"}, spawned, done, said(payload))
    assert [message.role for message in request.messages] == ["user", "assistant", "tool", "user"]
    assert [part.text for part in request.messages[-1].parts if isinstance(part, Text)] == [HEAD, payload]
    encoded = DIALECTS[dialect].encode_request(request, FOREIGN[dialect])
    assert json.dumps(payload) in json.dumps(json.loads(encoded.body))
    assert [loss.field for loss in encoded.losses] == ["messages[].*"]


def test_to_its_own_vendor_it_goes_as_it_came() -> None:
    items = [said(SEALED), said("count to three")]
    assert json.loads(RESPONSES.encode_request(decoded(*items), "m").body)["input"] == items


@pytest.mark.parametrize("dialect", FOREIGN)
def test_what_its_vendor_has_encrypted_nobody_else_is_told(dialect: str) -> None:
    with pytest.raises(Unrepresentable, match="an encrypted message"):
        DIALECTS[dialect].encode_request(decoded(said(SEALED)), FOREIGN[dialect])


@pytest.mark.parametrize("payload", [None, 1])
def test_what_is_wrong_in_it_is_named(payload: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decoded(said(payload))
    assert caught.value.param == "input[0].content[1].encrypted_content"


@pytest.mark.parametrize("part", [{"type": "encrypted_content", "encrypted_content": SEALED}, {"type": "vendors_own"}])
async def test_a_tools_result_that_only_the_vendor_can_read_goes_to_the_vendor(part: dict[str, Any]) -> None:
    bench = Bench(("claude", "anthropic"), ("own", "openai_responses"))
    bench.adapters[1].replies(b"{}")
    body = json.dumps({"model": "m", "input": [{"type": "function_call_output", "call_id": "1", "output": [part]}]}).encode()
    client = await bench.send(body, "openai_responses")
    assert (client.status, bench.adapters[1].calls[0].body) == (200, body)


def test_a_tools_result_may_hold_words_where_its_vendor_has_them_encrypted() -> None:
    output = [{"type": "encrypted_content", "encrypted_content": "sun"}]
    request = decoded({"type": "function_call_output", "call_id": "1", "output": output})
    assert request.messages[0].parts == (ToolResult(call_id="1", parts=(Text(text="sun"),)),)
