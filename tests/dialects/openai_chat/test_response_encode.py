"""A streamed reply as the vendor's own client adds it up."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import ReplyContext
from fkproxy.model.events import (
    ChoiceFinished,
    Done,
    Event,
    MediaReceived,
    ReasoningDelta,
    SealAttached,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    collect,
)
from fkproxy.model.parts import Media, Seal

CHAT = DIALECTS["openai_chat"]
CONTEXT = ReplyContext(reply_id="r", model="m", created_s=1)


def image(data: str) -> MediaReceived:
    return MediaReceived(media=Media(kind="image", mime_type="image/png", data=data))


def signed(signature: str) -> SealAttached:
    return SealAttached(seal=Seal(dialect="gemini", data=signature))


@pytest.mark.parametrize(("model", "given"), [("m", True), ("gemini-3-pro-preview", True), ("gpt-4.1", False), ("openai/gpt-5", False)])
def test_who_asks_for_a_model_that_refuses_signatures_gets_none(model: str, given: bool) -> None:
    context = ReplyContext(reply_id="r", model=model, created_s=1)
    call = [ToolCallStarted(index=0, id="c", name="f"), SealAttached(seal=Seal(dialect="gemini", data="one"), index=0)]
    events = [Started(), TextDelta(text="a"), signed("two"), *call, ChoiceFinished(reason="tool_calls"), Done()]
    encoder = CHAT.stream_encoder(context)
    for said in (CHAT.encode_reply(collect(events), context), b"".join(encoder.encode(event) for event in events)):
        assert [said.count(word) for word in (b"extra_content", b'"one"', b'"two"')] == ([2, 1, 1] if given else [0, 0, 0])


FUNCTION = {"name": "f", "parameters": {"type": "object", "properties": {}}}
CALLED: list[Event] = [
    Started(),
    ToolCallStarted(index=0, id="a", name="f"),
    ToolCallDelta(index=0, arguments='{"x":'),
    SealAttached(seal=Seal(dialect="gemini", data="c2ln"), index=0),
    ToolCallDelta(index=0, arguments="1}"),
    ToolCallStarted(index=1, id="b", name="f"),
    ToolCallDelta(index=1, arguments="{}"),
    ChoiceFinished(reason="tool_calls"),
    Done(),
]


def asked(**fields: Any) -> ReplyContext:
    """What is known of a request with these fields when its reply comes."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "u"}], **fields}).encode()
    return ReplyContext(reply_id="r", model="m", created_s=1, tools=CHAT.decode_request(body, CHAT.peek(body, "", "")).tools)


@pytest.mark.parametrize("content", [[], [TextDelta(text="I will.")]])
def test_who_asks_with_functions_gets_a_function_call(content: list[Event]) -> None:
    context, events = asked(functions=[FUNCTION], function_call="auto"), [CALLED[0], *content, *CALLED[1:]]
    (choice,) = ChatCompletion.model_validate_json(CHAT.encode_reply(collect(events), context)).choices
    assert choice.finish_reason == "function_call"
    assert choice.message.to_dict() == {
        "role": "assistant",
        "content": "I will." if content else None,
        "refusal": None,
        "function_call": {"name": "f", "arguments": '{"x":1}'},
    }
    assert added_up(events, context)["function_call"] == {"name": "f", "arguments": '{"x":1}'}
    encoder = CHAT.stream_encoder(context)
    streamed = b"".join(encoder.encode(event) for event in events)
    words = (b'"name":"f"', b"tool_calls", b"extra_content", b'"finish_reason":"function_call"')
    assert [streamed.count(word) for word in words] == [1, 0, 0, 1]


@pytest.mark.parametrize("fields", [{"tools": [{"type": "function", "function": FUNCTION}]}, {}])
def test_who_asks_with_tools_gets_tool_calls(fields: dict[str, Any]) -> None:
    (choice,) = json.loads(CHAT.encode_reply(collect(CALLED), asked(**fields)))["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert [call["id"] for call in choice["message"]["tool_calls"]] == ["a", "b"]
    assert "function_call" not in choice["message"]


def test_a_text_after_functions_is_an_answer_as_any() -> None:
    events = [Started(), TextDelta(text="a"), ChoiceFinished(reason="stop"), Done()]
    assert CHAT.encode_reply(collect(events), asked(functions=[FUNCTION])) == CHAT.encode_reply(collect(events), CONTEXT)


def added_up(events: list[Event], context: ReplyContext = CONTEXT) -> dict[str, Any]:
    encoder = CHAT.stream_encoder(context)
    state = ChatCompletionStreamState()
    for line in b"".join(encoder.encode(event) for event in events).splitlines():
        if line and line != b"data: [DONE]":
            list(state.handle_chunk(ChatCompletionChunk.model_validate_json(line.removeprefix(b"data: "))))
    return state.get_final_completion().choices[0].message.model_dump(exclude_none=True)


@pytest.mark.parametrize(
    "content",
    [
        [TextDelta(text="a"), image("AAAA"), image("BBBB"), TextDelta(text="b")],
        [TextDelta(text="a"), signed("one"), TextDelta(text="b"), signed("two")],
        [],
        [ReasoningDelta(text="hm")],
        [image("AAAA")],
    ],
    ids=["images", "signatures", "nothing", "nothing but thoughts", "nothing but an image"],
)
def test_a_stream_adds_up_to_the_whole_reply(content: list[Event]) -> None:
    events = [Started(), *content, ChoiceFinished(reason="stop"), Done()]
    (choice,) = json.loads(CHAT.encode_reply(collect(events), CONTEXT))["choices"]
    assert added_up(events) == {name: value for name, value in choice["message"].items() if value is not None}
