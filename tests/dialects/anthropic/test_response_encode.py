"""Replies as clients of this dialect read them: the grammar of the stream holds whatever the events are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types import ModelInfo
from hypothesis import given, settings
from hypothesis import strategies as st

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import ModelEntry, Peek, ReplyContext
from fkproxy.dialects.envelope import close_envelope
from fkproxy.model.errors import UpstreamOverloaded
from fkproxy.model.events import (
    ChoiceFinished,
    Done,
    Event,
    Failed,
    MediaReceived,
    OpaqueReceived,
    ReasoningDelta,
    RefusalDelta,
    SealAttached,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
    collect,
)
from fkproxy.model.parts import Media, Opaque, Reasoning, Seal, Text, ToolCall
from fkproxy.model.usage import Usage
from fkproxy.wire import json as wire
from fkproxy.wire.sse import SseDecoder

MESSAGES = DIALECTS["anthropic"]
CONTEXT = ReplyContext(reply_id="reply-1", model="asked-for", created_s=1_700_000_000)
STOPPED = (ChoiceFinished(reason="stop"), Done())


def written(*events: Event) -> list[Any]:
    encoder = MESSAGES.stream_encoder(CONTEXT)
    frames = SseDecoder().feed(b"".join(encoder.encode(event) for event in events))
    values = [json.loads(frame.data or b"") for frame in frames]
    assert [value["type"] for value in values] == [frame.event for frame in frames]
    return values


def words(values: list[Any]) -> list[str]:
    """The stream in short: `start text`, `+ text_delta`, `stop`, …"""
    names = {"content_block_start": "start", "content_block_delta": "+", "content_block_stop": "stop"}
    inner = [value.get("content_block", value.get("delta", {})).get("type", "") for value in values]
    return [f"{names.get(value['type'], value['type'])} {kind}".strip() for value, kind in zip(values, inner, strict=True)]


def whole(*events: Event) -> Any:
    return json.loads(MESSAGES.encode_reply(collect(events), CONTEXT))


def test_a_call_whose_arguments_are_null_has_none() -> None:
    call = (Started(), ToolCallStarted(index=0, id="t", name="f"), ToolCallDelta(index=0, arguments="null"))
    end = (ChoiceFinished(reason="tool_calls"), Done())
    assert words(written(*call, *end)) == ["message_start", "start tool_use", "stop", "message_delta", "message_stop"]
    assert whole(*call, *end)["content"] == [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]


def test_a_null_within_arguments_is_told() -> None:
    pieces = ('{"a":', "null", "}")
    call = (Started(), ToolCallStarted(index=0, id="t", name="f"), *(ToolCallDelta(index=0, arguments=piece) for piece in pieces))
    values = written(*call, ChoiceFinished(reason="tool_calls"), Done())
    assert [value["delta"]["partial_json"] for value in values if value["type"] == "content_block_delta"] == list(pieces)


def test_the_order_of_a_whole_stream() -> None:
    seal = SealAttached(seal=Seal(dialect="anthropic", data="S"))
    usage = UsageReported(usage=Usage(input_tokens=20, cached_input_tokens=5, cache_write_tokens=3, output_tokens=9, reasoning_tokens=4))
    values = written(
        Started(id="msg_up"),
        ReasoningDelta(text="hm"),
        seal,
        TextDelta(text="a"),
        TextDelta(text="b"),
        ToolCallStarted(index=0, id="t", name="f"),
        ToolCallDelta(index=0, arguments='{"a"'),
        ToolCallDelta(index=0, arguments=":1}"),
        ChoiceFinished(reason="tool_calls"),
        usage,
        Done(),
    )
    assert words(values) == [
        "message_start",
        *("start thinking", "+ thinking_delta", "+ signature_delta", "stop"),
        *("start text", "+ text_delta", "+ text_delta", "stop"),
        *("start tool_use", "+ input_json_delta", "+ input_json_delta", "stop"),
        *("message_delta", "message_stop"),
    ]
    assert [value["index"] for value in values[1:-2]] == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    assert values[0]["message"]["id"] == "msg_reply-1"
    assert values[0]["message"]["usage"] == {"input_tokens": 0, "output_tokens": 0}
    assert values[3]["delta"]["signature"] == "S"
    assert values[-2] == {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {
            "input_tokens": 12,
            "cache_creation_input_tokens": 3,
            "cache_read_input_tokens": 5,
            "output_tokens": 9,
            "output_tokens_details": {"thinking_tokens": 4},
        },
    }


def test_what_is_known_of_the_input_stands_in_front() -> None:
    values = written(Started(), UsageReported(usage=Usage(input_tokens=7, output_tokens=1)), TextDelta(text="a"), *STOPPED)
    assert values[0]["message"]["usage"] == {"input_tokens": 7, "output_tokens": 1}


def test_arguments_are_read_again_only_when_they_may_be_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    try_object = wire.try_object
    monkeypatch.setattr(wire, "try_object", lambda text: read.append(text) or try_object(text))
    pieces = ['{"a":"', *["x"] * 100, '"}']
    starts = [ToolCallStarted(index=index, id=f"c{index}", name="f") for index in (0, 1)]
    deltas = [ToolCallDelta(index=index, arguments=piece) for piece in pieces for index in (0, 1)]
    values = written(Started(), *starts, *deltas, *STOPPED)
    assert words(values).count("+ input_json_delta") == 2 * len(pieces)
    assert read == ["".join(pieces)]


def test_an_empty_answer_is_a_whole_message() -> None:
    events = (Started(), TextDelta(text=""), *STOPPED)
    assert words(written(*events)) == ["message_start", "message_delta", "message_stop"]
    assert whole(*events)["content"] == []


@pytest.mark.parametrize("seal", [None, Seal(dialect="openai_responses", data="gAAA")])
def test_a_thought_of_another_vendor_has_its_seal_in_an_envelope_or_an_empty_signature(seal: Seal | None) -> None:
    sealed = [SealAttached(seal=seal)] if seal is not None else []
    events = (Started(), ReasoningDelta(text="hm"), *sealed, TextDelta(text="a"), *STOPPED)
    expected = close_envelope(seal, "anthropic") if seal is not None else ""
    values = written(*events)
    assert [value["delta"]["signature"] for value in values if value.get("delta", {}).get("type") == "signature_delta"] == [expected]
    thought = whole(*events)["content"][0]
    assert thought == {"type": "thinking", "thinking": "hm", "signature": expected}
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": [thought, {"type": "text", "text": "a"}]}]
    body = json.dumps({"model": "m", "max_tokens": 9, "messages": [*turns, {"role": "user", "content": "y"}]}).encode()
    request = DIALECTS["anthropic"].decode_request(body, Peek(model="m"))
    (part,) = [part for message in request.messages for part in message.parts if isinstance(part, Reasoning)]
    assert (part.text, part.seal) == ("hm", seal)
    forwarded = json.loads(DIALECTS["anthropic"].forward_request(body, Peek(model="m"), "m"))
    assert forwarded["messages"][1]["content"] == [{"type": "text", "text": "a"}], "its own vendor would refuse it"
    items = json.loads(DIALECTS["openai_responses"].encode_request(request, "gpt-5").body)["input"]
    assert [item.get("encrypted_content") for item in items if item["type"] == "reasoning"] == (["gAAA"] if seal is not None else [])


def test_a_thought_of_another_vendor_that_is_not_shown_is_none() -> None:
    events = (Started(), ReasoningDelta(text=""), SealAttached(seal=Seal(dialect="gemini", data="G")), TextDelta(text="a"), *STOPPED)
    assert words(written(*events))[1:4] == ["start text", "+ text_delta", "stop"]
    assert whole(*events)["content"] == [{"type": "text", "text": "a"}]


def test_two_signed_thoughts_are_two_blocks() -> None:
    seals = [SealAttached(seal=Seal(dialect="anthropic", data=data)) for data in "ST"]
    values = written(Started(), ReasoningDelta(text="a"), seals[0], ReasoningDelta(text="b"), seals[1], *STOPPED)
    assert words(values)[1:9] == ["start thinking", "+ thinking_delta", "+ signature_delta", "stop"] * 2
    assert [values[3]["delta"]["signature"], values[7]["delta"]["signature"]] == ["S", "T"]


def test_calls_whose_arguments_come_in_turns_are_written_one_after_the_other() -> None:
    values = written(
        Started(),
        ToolCallStarted(index=0, id="a", name="f"),
        ToolCallDelta(index=0, arguments='{"x"'),
        ToolCallStarted(index=1, id="b", name="g"),
        ToolCallDelta(index=1, arguments='{"y":'),
        ToolCallDelta(index=0, arguments=":1}"),
        ToolCallDelta(index=1, arguments="2}"),
        TextDelta(text="done"),
        ChoiceFinished(reason="tool_calls"),
        Done(),
    )
    decoder = MESSAGES.stream_decoder()
    encoded = b"".join(f"data: {json.dumps(value)}\n\n".encode() for value in values)
    parts = collect([event for frame in SseDecoder().feed(encoded) for event in decoder.feed(frame)]).choices[0].parts
    assert parts == (ToolCall(id="a", name="f", arguments='{"x":1}'), ToolCall(id="b", name="g", arguments='{"y":2}'), Text(text="done"))


def test_a_call_goes_out_as_its_arguments_come() -> None:
    encoder = MESSAGES.stream_encoder(CONTEXT)
    encoder.encode(Started())
    assert b'"name":"f"' in encoder.encode(ToolCallStarted(index=0, id="a", name="f"))
    assert b"partial_json" in encoder.encode(ToolCallDelta(index=0, arguments='{"x"'))
    assert b"partial_json" in encoder.encode(ToolCallDelta(index=0, arguments=":1}"))
    assert b'"name":"g"' in encoder.encode(ToolCallStarted(index=1, id="b", name="g"))


def test_what_waited_behind_a_call_goes_out_when_its_arguments_are_complete() -> None:
    encoder = MESSAGES.stream_encoder(CONTEXT)
    for event in (Started(), ToolCallStarted(index=0, id="a", name="f"), ToolCallDelta(index=0, arguments='{"x"')):
        encoder.encode(event)
    assert encoder.encode(ToolCallStarted(index=1, id="b", name="g")) == b""
    assert b'"name":"g"' in encoder.encode(ToolCallDelta(index=0, arguments=":1}"))


@pytest.mark.parametrize(
    ("finished", "call", "expected"),
    [
        (ChoiceFinished(reason="stop"), False, ("end_turn", None)),
        (ChoiceFinished(reason="stop"), True, ("tool_use", None)),
        (ChoiceFinished(reason="stop", stop_sequence="END"), False, ("stop_sequence", "END")),
        (ChoiceFinished(reason="length"), True, ("max_tokens", None)),
        (ChoiceFinished(reason="pause"), False, ("pause_turn", None)),
        (ChoiceFinished(reason="content_filter"), False, ("refusal", None)),
        (ChoiceFinished(reason="error"), False, ("refusal", None)),
    ],
)
def test_the_reason_to_stop(finished: ChoiceFinished, call: bool, expected: tuple[str, str | None]) -> None:
    events: list[Event] = [Started(), *([ToolCallStarted(index=0, id="t", name="f")] if call else []), finished, Done()]
    last = written(*events)[-2]["delta"]
    assert (last["stop_reason"], last["stop_sequence"]) == expected
    assert (whole(*events)["stop_reason"], whole(*events)["stop_sequence"]) == expected


def test_what_has_no_word_here_is_left_out() -> None:
    media = MediaReceived(media=Media(kind="image", mime_type="image/png", data="aGk="))
    foreign = OpaqueReceived(part=Opaque(dialect="gemini", kind="x", value={"x": 1}))
    other = TextDelta(text="second choice", choice=1)
    events = (
        Started(),
        media,
        foreign,
        other,
        RefusalDelta(text="no"),
        ChoiceFinished(reason="refusal"),
        ChoiceFinished(reason="stop", choice=1),
        Done(),
    )
    assert words(written(*events)) == ["message_start", "start text", "+ text_delta", "stop", "message_delta", "message_stop"]
    assert whole(*events)["content"] == [{"type": "text", "text": "no"}]


def test_an_error_ends_the_stream_with_an_event_of_its_own() -> None:
    values = written(Started(), TextDelta(text="a"), Failed(UpstreamOverloaded("busy")))
    assert words(values) == ["message_start", "start text", "+ text_delta", "error"]
    assert values[-1]["error"] == {"type": "overloaded_error", "message": "busy", "code": "upstream_overloaded"}
    assert values[-1]["request_id"] == "reply-1"


def test_a_ping_is_one_event() -> None:
    (frame,) = SseDecoder().feed(MESSAGES.keep_alive)
    assert (frame.event, frame.data) == ("ping", b'{"type": "ping"}')


pieces = st.one_of(
    st.builds(TextDelta, text=st.text(max_size=3)),
    st.builds(ReasoningDelta, text=st.text(max_size=3)),
    st.builds(RefusalDelta, text=st.text(max_size=3)),
    st.just(SealAttached(seal=Seal(dialect="anthropic", data="S"))),
    st.just(UsageReported(usage=Usage(input_tokens=1))),
    st.just(OpaqueReceived(part=Opaque(dialect="anthropic", kind="citation", value={"type": "char_location"}))),
    st.just(OpaqueReceived(part=Opaque(dialect="anthropic", kind="server_tool_use", value={"type": "server_tool_use", "input": {}}))),
    st.sampled_from(["call", '{"a"', ":1", "}", "{}"]),
)


@given(script=st.lists(st.tuples(pieces, st.integers(0, 3)), max_size=14))
@settings(max_examples=300, deadline=None)
def test_blocks_never_overlap_and_nothing_stands_outside_the_message(script: list[tuple[Any, int]]) -> None:
    events: list[Event] = [Started()]
    calls = 0
    for piece, index in script:
        if piece == "call":
            events.append(ToolCallStarted(index=calls, id=f"t{calls}", name="f"))
            calls += 1
        elif isinstance(piece, str):
            if index < calls:
                events.append(ToolCallDelta(index=index, arguments=piece))
        else:
            events.append(piece)
    values = written(*events, *STOPPED)
    kinds = [value["type"] for value in values]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert kinds.count("message_start") == kinds.count("message_delta") == kinds.count("message_stop") == 1
    opened, count = None, 0
    for value in values[1:-2]:
        match value["type"]:
            case "content_block_start":
                assert (opened, value["index"]) == (None, count)
                opened, count = count, count + 1
            case "content_block_delta":
                assert value["index"] == opened
            case "content_block_stop":
                assert value["index"] == opened
                opened = None
    assert opened is None
    started = [value["content_block"]["id"] for value in values if value.get("content_block", {}).get("type") == "tool_use"]
    assert started == [f"t{index}" for index in range(calls)]
    texts = "".join(value["delta"].get("text", "") for value in values if value.get("delta", {}).get("type") == "text_delta")
    assert texts == "".join(event.text for event in events if isinstance(event, TextDelta | RefusalDelta))


def test_the_list_of_models() -> None:
    entries = [ModelEntry(id="a", owned_by="x", created_s=1_700_000_000, display_name="A", input_token_limit=7, output_token_limit=5)]
    entries.append(ModelEntry(id="b", owned_by="y"))
    listed = json.loads(MESSAGES.encode_models(entries))
    assert (listed["has_more"], listed["first_id"], listed["last_id"]) == (False, "a", "b")
    assert listed["data"][0]["created_at"] == "2023-11-14T22:13:20Z"
    assert [ModelInfo.model_validate(entry).display_name for entry in listed["data"]] == ["A", "b"]
    again = MESSAGES.decode_models(MESSAGES.encode_models(entries))
    assert [(entry.id, entry.created_s, entry.input_token_limit, entry.output_token_limit) for entry in again] == [
        ("a", 1_700_000_000, 7, 5),
        ("b", 0, None, None),
    ]
    assert json.loads(MESSAGES.encode_models([])) == {"data": [], "has_more": False, "first_id": None, "last_id": None}


@pytest.mark.parametrize(
    ("dialect", "field", "said", "created_at"),
    [
        ("openai_chat", "created", 1_700_000_000, "2023-11-14T22:13:20Z"),
        ("openai_chat", "created", 1_700_000_000_000, "2023-11-14T22:13:20Z"),
        ("openai_chat", "created", 1e300, "1970-01-01T00:00:00Z"),
        ("openai_chat", "created", -1, "1970-01-01T00:00:00Z"),
        ("openai_chat", "created", None, "1970-01-01T00:00:00Z"),
        ("anthropic", "created_at", "2023-11-14T22:13:20Z", "2023-11-14T22:13:20Z"),
        ("anthropic", "created_at", "0001-01-01T00:00:00+05:00", "1970-01-01T00:00:00Z"),
        ("anthropic", "created_at", "9999-12-31T23:59:59-12:00", "1970-01-01T00:00:00Z"),
        ("anthropic", "created_at", "soon", "1970-01-01T00:00:00Z"),
        ("anthropic", "created_at", 1_700_000_000, "2023-11-14T22:13:20Z"),
        ("anthropic", "created_at", None, "1970-01-01T00:00:00Z"),
    ],
)
def test_a_model_is_as_old_as_its_upstream_says_where_that_is_a_time(dialect: str, field: str, said: Any, created_at: str) -> None:
    entries = DIALECTS[dialect].decode_models(json.dumps({"data": [{"id": "m", field: said}]}).encode())
    assert json.loads(MESSAGES.encode_models(entries))["data"][0]["created_at"] == created_at


def test_a_signed_thought_that_is_not_shown_is_a_block() -> None:
    events = (Started(), ReasoningDelta(text=""), SealAttached(seal=Seal(dialect="anthropic", data="S")), *STOPPED)
    assert collect(events).choices[0].parts == (Reasoning(text="", seal=Seal(dialect="anthropic", data="S")),)
    assert words(written(*events))[1:4] == ["start thinking", "+ signature_delta", "stop"]
