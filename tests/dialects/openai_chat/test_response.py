"""Replies of servers that are compatible with OpenAI's, each in its own way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.model.events import ChoiceFinished, Event, Failed, ReasoningDelta, TextDelta, collect
from fkproxy.model.parts import Seal, Text, ToolCall
from fkproxy.wire.sse import TextPattern
from tests.dialects.golden import frames
from tests.fakes.order import check_order

CHAT = DIALECTS["openai_chat"]


def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


def streamed(*chunks: dict[str, Any]) -> list[Event]:
    decoder = CHAT.stream_decoder()
    found = frames([b"".join(b"data: %b\n\n" % json.dumps(value).encode() for value in chunks)])
    return [*(event for frame in found for event in decoder.feed(frame)), *decoder.end()]


def called(*calls: dict[str, Any]) -> list[tuple[str, str]]:
    """(name, arguments) of the calls that a stream with these deltas makes."""
    (choice,) = collect(streamed(*(chunk({"tool_calls": [call]}) for call in calls), chunk({}, "tool_calls"))).choices
    parts = [part for part in choice.parts if isinstance(part, ToolCall)]
    assert len({part.id for part in parts}) == len(parts)
    return [(part.name, part.arguments) for part in parts]


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("stop", "stop"),
        ("eos", "stop"),
        ("model_length", "length"),
        ("max_tokens", "length"),
        ("MAX_TOKENS", "length"),
        ("abort", "error"),
        ("insufficient_system_resource", "error"),
        ("SAFETY", "content_filter"),
    ],
)
def test_a_reply_that_was_cut_short_is_not_taken_for_a_whole_one(native: str, reason: str) -> None:
    (finished,) = [event for event in streamed(chunk({"content": "x"}, native)) if isinstance(event, ChoiceFinished)]
    assert (finished.reason, finished.native) == (reason, native)


@pytest.mark.parametrize("thought", [[{"type": "text", "text": "hm"}], "hm"])
def test_a_thought_among_the_parts_of_a_content_is_a_thought(thought: Any) -> None:
    content = [{"type": "thinking", "thinking": thought}, {"type": "text", "text": "hi"}]
    assert streamed(chunk({"content": content}, "stop"))[1:3] == [ReasoningDelta(text="hm"), TextDelta(text="hi")]


def test_calls_with_the_same_id_at_different_places_are_different() -> None:
    first = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a":1}'}}
    second = {"index": 1, "id": "c", "function": {"name": "g", "arguments": '{"b":'}}
    more = {"index": 1, "id": "c", "function": {"arguments": "2}"}}
    assert called(first, second, more) == [("f", '{"a":1}'), ("g", '{"b":2}')]


@pytest.mark.parametrize("place", [{}, {"index": 0}])
@pytest.mark.parametrize("again", ["f", "g"])
def test_every_call_of_a_whole_message_is_one_of_its_own(place: dict[str, int], again: str) -> None:
    functions = [{"name": "f", "arguments": '{"x":1}'}, {"name": again, "arguments": '{"y":2}'}]
    message = {"tool_calls": [{**place, "id": "c", "type": "function", "function": function} for function in functions]}
    body = {"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    events = CHAT.decode_reply(json.dumps(body).encode())
    check_order(events)
    first, second = collect(events).choices[0].parts
    assert isinstance(first, ToolCall)
    assert isinstance(second, ToolCall)
    assert [(part.name, part.arguments) for part in (first, second)] == [("f", '{"x":1}'), (again, '{"y":2}')]
    assert first.id == "c" != second.id


@pytest.mark.parametrize("key", ["message", "delta"])
def test_a_signature_belongs_to_what_it_stands_beside(key: str) -> None:
    def signed(data: str) -> dict[str, Any]:
        return {"extra_content": {"google": {"thought_signature": data}}}

    call = {"index": 0, "id": "k", "function": {"name": "f", "arguments": "{}"}, **signed("of the call")}
    message = {"content": "x", "tool_calls": [call], **signed("of the text")}
    events = streamed({"id": "c", "choices": [{"index": 0, key: message, "finish_reason": "tool_calls"}]})
    assert collect(events).choices[0].parts == (
        Text(text="x", seal=Seal(dialect="gemini", data="of the text")),
        ToolCall(id="k", name="f", arguments="{}", seal=Seal(dialect="gemini", data="of the call")),
    )


def test_calls_that_only_their_names_tell_apart_are_different() -> None:
    assert called(*({"index": 0, "function": {"name": name, "arguments": "{}"}} for name in "fg")) == [("f", "{}"), ("g", "{}")]


def test_a_name_that_is_repeated_with_every_piece_is_one_call() -> None:
    pieces = ({"index": 0, "function": {"name": "f", "arguments": piece}} for piece in ('{"a"', ":1}"))
    assert called(*pieces) == [("f", '{"a":1}')]


def test_calls_with_the_same_place_and_ids_of_their_own_are_different() -> None:
    pieces = [(name, {"name": name}) for name in "fg"] + [(name, {"arguments": f'{{"{name}":1}}'}) for name in "gf"]
    found = called(*({"index": 0, "id": name, "function": function} for name, function in pieces))
    assert found == [("f", '{"f":1}'), ("g", '{"g":1}')]


def test_a_name_may_come_behind_the_id() -> None:
    assert called({"index": 0, "id": "c"}, {"index": 0, "function": {"name": "f"}}, {"index": 0, "function": {"arguments": "{}"}}) == [
        ("f", "{}")
    ]


def test_what_comes_behind_a_finish_reason_is_not_lost() -> None:
    events = streamed(
        chunk({"content": "a"}, "stop"), {**chunk({"content": "b"}, "length"), "usage": {"prompt_tokens": 1}}, chunk({}, "stop")
    )
    check_order(events)
    (choice,) = collect(events).choices
    assert (choice.parts, choice.reason) == ((Text(text="ab"),), "length")


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 37.25, "completion_tokens": 2},
        {"prompt_tokens": "5", "completion_tokens": 2},
        {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": []},
        [],
    ],
)
def test_a_usage_that_cannot_be_read_takes_nothing_else_away(usage: Any) -> None:
    said = chunk({"content": "a"}), chunk({}, "stop")
    assert streamed(*said, {"id": "c", "choices": [], "usage": usage}) == streamed(*said)
    whole = {"id": "c", "choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}]}
    counted, plain = (json.dumps({**whole, **more}).encode() for more in ({"usage": usage}, {}))
    assert CHAT.decode_reply(counted) == CHAT.decode_reply(plain)
    assert collect(CHAT.hear_reply(counted)).choices[0].reason == "stop"


def test_a_choice_whose_number_is_null_is_the_first() -> None:
    said = chunk({"content": "a"}), chunk({}, "stop")
    assert streamed(*({**each, "choices": [{**each["choices"][0], "index": None}]} for each in said)) == streamed(*said)
    choice = {"message": {"content": "a"}, "finish_reason": "stop"}
    null, numbered = (json.dumps({"id": "c", "choices": [{**choice, "index": index}]}).encode() for index in (None, 0))
    assert CHAT.decode_reply(null) == CHAT.decode_reply(numbered)
    assert CHAT.hear_reply(null) == CHAT.hear_reply(numbered)


def test_an_empty_finish_reason_is_none() -> None:
    (choice,) = collect(streamed(chunk({"content": "a"}, ""), chunk({"content": "b"}, ""), chunk({}, "length"))).choices
    assert (choice.parts, choice.reason) == ((Text(text="ab"),), "length")


def test_a_choice_that_is_not_finished_is_a_failure() -> None:
    other = {"id": "c", "choices": [{"index": 1, "delta": {"content": "b"}, "finish_reason": None}]}
    assert isinstance(streamed(chunk({"content": "a"}, "stop"), other)[-1], Failed)


def test_pieces_of_text_look_alike_and_nothing_else_does() -> None:
    decoder, pattern = CHAT.stream_decoder(), TextPattern()
    alike: list[str] = []
    chunks = [
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "a"}),
        chunk({"content": "b"}),
        chunk({"content": 'say "c"'}),
        chunk({"content": "d"}),
        chunk({"content": "i"}),
        chunk({"reasoning_content": "e"}),
        chunk({"tool_calls": [{"index": 0, "id": "f", "function": {"name": "g", "arguments": "{}"}}]}),
        chunk({"content": "h"}, "stop"),
        {"id": "c", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}},
    ]
    for frame in frames([b"".join(b"data: %b\n\n" % json.dumps(value, separators=(",", ":")).encode() for value in chunks)]):
        if pattern.fits(frame.raw):
            alike.append(json.loads(frame.data or b"")["choices"][0]["delta"]["content"])
        elif mark := decoder.skims(frame):
            pattern.learn(frame.raw, mark)
        else:
            decoder.feed(frame)
    assert alike == ["d", "i"]


@pytest.mark.parametrize(("word", "tier"), [("priority", "fast"), ("flex", "flex"), ("default", None), ("new", None), (None, None)])
def test_the_tier_that_served_is_told_with_what_was_used(word: str | None, tier: str | None) -> None:
    head = {"id": "c", "service_tier": word, "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
    body = json.dumps({**head, "choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}]}).encode()
    for events in (CHAT.decode_reply(body), CHAT.hear_reply(body), streamed(chunk({"content": "x"}, "stop"), {**head, "choices": []})):
        usage = collect(events).usage
        assert usage is not None
        assert (usage.output_tokens, usage.tier) == (2, tier)


@pytest.mark.parametrize("word", [7, ["flex"], {"a": 1}])
def test_a_tier_that_is_none_keeps_no_reply_from_its_reader(word: Any) -> None:
    choice = {"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}
    body = {"id": "c", "service_tier": word, "choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
    usage = collect(CHAT.hear_reply(json.dumps(body).encode())).usage
    assert usage is not None
    assert usage.tier is None


@pytest.mark.parametrize(
    ("total", "details", "made"),
    [
        (103, {}, 94),
        (10, {}, 1),
        (9, {}, 1),
        (None, {}, 1),
        (103, {"completion_tokens_details": {"reasoning_tokens": 93}}, 94),
        (103, {"completion_tokens_details": {"reasoning_tokens": 1}}, 1),
        (103, {"prompt_tokens_details": {"cached_tokens": 93}}, 1),
    ],
)
def test_what_a_total_holds_beside_is_reasoning_where_nobody_says_otherwise(total: int | None, details: dict[str, Any], made: int) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": total, **details}
    reply = json.dumps({**chunk({}, "stop"), "choices": [{"message": {"content": "1"}, "finish_reason": "stop"}], "usage": usage}).encode()
    for events in (streamed({**chunk({"content": "1"}, "stop"), "usage": usage}), CHAT.decode_reply(reply), CHAT.hear_reply(reply)):
        counted = collect(events).usage
        assert counted is not None
        assert (counted.input_tokens, counted.output_tokens) == (9, made)
