"""What the child says of a turn, as events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkproxy.dialects import UPSTREAM_DIALECTS
from fkproxy.dialects.codex.response import LIMITS, PAUSED_FOR_TOOLS, StreamDecoder, decode_reply
from fkproxy.model.errors import UpstreamProtocolError, UpstreamUnavailable
from fkproxy.model.events import Failed, collect
from fkproxy.model.parts import Reasoning, Text, ToolCall
from fkproxy.wire.sse import Frame
from tests.dialects.codex.captures import CAPTURES, captured, decoded, said
from tests.dialects.golden import plain
from tests.fakes.order import check_order

STARTED = ("turn/started", {"turn": {"id": "turn-1"}})
COMPLETED = ("turn/completed", {"turn": {"status": "completed"}})
DELTA = "item/agentMessage/delta"
THOUGHT = "item/reasoning/summaryTextDelta"
RAW = "rawResponseItem/completed"
COUNTED = "rawResponse/completed"
COUNTS = {"inputTokens": 10, "outputTokens": 4, "cachedInputTokens": 8, "cacheWriteInputTokens": 1, "reasoningOutputTokens": 3}
ZEROS = dict.fromkeys(COUNTS, 0)


def told(*messages: Any) -> list[Any]:
    """Plain events of messages that stand between a turn's start and end."""
    return plain(decoded([said(STARTED, *messages, COMPLETED)]))[1:-2]


def counts(*messages: Any) -> list[tuple[int, int]]:
    return [(event["usage"]["input_tokens"], event["usage"]["output_tokens"]) for event in told(*messages) if event["type"] == "usage"]


def function_call(call_id: str = "c1", name: str = "f", arguments: Any = "{}") -> tuple[str, Any]:
    return RAW, {"item": {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}}


def retried(details: str | None, message: str = "Reconnecting... 1/5") -> tuple[str, Any]:
    info = {"responseStreamDisconnected": {"httpStatusCode": None}}
    return "error", {"willRetry": True, "error": {"message": message, "codexErrorInfo": info, "additionalDetails": details}}


@pytest.mark.parametrize("case", CAPTURES, ids=lambda case: case.name)
def test_a_capture_is_decoded_as_reviewed(case: Path) -> None:
    expected = [json.loads(line) for line in (case / "events.jsonl").read_text().splitlines()]
    events = decoded([captured(case)])
    assert plain(events) == expected
    check_order(events)
    assert plain(decode_reply(captured(case))) == expected


@pytest.mark.parametrize("case", CAPTURES, ids=lambda case: case.name)
@given(data=st.data())
def test_it_does_not_matter_how_the_bytes_come(case: Path, data: st.DataObject) -> None:
    stream = captured(case)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert plain(decoded(pieces)) == plain(decoded([stream]))


@pytest.mark.parametrize("case", CAPTURES, ids=lambda case: case.name)
def test_whatever_is_missing_at_the_end_the_order_is_kept_and_the_loss_is_told(case: Path) -> None:
    messages = captured(case).split(b"\n\n")[:-1]
    whole = plain(decoded([captured(case)]))
    for kept in range(len(messages)):
        events = decoded([b"".join(message + b"\n\n" for message in messages[:kept])])
        check_order(events)
        if plain(events) != whole:
            assert isinstance(events[-1], Failed)
            assert isinstance(events[-1].error, UpstreamUnavailable)


MESSAGES = st.sampled_from(
    [
        STARTED,
        COMPLETED,
        (DELTA, {"itemId": "m1", "delta": "a"}),
        (DELTA, {"itemId": "m2", "delta": "b"}),
        (THOUGHT, {"itemId": "r1", "delta": "hm"}),
        ("item/reasoning/summaryPartAdded", {"itemId": "r1", "summaryIndex": 1}),
        function_call(),
        (RAW, {"item": {"type": "reasoning", "encrypted_content": "S"}}),
        ("item/tool/call", {"callId": "c2", "tool": "g", "arguments": {}}),
        ("item/completed", {"item": {"type": "agentMessage", "id": "m3", "text": "c"}}),
        ("item/completed", {"item": {"type": "commandExecution", "id": "x"}}),
        (COUNTED, {"usage": COUNTS}),
        ("thread/tokenUsage/updated", {"tokenUsage": {"last": COUNTS, "total": COUNTS}}),
        retried("lost"),
        (PAUSED_FOR_TOOLS, {}),
        ("turn/completed", {"turn": {"status": "failed", "error": {"message": "x"}}}),
        ("never/heard/of", {"delta": 1}),
    ]
)


