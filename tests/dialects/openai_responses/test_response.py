"""Replies as they may come: errors in them, and servers that leave events out."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from openai.types.responses import ResponseError

from fkproxy.dialects import DIALECTS
from fkproxy.model.errors import FkproxyError, UpstreamProtocolError
from fkproxy.model.events import (
    ChoiceFinished,
    Event,
    Failed,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
    collect,
)
from fkproxy.model.parts import Refusal, Text, ToolCall
from fkproxy.model.usage import Usage
from tests.dialects.golden import frames
from tests.fakes.order import check_order

RESPONSES = DIALECTS["openai_responses"]
HEAD = {"id": "r", "object": "response", "created_at": 1, "model": "m", "status": "in_progress", "output": []}
CREATED = {"type": "response.created", "response": HEAD}


def streamed(*values: dict[str, Any]) -> list[Event]:
    decoder = RESPONSES.stream_decoder()
    found = frames([b"".join(b"data: %b\n\n" % json.dumps(value).encode() for value in values)])
    return [*(event for frame in found for event in decoder.feed(frame)), *decoder.end()]


def ended(status: str = "completed", **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{status}", "response": {**HEAD, "status": status, **fields}}


def failure(code: str, **fields: Any) -> tuple[list[Event], FkproxyError]:
    *events, last = streamed(CREATED, ended("failed", error={"code": code, "message": "m"}, **fields))
    assert isinstance(last, Failed)
    return events, last.error


THEIRS = {"server_error": 502, "vector_store_timeout": 502, "rate_limit_exceeded": 429}


@pytest.mark.parametrize(
    ("code", "status"),
    [
        *((code, THEIRS.get(code, 400)) for code in get_args(ResponseError.model_fields["code"].annotation)),
        ("server_is_overloaded", 503),
        ("slow_down", 503),
        ("usage_limit_reached", 429),
    ],
)
def test_a_failure_is_whose_its_code_says(code: str, status: int) -> None:
    _, error = failure(code)
    assert error.status == status
    assert error.breaker == (status in (502, 503))


@pytest.mark.parametrize("status", [None, "in_progress"])
def test_how_a_reply_ended_is_what_its_last_event_is_called(status: str | None) -> None:
    def finished(name: str, **fields: Any) -> Event:
        event = ended(name, **fields)
        return streamed(CREATED, {**event, "response": {**event["response"], "status": status}})[1]

    assert finished("incomplete", incomplete_details={"reason": "max_output_tokens"}) == ChoiceFinished(
        reason="length", native="max_output_tokens"
    )
    assert finished("incomplete") == ChoiceFinished(reason="error", native="incomplete")
    assert finished("completed") == ChoiceFinished(reason="stop", native=status)
    assert isinstance(finished("failed"), Failed)


def test_what_a_failed_reply_cost_is_told() -> None:
    events, _ = failure("server_error", usage={"input_tokens": 5, "output_tokens": 1})
    assert events[1:] == [UsageReported(usage=Usage(input_tokens=5, output_tokens=1))]


def test_a_reply_that_comes_with_its_last_event_only_is_read_from_it() -> None:
    items = [
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    ]
    expected = [TextDelta(text="hi"), ToolCallStarted(index=0, id="c", name="f"), ToolCallDelta(index=0, arguments="{}")]
    assert streamed(CREATED, ended(output=items))[1:-2] == expected
    heard = [{"type": "response.output_item.done", "output_index": index, "item": item} for index, item in enumerate(items)]
    assert streamed(CREATED, *heard, ended(output=items))[1:-2] == expected


def opened(item: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def text(delta: str, index: int = 0) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "output_index": index, "delta": delta}


def test_what_other_kinds_of_events_have_may_be_null() -> None:
    """As servers write it that have one type for all events, and leave nothing out."""
    message, call = {"type": "message", "id": "m"}, {"type": "function_call", "id": "f", "call_id": "c", "name": "f"}
    said = [
        CREATED,
        opened(message),
        {"type": "response.output_text.done", "item_id": "m", "output_index": 0, "content_index": 0, "text": "hi"},
        opened(call, 1),
        {"type": "response.function_call_arguments.done", "item_id": "f", "output_index": 1, "arguments": "{}"},
        {"type": "response.output_item.done", "output_index": 1, "item": {**call, "arguments": "{}"}},
        ended(),
    ]
    fields = ("response", "item", "item_id", "output_index", "content_index", "summary_index", "delta", "text", "refusal", "arguments")
    nulls = [{**dict.fromkeys(fields), **event} for event in said]
    assert streamed(*nulls) == streamed(*said)
    assert collect(streamed(*nulls)).choices[0].parts == (Text(text="hi"), ToolCall(id="c", name="f", arguments="{}"))


@pytest.mark.parametrize(
    "event", [{"type": "keepalive", "response": "x"}, {"type": "response.new_thing", "item": "x", "output_index": None, "delta": 1}]
)
def test_what_is_new_may_use_a_known_name_for_something_else(event: dict[str, Any]) -> None:
    assert streamed(event, CREATED, event, text("a"), event, ended()) == streamed(CREATED, text("a"), ended())


@pytest.mark.parametrize(
    "event", [{**CREATED, "response": "x"}, {**text("a"), "output_index": "x"}, {**opened({}), "item": []}, {"type": 1}]
)
def test_what_is_known_must_be_what_its_type_says(event: dict[str, Any]) -> None:
    with pytest.raises(UpstreamProtocolError):
        streamed(CREATED, event)


MESSAGE = {"type": "message", "id": "m", "role": "assistant", "content": []}
SAID = {**MESSAGE, "content": [{"type": "output_text", "text": "ab"}, {"type": "refusal", "refusal": "no"}]}
CALL = {"type": "function_call", "id": "i", "call_id": "c", "name": "f", "arguments": ""}
ASKED = {**CALL, "arguments": '{"a":1}'}
BEGUN = [opened(MESSAGE), opened(CALL, 1)]
WHOLE = [
    {"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": "ab"},
    {"type": "response.refusal.done", "output_index": 0, "content_index": 1, "refusal": "no"},
    {"type": "response.function_call_arguments.done", "output_index": 1, "arguments": '{"a":1}'},
]
CLOSED = [{"type": "response.output_item.done", "output_index": index, "item": item} for index, item in enumerate((SAID, ASKED))]
PIECES = [
    text("a"),
    text("b"),
    {"type": "response.refusal.delta", "output_index": 0, "content_index": 1, "delta": "no"},
    {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": '{"a"'},
    {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": ":1}"},
]


@pytest.mark.parametrize("output", [[], [SAID, ASKED]])
@pytest.mark.parametrize("closed", [[], CLOSED])
@pytest.mark.parametrize("whole", [[], WHOLE, [*WHOLE, *WHOLE]])
@pytest.mark.parametrize("pieces", [[], PIECES])
def test_what_comes_in_any_way_is_told_once(pieces: list[Any], whole: list[Any], closed: list[Any], output: list[Any]) -> None:
    events = streamed(CREATED, *BEGUN, *pieces, *whole, *closed, ended(output=output))
    check_order(events)
    parts = sorted(collect(events).choices[0].parts, key=lambda part: type(part).__name__)
    if pieces or whole or closed or output:
        assert parts == [Refusal(text="no"), Text(text="ab"), ToolCall(id="c", name="f", arguments='{"a":1}')]
    else:
        assert parts == [ToolCall(id="c", name="f", arguments="{}")]


@pytest.mark.parametrize(
    ("item", "arguments"),
    [
        ({**ASKED, "id": "another"}, '{"a":1}'),
        ({**ASKED, "id": None}, '{"a":1}'),
        ({**ASKED, "id": "another", "call_id": "another"}, "{}"),
        ({**SAID, "id": "another"}, "{}"),
    ],
)
def test_an_item_of_the_last_event_is_that_which_has_begun_when_it_looks_like_it(item: dict[str, Any], arguments: str) -> None:
    assert collect(streamed(CREATED, opened(CALL), ended(output=[item]))).choices[0].parts == (
        ToolCall(id="c", name="f", arguments=arguments),
    )


def test_an_item_of_the_last_event_is_found_by_its_id_where_others_are_left_out() -> None:
    hidden = opened({"type": "reasoning", "id": "rs", "summary": []})
    assert ToolCallDelta(index=0, arguments='{"a":1}') in streamed(CREATED, hidden, opened(CALL, 1), ended(output=[ASKED]))


@pytest.mark.parametrize("told", ["begun", "in pieces", "closed"])
def test_items_may_all_have_one_index(told: str) -> None:
    values: list[dict[str, Any]] = [CREATED]
    for number in range(3):
        call = {"type": "function_call", "id": f"fc_{number}", "call_id": f"c{number}", "name": "f", "arguments": ""}
        said = {"type": "message", "id": f"msg_{number}", "content": [{"type": "output_text", "text": f"t{number}"}]}
        if told != "closed":
            values.append(opened(call))
        if told == "in pieces":
            values.append({"type": "response.function_call_arguments.delta", "output_index": 0, "delta": f"[{number}]"})
        values.append({"type": "response.output_item.done", "output_index": 0, "item": {**call, "arguments": f"[{number}]"}})
        if told == "in pieces":
            values.append(text(f"t{number}"))
        values.append({"type": "response.output_item.done", "output_index": 0, "item": said})
    events = streamed(*values, ended())
    check_order(events)
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["t0", "t1", "t2"]
    calls = [part for part in collect(events).choices[0].parts if isinstance(part, ToolCall)]
    assert [(call.id, call.arguments) for call in calls] == [("c0", "[0]"), ("c1", "[1]"), ("c2", "[2]")]


A_TEXT = {"type": "message", "id": "m1", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]}
A_CALL = {"type": "function_call", "id": "f1", "call_id": "c1", "name": "f", "arguments": "{}"}
A_THOUGHT = {"type": "reasoning", "id": "r1", "summary": [{"type": "summary_text", "text": "Hm."}]}


def done(item: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def piece(kind: str, item_id: str, index: int = 0, **fields: str) -> dict[str, Any]:
    return {"type": f"response.{kind}", "output_index": index, "content_index": 0, "item_id": item_id, **fields}


TEXT_IN_PIECES = piece("output_text.delta", "m1", delta="Hello")
TEXT_AT_ONCE = piece("output_text.done", "m1", text="Hello")
IN_PIECES = piece("function_call_arguments.delta", "f1", delta="{}")
AT_ONCE = piece("function_call_arguments.done", "f1", arguments="{}")
TEXT_BEGUN = [opened({**A_TEXT, "content": []}), TEXT_IN_PIECES]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(
            [*TEXT_BEGUN, opened(A_CALL), IN_PIECES, AT_ONCE, done(A_CALL), TEXT_AT_ONCE, done(A_TEXT)],
            id="one within the other",
        ),
        pytest.param([*TEXT_BEGUN, opened(A_CALL), done(A_TEXT), IN_PIECES, done(A_CALL), AT_ONCE], id="one across the other"),
        pytest.param([*TEXT_BEGUN, done(A_TEXT), TEXT_AT_ONCE, opened(A_CALL), done(A_CALL), AT_ONCE], id="a piece behind its item"),
        pytest.param([*TEXT_BEGUN, done(A_TEXT), done(A_TEXT), opened(A_CALL), done(A_CALL), done(A_CALL)], id="twice"),
        pytest.param([opened(A_THOUGHT), *TEXT_BEGUN, done(A_TEXT), done(A_THOUGHT), done(A_CALL)], id="within a thought"),
        pytest.param([done(A_TEXT), done(A_CALL), done(A_TEXT), done(A_CALL)], id="twice, and never begun"),
        pytest.param([*TEXT_BEGUN, opened(A_CALL)], id="never closed"),
    ],
)
@pytest.mark.parametrize("one_index", [True, False])
def test_in_whatever_order_items_end_each_is_told_once(values: list[dict[str, Any]], one_index: bool) -> None:
    place = {"m1": 0, "f1": 0, "r1": 0} if one_index else {"m1": 0, "f1": 1, "r1": 2}
    placed = [{**value, "output_index": place[value.get("item_id") or value["item"]["id"]]} for value in values]
    events = streamed(CREATED, *placed, ended(output=[A_TEXT, A_CALL]))
    check_order(events)
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["Hello"]
    assert [event.id for event in events if isinstance(event, ToolCallStarted)] == ["c1"]
    assert [event.arguments for event in events if isinstance(event, ToolCallDelta)] == ["{}"]


@pytest.mark.parametrize(("word", "tier"), [("ultrafast", "ultrafast"), ("default", None), (["flex"], None), (None, None)])
def test_the_tier_that_served_is_what_the_end_tells(word: Any, tier: str | None) -> None:
    created = {"type": "response.created", "response": {**HEAD, "service_tier": "flex"}}
    end = ended(service_tier=word, usage={"input_tokens": 1, "output_tokens": 2})
    for events in (streamed(created, end), RESPONSES.hear_reply(json.dumps(end["response"]).encode())):
        usage = collect(events).usage
        assert usage is not None
        assert (usage.output_tokens, usage.tier) == (2, tier)
