"""What servers of this dialect send beside what is documented, and what is no reply at all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.model.errors import (
    UpstreamError,
    UpstreamFailed,
    UpstreamOverloaded,
    UpstreamProtocolError,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamRefusedCredential,
    UpstreamRejected,
)
from fkproxy.model.events import Done, Event, Failed, Started, TextDelta, ToolCallDelta, UsageReported, collect
from fkproxy.model.parts import Reasoning, Seal, Text, ToolCall
from fkproxy.model.usage import Usage
from fkproxy.wire.sse import SseDecoder, encode_event
from tests.fakes.order import check_order

MESSAGES = DIALECTS["anthropic"]


def stream(*events: dict[str, Any]) -> list[Event]:
    decoder = MESSAGES.stream_decoder()
    data = b"".join(encode_event(event["type"], json.dumps(event).encode()) for event in events)
    return [event for frame in SseDecoder().feed(data) for event in decoder.feed(frame)] + decoder.end()


def start(**usage: int) -> dict[str, Any]:
    return {"type": "message_start", "message": {"id": "msg_1", "model": "m", "content": [], "usage": usage}}


def block(index: int, content_block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": content_block}


def delta(index: int, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": fields}


def finish(reason: str = "end_turn", **usage: int) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


def closed(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


STOP = {"type": "message_stop"}
TEXT = [block(0, {"type": "text", "text": ""}), delta(0, type="text_delta", text="a"), closed(0)]


def test_a_stream_that_forgets_the_last_event_is_whole_all_the_same() -> None:
    assert isinstance(stream(start(), *TEXT, finish())[-1], Done)


@pytest.mark.parametrize(
    "events", [[], [start()], [start(), *TEXT], [start(), *TEXT, {"type": "message_delta", "delta": {}}], [start(), STOP]]
)
def test_a_stream_without_a_reason_to_stop_is_cut(events: list[dict[str, Any]]) -> None:
    last = stream(*events)[-1]
    assert isinstance(last, Failed)
    assert isinstance(last.error, UpstreamProtocolError)


def test_a_stream_without_a_beginning_begins_with_its_content() -> None:
    events = stream(*TEXT, finish())
    check_order(events)
    assert events[0] == Started()


def test_a_second_beginning_is_passed_over() -> None:
    events = stream(start(), start(), *TEXT, finish(), finish("max_tokens"), STOP)
    check_order(events)
    assert collect(events).choices[0].reason == "stop"


def test_what_other_kinds_of_events_have_may_be_null() -> None:
    """As servers write it that have one type for all events and one for all deltas, and leave nothing out."""
    said = [
        start(input_tokens=1),
        block(0, {"type": "thinking", "thinking": "t", "signature": ""}),
        delta(0, type="thinking_delta", thinking="u"),
        delta(0, type="signature_delta", signature="s"),
        closed(0),
        block(1, {"type": "tool_use", "id": "i", "name": "f", "input": {}}),
        delta(1, type="input_json_delta", partial_json="{}"),
        closed(1),
        *(delta(2, **event["delta"]) if "delta" in event else {**event, "index": 2} for event in TEXT),
        finish("tool_use", output_tokens=2),
        STOP,
    ]
    of_event = dict.fromkeys(("message", "index", "content_block", "delta", "usage", "error"))
    of_delta = dict.fromkeys(("text", "thinking", "signature", "partial_json", "stop_reason", "stop_sequence"))
    nulls = [{**of_event, **event, **({"delta": {**of_delta, **event["delta"]}} if "delta" in event else {})} for event in said]
    assert stream(*nulls) == stream(*said)
    assert len(collect(stream(*nulls)).choices[0].parts) == 3


def test_input_that_comes_with_the_block_is_not_lost() -> None:
    events = stream(start(), block(0, {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}), closed(0), finish("tool_use"))
    assert collect(events).choices[0].parts == (ToolCall(id="t", name="f", arguments='{"a":1}'),)


def test_input_in_pieces_wins_over_that_of_the_block() -> None:
    pieces = [delta(0, type="input_json_delta", partial_json=piece) for piece in ("", '{"a"', ":1}")]
    events = stream(start(), block(0, {"type": "tool_use", "id": "t", "name": "f", "input": {}}), *pieces, closed(0), finish("tool_use"))
    assert [event.arguments for event in events if isinstance(event, ToolCallDelta)] == ['{"a"', ":1}"]


def tool(index: int, **given: Any) -> dict[str, Any]:
    return block(index, {"type": "tool_use", "id": f"t{index}", "name": "f", "input": given})


def piece(index: int, text: str) -> dict[str, Any]:
    return delta(index, type="input_json_delta", partial_json=text)


@pytest.mark.parametrize("ends", [[], [closed(0), closed(1)], [closed(1), closed(0)]])
@pytest.mark.parametrize("text", [[], [block(2, {"type": "text", "text": "b"})]])
@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([piece(0, '{"x"'), piece(1, '{"y"'), piece(0, ":1}"), piece(1, ":2}")], ['{"x":1}', '{"y":2}']),
        ([piece(1, '{"y":2}')], ['{"given":0}', '{"y":2}']),
        ([piece(0, '{"x":1}')], ['{"x":1}', '{"given":1}']),
        ([], ['{"given":0}', '{"given":1}']),
    ],
)
def test_calls_that_come_at_the_same_time_are_told_apart(pieces: list[Any], expected: list[str], text: list[Any], ends: list[Any]) -> None:
    events = stream(start(), tool(0, given=0), tool(1, given=1), *text, *pieces, *ends, finish("tool_use"), STOP)
    check_order(events)
    parts = collect(events).choices[0].parts
    assert [part.arguments for part in parts if isinstance(part, ToolCall)] == expected
    assert [part for part in parts if isinstance(part, Text)] == [Text(text="b") for _ in text]


def test_calls_that_all_have_one_index_follow_each_other() -> None:
    calls = [tool(0), piece(0, '{"x":1}'), tool(0, given=0), tool(0), piece(0, '{"z":3}')]
    parts = collect(stream(start(), *calls, finish("tool_use"), STOP)).choices[0].parts
    assert [part.arguments for part in parts if isinstance(part, ToolCall)] == ['{"x":1}', '{"given":0}', '{"z":3}']


def test_a_call_without_an_id_gets_one() -> None:
    events = stream(start(), block(0, {"type": "tool_use", "name": "f"}), finish("tool_use"))
    (call,) = collect(events).choices[0].parts
    assert isinstance(call, ToolCall)
    assert call.id.startswith("call_")
    assert call.arguments == "{}"


def test_a_signature_belongs_to_its_own_thought() -> None:
    thought = [block(1, {"type": "thinking", "thinking": "", "signature": ""}), delta(1, type="signature_delta", signature="S"), closed(1)]
    parts = collect(stream(start(), *TEXT, *thought, finish(), STOP)).choices[0].parts
    assert parts == (Text(text="a"), Reasoning(text="", seal=Seal(dialect="anthropic", data="S")))


def test_counts_are_cumulative_and_need_not_be_repeated() -> None:
    events = stream(start(input_tokens=10, cache_read_input_tokens=5, output_tokens=1), *TEXT, finish(output_tokens=7), STOP)
    assert [event.usage for event in events if isinstance(event, UsageReported)] == [
        Usage(input_tokens=15, cached_input_tokens=5, output_tokens=1),
        Usage(input_tokens=15, cached_input_tokens=5, output_tokens=7),
    ]


def test_unknown_things_are_passed_over() -> None:
    odd = [{"type": "x"}, {"type": "ping"}, delta(9, type="y_delta"), delta(0, type="text_delta", text="stray"), closed(7)]
    assert collect(stream(*odd[:2], start(), *odd, *TEXT, *odd[2:], finish(), STOP)).choices[0].parts == (Text(text="a"),)


def test_a_count_that_is_known_is_not_lost_to_a_zero() -> None:
    counts = {"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 0}
    events = stream(start(**counts, output_tokens=1), *TEXT, finish(**dict.fromkeys(counts, 0), output_tokens=7), STOP)
    assert collect(events).usage == Usage(input_tokens=15, cached_input_tokens=5, cache_write_tokens=0, output_tokens=7)
    assert collect(stream(start(), *TEXT, finish(input_tokens=0), STOP)).usage == Usage(input_tokens=0)


def test_what_was_written_for_an_hour_is_told_apart() -> None:
    written = {"cache_creation_input_tokens": 9, "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 5}}
    nothing = {"cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}}
    for later in ({}, {"cache_creation": None}, nothing, written):
        events = stream(start(input_tokens=1, **written), *TEXT, finish(output_tokens=7, **later), STOP)
        usage = Usage(input_tokens=10, output_tokens=7, cache_write_tokens=9, cache_write_1h_tokens=5)
        assert collect(events).usage == usage


NEW = [
    {"type": "progress", "message": "working on it"},
    {"type": "meter", "usage": [1], "index": "a"},
    delta(0, type="future_delta", text={"a": 1}),
    delta(0, type="future_delta", text=None, citation=None),
]


@pytest.mark.parametrize("event", NEW)
def test_what_is_new_may_use_a_known_name_for_something_else(event: dict[str, Any]) -> None:
    assert stream(start(), event, TEXT[0], event, *TEXT[1:], event, finish(), STOP) == stream(start(), *TEXT, finish(), STOP)


@pytest.mark.parametrize(
    "event", [{**start(), "message": "x"}, delta(0, type="text_delta", text=1), delta(0, text=1), {"type": "error", "index": ""}]
)
def test_what_is_known_must_be_what_its_type_says(event: dict[str, Any]) -> None:
    with pytest.raises(UpstreamProtocolError):
        stream(start(), TEXT[0], event)


def test_nothing_is_read_behind_the_end() -> None:
    assert [type(event) for event in stream(start(), *TEXT, finish(), STOP, start(), *TEXT)][-2:] != [TextDelta, Done]


@pytest.mark.parametrize("data", [b"data: {\n\n", b'data: {"type": 1}\n\n', b"data: " + b"[" * 5000 + b"\n\n"])
def test_what_is_no_event_is_refused(data: bytes) -> None:
    (frame,) = SseDecoder().feed(data)
    with pytest.raises(UpstreamProtocolError):
        MESSAGES.stream_decoder().feed(frame)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"content": []}', b'{"content": "x", "stop_reason": "end_turn"}'])
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        MESSAGES.decode_reply(body)


@pytest.mark.parametrize(
    ("kind", "expected", "status"),
    [
        ("overloaded_error", UpstreamOverloaded, 503),
        ("rate_limit_error", UpstreamRateLimited, 429),
        ("api_error", UpstreamFailed, 502),
        ("an_error_of_the_future", UpstreamFailed, 502),
        (None, UpstreamFailed, 502),
        ("invalid_request_error", UpstreamRejected, 400),
        ("authentication_error", UpstreamRefusedCredential, 502),
        ("billing_error", UpstreamQuotaExhausted, 429),
    ],
)
def test_an_error_inside_a_200_says_by_its_type_what_it_is(kind: str | None, expected: type[UpstreamError], status: int) -> None:
    error = {"type": "error", "error": {"type": kind, "message": "words"}}
    for events in (stream(start(), *TEXT, error, STOP), MESSAGES.decode_reply(json.dumps(error).encode())):
        last = events[-1]
        assert isinstance(last, Failed)
        assert type(last.error) is expected
        assert last.error.status == status


def test_an_error_may_be_anything() -> None:
    assert isinstance(stream({"type": "error", "error": "words"})[-1], Failed)
    assert isinstance(stream({"type": "error"})[-1], Failed)