@given(st.lists(MESSAGES, max_size=12))
def test_in_whatever_order_the_child_speaks_the_events_are_in_theirs(messages: list[Any]) -> None:
    check_order(decoded([said(*(message for message in messages if message[0] != "never/heard/of"))]))


# --- texts and thoughts


def test_texts_come_as_they_are_however_alike() -> None:
    pieces = ["book", "keeper", " ha", "ha", "ha\n", "\n", "100", "000", ""]
    reply = collect(decoded([said(STARTED, *((DELTA, {"itemId": "m", "delta": piece}) for piece in pieces), COMPLETED)]))
    assert reply.choices[0].parts == (Text(text="bookkeeper hahaha\n\n100000"),)


def test_two_messages_of_one_turn_stand_apart() -> None:
    assert told(
        (DELTA, {"itemId": "m1", "delta": "a"}), (DELTA, {"itemId": "m2", "delta": "b"}), (DELTA, {"itemId": "m2", "delta": "c"})
    ) == [
        {"type": "text", "text": "a"},
        {"type": "text", "text": "\n\nb"},
        {"type": "text", "text": "c"},
    ]


def test_a_message_that_came_in_pieces_is_not_told_twice() -> None:
    item = {"item": {"type": "agentMessage", "id": "m1", "text": "ab"}}
    assert told((DELTA, {"itemId": "m1", "delta": "ab"}), ("item/completed", item)) == [{"type": "text", "text": "ab"}]


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ([(THOUGHT, {"itemId": "r1", "delta": "b"})], "ab"),
        ([(THOUGHT, {"itemId": "r2", "delta": "b"})], "a\n\nb"),
        ([("item/reasoning/summaryPartAdded", {"itemId": "r1", "summaryIndex": 1}), (THOUGHT, {"itemId": "r1", "delta": "b"})], "a\n\nb"),
        ([("item/reasoning/summaryPartAdded", {"itemId": "r2", "summaryIndex": 1}), (THOUGHT, {"itemId": "r2", "delta": "b"})], "a\n\nb"),
        ([("item/reasoning/textDelta", {"itemId": "r1", "delta": "b"})], "ab"),
    ],
)
def test_parts_of_a_thought_stand_apart(second: list[Any], expected: str) -> None:
    first = [("item/reasoning/summaryPartAdded", {"itemId": "r1", "summaryIndex": 0}), (THOUGHT, {"itemId": "r1", "delta": "a"})]
    reply = collect(decoded([said(STARTED, *first, *second, COMPLETED)]))
    assert reply.choices[0].parts == (Reasoning(text=expected),)


def test_each_sealed_thought_is_a_part_of_its_own() -> None:
    sealed = [(RAW, {"item": {"type": "reasoning", "encrypted_content": f"S{number}"}}) for number in (1, 2)]
    thoughts = [(THOUGHT, {"itemId": f"r{number}", "delta": f"t{number}"}) for number in (1, 2)]
    reply = collect(decoded([said(STARTED, thoughts[0], sealed[0], thoughts[1], sealed[1], COMPLETED)]))
    assert [(part.text, part.seal and part.seal.data) for part in reply.choices[0].parts if isinstance(part, Reasoning)] == [
        ("t1", "S1"),
        ("t2", "S2"),
    ]


def test_a_thought_of_which_only_the_seal_is_known_is_kept() -> None:
    reply = collect(decoded([said(STARTED, (RAW, {"item": {"type": "reasoning", "encrypted_content": "S"}}), COMPLETED)]))
    (part,) = reply.choices[0].parts
    assert isinstance(part, Reasoning)
    assert part.seal is not None
    assert (part.text, part.seal.dialect, part.seal.data) == ("", "codex", "S")


# --- tools


def test_calls_keep_their_arguments_order_and_ids() -> None:
    calls = [function_call("b", "g", '{ "x":1.0, "é":"\\u00e9" }'), function_call("a", "f", '{"y": '), function_call("c", "f", "")]
    reply = collect(decoded([said(STARTED, *calls, (PAUSED_FOR_TOOLS, {}))]))
    assert reply.choices[0].reason == "tool_calls"
    assert reply.choices[0].parts == (
        ToolCall(id="b", name="g", arguments='{ "x":1.0, "é":"\\u00e9" }'),
        ToolCall(id="a", name="f", arguments='{"y": '),
        ToolCall(id="c", name="f", arguments="{}"),
    )


