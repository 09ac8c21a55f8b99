"""Other vendors' seals in fields of another."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import ReplyContext
from fkproxy.dialects.envelope import close_envelope, open_envelope
from fkproxy.model.events import collect
from fkproxy.model.parts import Seal
from fkproxy.wire.sse import SseDecoder

NAME = "openai_responses"


@given(st.sampled_from(["gemini", "anthropic", NAME]), st.text())
def test_a_seal_comes_back_as_it_went(dialect: str, data: str) -> None:
    if not (dialect == NAME and data.startswith("fkproxy1.")):
        assert open_envelope(close_envelope(Seal(dialect=dialect, data=data), NAME), NAME) == Seal(dialect=dialect, data=data)


def test_its_own_travels_bare() -> None:
    assert close_envelope(Seal(dialect=NAME, data="gAAAA"), NAME) == "gAAAA"


@pytest.mark.parametrize("text", ["fkproxy1.", "fkproxy1.%%%", "fkproxy1.e30=", "fkproxy1.é"])
def test_what_is_no_envelope_is_taken_for_the_dialects_own(text: str) -> None:
    assert open_envelope(text, NAME) == Seal(dialect=NAME, data=text)


@pytest.mark.parametrize("streamed", [True, False])
def test_a_redacted_thought_goes_to_another_dialects_client_and_comes_back(streamed: bool) -> None:
    """Anthropic refuses the next turn without it."""
    messages, responses = DIALECTS["anthropic"], DIALECTS["openai_responses"]
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "S"},
        {"type": "redacted_thinking", "data": "R"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {}},
    ]
    reply = {
        "type": "message",
        "id": "msg_1",
        "content": content,
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    events = messages.decode_reply(json.dumps(reply).encode())
    context = ReplyContext(reply_id="r", model="m", created_s=0)
    if streamed:
        encoder = responses.stream_encoder(context)
        frames = SseDecoder().feed(b"".join(encoder.encode(event) for event in events))
        output = json.loads(frames[-1].data or b"")["response"]["output"]
    else:
        output = json.loads(responses.encode_reply(collect(events), context))["output"]
    result = {"type": "function_call_output", "call_id": "t", "output": "1"}
    asked = {"model": "m", "input": [{"role": "user", "content": "x"}, *output, result], "reasoning": {"effort": "low"}}
    body = json.dumps(asked).encode()
    request = responses.decode_request(body, responses.peek(body, "", ""))
    sent = json.loads(messages.encode_request(request, "claude-sonnet-4-5").body)
    assert sent["messages"][1]["content"] == content
    assert "thinking" in sent
