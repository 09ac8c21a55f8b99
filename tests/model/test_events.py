"""The order of events, and how they fold into one reply."""

from __future__ import annotations

import pytest

from fkproxy.model.errors import UpstreamFailed, UpstreamProtocolError
from fkproxy.model.events import (
    ChoiceFinished,
    Done,
    Event,
    Failed,
    LogprobsReported,
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
from fkproxy.model.parts import Media, Opaque, Reasoning, Refusal, Seal, Text, ToolCall
from fkproxy.model.usage import Usage
from tests.fakes.order import check_order

START, STOP, DONE = Started(id="r"), ChoiceFinished(reason="stop"), Done()
SEAL = Seal(dialect="d", data="s")
BROKEN = Failed(UpstreamFailed("boom"))
CALL = ToolCallStarted(index=0, id="c", name="f")


@pytest.mark.parametrize(
    "events",
    [
        [START, STOP, DONE],
        [START, TextDelta(text="a"), UsageReported(usage=Usage()), TextDelta(text="b"), STOP, UsageReported(usage=Usage()), DONE],
        [START, CALL, ToolCallDelta(index=0, arguments="{}"), ToolCallStarted(index=1, id="d", name="g"), STOP, DONE],
        [START, TextDelta(text="a", choice=1), STOP, TextDelta(text="b", choice=1), ChoiceFinished(reason="stop", choice=1), DONE],
        [BROKEN],
        [START, TextDelta(text="a"), BROKEN],
    ],
)
def test_a_legal_order_passes(events: list[Event]) -> None:
    check_order(events)


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([], "end after 0"),
        ([START], "without Done or Failed"),
        ([TextDelta(text="a")], "before Started"),
        ([START, START], "starts once"),
        ([START, DONE], "before any ChoiceFinished"),
        ([START, STOP, STOP, DONE], "finished twice"),
        ([START, STOP, TextDelta(text="a"), DONE], "after choice 0 finished"),
        ([START, STOP, DONE, DONE], "after the end"),
        ([START, BROKEN, DONE], "after the end"),
        ([START, ToolCallStarted(index=1, id="c", name="f")], "count up from 0"),
        ([START, CALL, CALL], "count up from 0"),
        ([START, ToolCallDelta(index=0, arguments="")], "has not started"),
    ],
)
def test_an_illegal_order_is_named(events: list[Event], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_order(events)


def test_events_fold_into_one_reply() -> None:
    media = Media(kind="image", mime_type="image/png", data="AA==")
    opaque = Opaque(dialect="d", kind="k", value={"a": 1})
    reply = collect(
        [
            Started(id="r", model="m", created_s=5, extra={"x": 1}),
            ReasoningDelta(text="th"),
            ReasoningDelta(text="ink"),
            SealAttached(seal=SEAL),
            TextDelta(text="a"),
            TextDelta(text="b"),
            TextDelta(text="other", choice=1),
            UsageReported(usage=Usage(input_tokens=1)),
            CALL,
            ToolCallDelta(index=0, arguments='{"x"'),
            ToolCallDelta(index=0, arguments=":1}"),
            SealAttached(seal=SEAL, index=0),
            MediaReceived(media=media),
            SealAttached(seal=SEAL),
            OpaqueReceived(part=opaque),
            RefusalDelta(text="no"),
            LogprobsReported(tokens=[{"token": "a"}]),
            LogprobsReported(tokens=[{"token": "b"}]),
            ChoiceFinished(reason="tool_calls", native="STOP"),
            ChoiceFinished(reason="length", choice=1),
            UsageReported(usage=Usage(input_tokens=1, output_tokens=2)),
            DONE,
        ]
    )
    assert (reply.id, reply.model, reply.created_s, reply.extra) == ("r", "m", 5, {"x": 1})
    assert reply.usage == Usage(input_tokens=1, output_tokens=2)
    first, second = reply.choices
    assert first.parts == (
        Reasoning(text="think", seal=SEAL),
        Text(text="ab"),
        ToolCall(id="c", name="f", arguments='{"x":1}', seal=SEAL),
        Media(kind="image", mime_type="image/png", data="AA==", seal=SEAL),
        opaque,
        Refusal(text="no"),
    )
    assert (first.reason, first.native, first.logprobs) == ("tool_calls", "STOP", [{"token": "a"}, {"token": "b"}])
    assert (second.parts, second.reason) == ((Text(text="other"),), "length")


def test_text_after_a_seal_is_a_part_of_its_own() -> None:
    reply = collect([START, TextDelta(text="a"), SealAttached(seal=SEAL), TextDelta(text="b"), STOP, DONE])
    assert reply.choices[0].parts == (Text(text="a", seal=SEAL), Text(text="b"))


def test_a_thought_after_a_sealed_one_is_a_part_of_its_own_even_if_it_is_not_shown() -> None:
    seals = [Seal(dialect="d", data=data) for data in "ab"]
    thoughts = [event for seal in seals for event in (ReasoningDelta(text=""), SealAttached(seal=seal))]
    reply = collect([START, ReasoningDelta(text="hm"), SealAttached(seal=SEAL), *thoughts, STOP, DONE])
    assert reply.choices[0].parts == (Reasoning(text="hm", seal=SEAL), *(Reasoning(seal=seal) for seal in seals))


def test_a_seal_without_a_part_makes_one() -> None:
    assert collect([START, SealAttached(seal=SEAL), STOP, DONE]).choices[0].parts == (Text(text="", seal=SEAL),)


def test_a_call_keeps_its_own_seal() -> None:
    own, other = (Seal(dialect="d", data=data) for data in "ab")
    events = [START, CALL, SealAttached(seal=own, index=0), SealAttached(seal=other), STOP, DONE]
    assert collect(events).choices[0].parts == (ToolCall(id="c", name="f", arguments="{}", seal=own), Text(text="", seal=other))


def test_what_failed_or_broke_off_is_no_reply() -> None:
    with pytest.raises(UpstreamFailed):
        collect([START, TextDelta(text="a"), BROKEN])
    with pytest.raises(UpstreamProtocolError):
        collect([START, TextDelta(text="a"), STOP])


@pytest.mark.parametrize(("usage", "total"), [(Usage(), None), (Usage(input_tokens=1), None), (Usage(input_tokens=1, output_tokens=0), 1)])
def test_a_total_is_known_when_both_parts_are(usage: Usage, total: int | None) -> None:
    assert usage.total_tokens == total