def test_names_that_the_child_keeps_for_itself_are_the_clients_again() -> None:
    calls = [function_call(name="_mcp__files__read"), ("item/tool/call", {"callId": "d", "tool": "_mcp", "arguments": {}})]
    assert [event["name"] for event in told(*calls) if event["type"] == "tool_call"] == ["mcp__files__read", "mcp"]


def test_after_the_pause_nothing_is_said() -> None:
    events = decoded([said(STARTED, function_call(), (PAUSED_FOR_TOOLS, {}), (DELTA, {"itemId": "m", "delta": "late"}), COMPLETED)])
    assert [event["type"] for event in plain(events)] == ["started", "tool_call", "tool_call_delta", "finished", "done"]


@pytest.mark.parametrize(
    ("kind", "opaque"),
    [
        *((kind, False) for kind in ("userMessage", "reasoning", "dynamicToolCall", "hookPrompt", "functionCallOutput", "")),
        *(
            (kind, True)
            for kind in ("commandExecution", "fileChange", "mcpToolCall", "webSearch", "imageView", "plan", "contextCompaction")
        ),
    ],
)
def test_what_the_child_did_with_tools_of_its_own_is_told_and_nothing_else(kind: str, opaque: bool) -> None:
    item = {"type": kind, "id": "i", "value": 1}
    expected = [{"type": "opaque", "part": {"type": "opaque", "dialect": "codex", "kind": kind, "value": item}}] if opaque else []
    assert told(("item/completed", {"item": item})) == expected


# --- counts


def test_exact_counts_win_over_the_others_and_are_added_up() -> None:
    rough = ("thread/tokenUsage/updated", {"tokenUsage": {"last": {**COUNTS, "inputTokens": 99}, "total": COUNTS}})
    assert counts((COUNTED, {"usage": COUNTS}), rough, (COUNTED, {"usage": COUNTS}), rough) == [(10, 4), (20, 8)]
    assert counts(rough, (COUNTED, {"usage": COUNTS})) == [(99, 4), (10, 4)]
    assert counts((COUNTED, {"usage": None}), rough) == [(99, 4)]


def test_every_count_has_its_place() -> None:
    (usage,) = told((COUNTED, {"usage": COUNTS}))
    assert usage["usage"] == {
        "input_tokens": 10,
        "output_tokens": 4,
        "cached_input_tokens": 8,
        "cache_write_tokens": 1,
        "reasoning_tokens": 3,
    }


def test_an_answer_that_was_cut_short_is_counted_by_the_sum() -> None:
    cut = ("thread/tokenUsage/updated", {"tokenUsage": {"last": ZEROS, "total": COUNTS}})
    assert counts(cut) == [(10, 4)]
    assert counts(("thread/tokenUsage/updated", {"tokenUsage": {"last": ZEROS, "total": ZEROS}})) == []
    # Where the turn began in another reply, that one's counts are in the sum.
    assert [event["type"] for event in plain(decoded([said(cut, COMPLETED)]))] == ["started", "finished", "done"]


# --- ends


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        ({"status": "completed"}, ("finished", "stop")),
        ({"status": "interrupted"}, ("failed", "the child's turn was interrupted")),
        ({"status": "failed"}, ("failed", "the child's turn was failed")),
        ({}, ("failed", "the child's turn was ended")),
        ({"status": "failed", "error": {"message": "no", "codexErrorInfo": "other"}}, ("failed", "no")),
        ({"status": "failed", "error": {"message": "Incomplete response returned, reason: max_output_tokens"}}, ("finished", "length")),
        (
            {"status": "failed", "error": {"message": "lost: Incomplete response returned, reason: content_filter"}},
            ("finished", "content_filter"),
        ),
    ],
)
def test_how_a_turn_ends(turn: dict[str, Any], expected: tuple[str, str]) -> None:
    events = plain(decoded([said(STARTED, ("turn/completed", {"turn": turn}))]))
    ending = events[1]
    assert (ending["type"], ending.get("reason") or ending.get("message")) == expected
    assert [event["type"] for event in events[2:]] == (["done"] if expected[0] == "finished" else [])


@pytest.mark.parametrize(
    ("primary", "secondary", "info", "wait_s"),
    [
        ({"usedPercent": 100, "resetsAt": 2300}, {"usedPercent": 40, "resetsAt": 9000}, "usageLimitExceeded", 300.0),
        ({"usedPercent": 100, "resetsAt": 2300}, {"usedPercent": 100, "resetsAt": 9000}, "usageLimitExceeded", 7000.0),
        ({"usedPercent": 100, "resetsAt": 1000}, None, "usageLimitExceeded", None),
        ({"usedPercent": 99, "resetsAt": 2300}, None, "usageLimitExceeded", None),
        ({"usedPercent": 100, "resetsAt": None}, None, "usageLimitExceeded", None),
        ({"usedPercent": 100, "resetsAt": 2300}, None, "serverOverloaded", None),
        (None, None, "usageLimitExceeded", None),
    ],
)
def test_a_limit_that_is_used_up_says_until_when(primary: Any, secondary: Any, info: str, wait_s: float | None) -> None:
    limits = {"method": LIMITS, "params": {"rateLimits": {"limitId": "codex", "primary": primary, "secondary": secondary}}}
    failed = {"turn": {"status": "failed", "error": {"message": "no more", "codexErrorInfo": info}}}
    for emitted, expected in (({"emittedAtMs": 2_000_000}, wait_s), ({}, None)):
        decoder = StreamDecoder()
        messages = (limits, {"method": "turn/completed", "params": failed, **emitted})
        events = [event for message in messages for event in decoder.feed(Frame(None, json.dumps(message).encode()))]
        (ending,) = events
        assert isinstance(ending, Failed)
        assert ending.error.retry_after_s == expected


def test_what_was_said_cannot_be_said_again() -> None:
    again = (DELTA, {"itemId": "m1", "delta": "half of it"})
    events = decoded([said(STARTED, (DELTA, {"itemId": "m1", "delta": "half"}), retried("lost"), again, COMPLETED)])
    assert [event["type"] for event in plain(events)] == ["started", "text", "failed"]
    assert isinstance(events[-1], Failed)
    assert isinstance(events[-1].error, UpstreamUnavailable)
    assert str(events[-1].error) == "lost"


@pytest.mark.parametrize("message", [retried("lost"), ("error", {"willRetry": False, "error": {"message": "no"}}), ("error", {})])
def test_before_anything_was_said_the_child_may_try_again(message: Any) -> None:
    assert told(message, (DELTA, {"itemId": "m1", "delta": "a"})) == [{"type": "text", "text": "a"}]


def test_an_error_that_is_final_is_told_by_the_end_of_the_turn() -> None:
    final = ("error", {"willRetry": False, "error": {"message": "no"}})
    assert told((DELTA, {"itemId": "m1", "delta": "a"}), final) == [{"type": "text", "text": "a"}]


def test_a_reply_that_goes_on_with_a_turn_starts_all_the_same() -> None:
    assert plain(decoded([said((DELTA, {"itemId": "m", "delta": "a"}), COMPLETED)]))[0] == {"type": "started"}
    assert [event["type"] for event in plain(decoded([said(COMPLETED)]))] == ["started", "finished", "done"]


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b'{"method":1}',
        b'{"method":"item/agentMessage/delta","params":{"delta":1}}',
        b'{"method":"item/agentMessage/delta","params":[]}',
        b'{"method":"rawResponse/completed","params":{"usage":{"inputTokens":"many"}}}',
        b'{"method":"rawResponseItem/completed","params":{"item":{"type":"function_call","name":"f"}}}',
        b'{"method":"rawResponseItem/completed","params":{"item":{"type":"function_call","call_id":"c","name":null}}}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_what_is_not_the_protocol_is_refused(line: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        StreamDecoder().feed(Frame(None, line))


def test_a_frame_without_data_says_nothing() -> None:
    assert StreamDecoder().feed(Frame("ping", None)) == []


def test_the_dialect_is_asked_by_no_client() -> None:
    dialect = UPSTREAM_DIALECTS["codex"]
    assert dialect.routes == ()
    assert plain(dialect.decode_reply(said(STARTED, COMPLETED)))[-1] == {"type": "done"}
    assert isinstance(dialect.stream_decoder(), StreamDecoder)
