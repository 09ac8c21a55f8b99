"""What a Gemini client is sent, whatever the order in which another vendor's events come."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import ModelEntry, ReplyContext
from fkproxy.dialects.gemini.response import StreamDecoder
from fkproxy.dialects.gemini.response_encode import StreamEncoder, encode_models, encode_reply
from fkproxy.model.errors import RateLimited
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
from fkproxy.model.parts import Media, Opaque, Seal, Text, ToolCall
from fkproxy.model.usage import Usage
from fkproxy.wire.jsonarray import JsonArray
from fkproxy.wire.late_event import BEGINNING
from fkproxy.wire.sse import Frame, SseDecoder
from tests.fakes.order import check_order

CONTEXT = ReplyContext(reply_id="reply-1", model="asked-for", created_s=0)
PNG = Media(kind="image", mime_type="image/png", data="AAAA")
OURS, FOREIGN = Seal(dialect="gemini", data="czE="), Seal(dialect="elsewhere", data="x")


def frames(*events: Event) -> list[Frame]:
    encoder = StreamEncoder(CONTEXT)
    return SseDecoder().feed(b"".join(encoder.encode(event) for event in events))


def sent(*events: Event) -> list[dict[str, Any]]:
    return [json.loads(frame.data or b"") for frame in frames(Started(), *events, ChoiceFinished(reason="stop"), Done())]


def parts(*events: Event) -> list[Any]:
    """The parts sent, without those that are empty."""
    found = [part for response in sent(*events) for part in response["candidates"][0]["content"]["parts"]]
    return [part for part in found if part != {"text": ""}]


def call(index: int, *arguments: str) -> list[Event]:
    return [ToolCallStarted(index=index, id=f"c{index}", name="f"), *(ToolCallDelta(index=index, arguments=text) for text in arguments)]


def written(index: int, args: Any, **fields: Any) -> dict[str, Any]:
    return {"functionCall": {"id": f"c{index}", "name": "f", "args": args}, **fields}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (call(0, '{"a"', ":1}"), [written(0, {"a": 1})]),
        (call(0), [written(0, {})]),
        (call(0, "not json"), [written(0, {"arguments": "not json"})]),
        ([*call(0, "{}"), TextDelta(text="x")], [written(0, {}), {"text": "x"}]),
        ([*call(0, "{}"), RefusalDelta(text="x")], [written(0, {}), {"text": "x"}]),
        ([*call(0, "{}"), ReasoningDelta(text="x")], [written(0, {}), {"text": "x", "thought": True}]),
        (
            [*call(0, "{}"), MediaReceived(media=PNG)],
            [written(0, {}), {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}],
        ),
        (
            [*call(0, "{}"), OpaqueReceived(part=Opaque(dialect="gemini", kind="executableCode", value={"executableCode": {"code": "1"}}))],
            [written(0, {}), {"executableCode": {"code": "1"}}],
        ),
        ([OpaqueReceived(part=Opaque(dialect="elsewhere", kind="k", value={"k": 1}))], []),
        ([*call(0, '{"a"'), TextDelta(text="x"), ToolCallDelta(index=0, arguments=":1}")], [{"text": "x"}, written(0, {"a": 1})]),
        (
            [*call(0, '{"a"'), *call(1, "{}"), TextDelta(text="x"), ToolCallDelta(index=0, arguments=":1}")],
            [{"text": "x"}, written(0, {"a": 1}), written(1, {})],
        ),
        ([*call(0, "{}"), TextDelta(text="x"), ToolCallDelta(index=0, arguments=" ")], [written(0, {}), {"text": "x"}]),
        ([*call(0, "{}"), SealAttached(seal=OURS, index=0)], [written(0, {}, thoughtSignature="czE=")]),
        ([*call(0, "{}"), TextDelta(text="x"), SealAttached(seal=OURS, index=0)], [written(0, {}), {"text": "x"}]),
        ([*call(0, "{}"), SealAttached(seal=FOREIGN, index=0)], [written(0, {})]),
        ([TextDelta(text="x"), SealAttached(seal=OURS)], [{"text": "x"}, {"text": "", "thoughtSignature": "czE="}]),
        ([TextDelta(text="x"), SealAttached(seal=FOREIGN)], [{"text": "x"}]),
    ],
)
def test_calls_go_out_whole_and_in_their_order(events: list[Event], expected: list[Any]) -> None:
    assert parts(*events) == expected


MARK = "skip_thought_signature_validator"


@pytest.mark.parametrize(
    ("model", "events", "expected"),
    [
        ("gemini-3-pro-preview", [*call(0, "{}"), *call(1, "{}")], [MARK, None]),
        ("team/gemini-3.5-flash", [*call(0, "{}"), TextDelta(text="x"), *call(1, "{}")], [MARK, None, None]),
        ("gemini-3-pro-preview", [TextDelta(text="x"), *call(0, "{}")], [None, MARK]),
        ("gemini-3-pro-preview", [*call(0, "{}"), SealAttached(seal=OURS, index=0)], ["czE="]),
        ("gemini-3-pro-preview", [TextDelta(text="x")], [None]),
        ("gemini-2.5-pro", call(0, "{}"), [None]),
        ("claude-sonnet-4-5", call(0, "{}"), [None]),
    ],
)
def test_who_asks_for_gemini_3_gets_calls_that_it_takes_back(model: str, events: list[Event], expected: list[str | None]) -> None:
    context = ReplyContext(reply_id="reply-1", model=model, created_s=0)
    told = [Started(), *events, ChoiceFinished(reason="tool_calls"), Done()]
    encoder = StreamEncoder(context)
    streamed = [json.loads(frame.data or b"") for frame in SseDecoder().feed(b"".join(encoder.encode(event) for event in told))]
    for responses in (streamed, [json.loads(encode_reply(collect(told), context))]):
        found = [part for response in responses for part in response["candidates"][0]["content"]["parts"] if part != {"text": ""}]
        assert [part.get("thoughtSignature") for part in found] == expected


def test_the_last_frame_has_the_reason_and_the_usage() -> None:
    usage = Usage(input_tokens=10, output_tokens=12, reasoning_tokens=7, cached_input_tokens=4, audio_input_tokens=2)
    stream = frames(Started(id="r"), TextDelta(text="a"), ChoiceFinished(reason="length"), UsageReported(usage=usage), Done())
    first, last = (json.loads(frame.data or b"") for frame in stream)
    assert first["usageMetadata"] == {}
    assert (last["responseId"], last["modelVersion"], last["candidates"][0]["finishReason"]) == ("reply-1", "asked-for", "MAX_TOKENS")
    assert last["usageMetadata"] == {
        "promptTokenCount": 10,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 7,
        "totalTokenCount": 22,
        "cachedContentTokenCount": 4,
        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 2}],
    }


def test_every_piece_says_what_has_been_counted_so_far() -> None:
    """BAML 0.226 takes a piece without it for an empty reply."""
    first, whole = Usage(input_tokens=10), Usage(input_tokens=10, output_tokens=2)
    told = [TextDelta(text="a"), *call(0, "{}"), UsageReported(usage=first), TextDelta(text="b"), UsageReported(usage=whole)]
    assert [response["usageMetadata"] for response in sent(*told)] == [
        {},
        {"promptTokenCount": 10},
        {"promptTokenCount": 10},
        {"promptTokenCount": 10, "candidatesTokenCount": 2, "totalTokenCount": 12},
    ]


def test_a_whole_reply_whose_upstream_did_not_count_says_so() -> None:
    told = [Started(), TextDelta(text="a"), ChoiceFinished(reason="stop"), Done()]
    assert json.loads(encode_reply(collect(told), CONTEXT))["usageMetadata"] == {}


def test_more_thoughts_than_were_made_leave_no_negative_count() -> None:
    usage = Usage(input_tokens=3, output_tokens=5, reasoning_tokens=50)
    (last,) = (json.loads(frame.data or b"") for frame in frames(ChoiceFinished(reason="stop"), UsageReported(usage=usage), Done()))
    assert last["usageMetadata"] == {"promptTokenCount": 3, "candidatesTokenCount": 0, "thoughtsTokenCount": 50, "totalTokenCount": 8}


def read_by_genai_1(stream: bytes) -> tuple[list[str], str]:
    """What @google/genai 1 takes off the front of what it has, one event after the other, and what is left, which is an error to it."""
    event = re.compile(r"^\s*data: (.*)(?:\n\n|\r\r|\r\n\r\n)")
    left = stream.decode()
    seen = []
    while match := event.match(left):
        seen.append(match[1])
        left = left[match.end() :]
    return seen, left.strip()


def test_what_keeps_a_stream_alive_hides_nothing_from_who_looks_for_data_alone() -> None:
    assert DIALECTS["gemini"].keep_alive == BEGINNING


def test_a_reply_that_breaks_off_is_not_taken_for_a_whole_one() -> None:
    encoder = StreamEncoder(CONTEXT)
    stream = b"".join(map(encoder.encode, (Started(), TextDelta(text="a"), Failed(RateLimited(2.0)))))
    seen, left = read_by_genai_1(stream)
    assert (len(seen), bool(left)) == (2, True)
    array = JsonArray()
    assert ["error" in each for each in json.loads(array.feed(stream) + array.end())] == [False, True]


def test_a_failure_is_an_error_frame() -> None:
    (_, frame) = frames(Started(), TextDelta(text="a"), Failed(RateLimited(2.0)))
    error = json.loads(frame.data or b"")["error"]
    assert (error["code"], error["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2.000s"} in error["details"]


WORDS = st.sampled_from(["x", "y z"])
STEPS = st.lists(
    st.one_of(
        st.builds(lambda text: ("text", text), WORDS),
        st.builds(lambda text: ("reasoning", text), WORDS),
        st.just(("call", "")),
        st.builds(lambda index: ("arguments", index), st.integers(0, 3)),
    ),
    max_size=16,
)


@given(STEPS)
@settings(deadline=None)
def test_whatever_the_order_nothing_is_lost(steps: list[tuple[str, Any]]) -> None:
    """Arguments come in three pieces, anywhere behind the start of their call."""
    events: list[Event] = [Started()]
    waiting: list[list[str]] = []
    for kind, value in steps:
        if kind == "call":
            events.append(ToolCallStarted(index=len(waiting), id=f"c{len(waiting)}", name="f"))
            waiting.append(['{"a"', ":[1", "]}"])
        elif kind == "arguments":
            if value < len(waiting) and waiting[value]:
                events.append(ToolCallDelta(index=value, arguments=waiting[value].pop(0)))
        else:
            events.append(TextDelta(text=value) if kind == "text" else ReasoningDelta(text=value))
    events += [ToolCallDelta(index=index, arguments=text) for index, texts in enumerate(waiting) for text in texts]
    events += [ChoiceFinished(reason="tool_calls" if waiting else "stop"), Done()]
    check_order(events)
    decoder = StreamDecoder()
    again = [event for frame in frames(*events) for event in decoder.feed(frame)] + decoder.end()
    check_order(again)
    for frame in frames(*events):
        types.GenerateContentResponse.model_validate(json.loads(frame.data or b""))
    (before,), (after,) = (collect(found).choices for found in (events, again))
    assert after.reason == before.reason
    for found in (before, after):
        assert [part.id for part in found.parts if isinstance(part, ToolCall)] == [f"c{index}" for index in range(len(waiting))]
        assert {part.arguments for part in found.parts if isinstance(part, ToolCall)} <= {'{"a":[1]}'}
    assert said(before.parts) == said(after.parts)
    whole = types.GenerateContentResponse.model_validate(json.loads(encode_reply(collect(events), CONTEXT)))
    assert len(whole.function_calls or []) == len(waiting)


def said(found: tuple[Any, ...]) -> str:
    return "".join(part.text for part in found if isinstance(part, Text))


@pytest.mark.parametrize(
    ("entry", "embeds"),
    [
        (ModelEntry(id="m", owned_by="x"), False),
        (ModelEntry(id="m", owned_by="x", embeds=True), True),
        (ModelEntry(id="embed-and-talk", owned_by="x", embeds=False), False),
        (ModelEntry(id="openai/text-embedding-3-small", owned_by="x"), True),
        (ModelEntry(id="codestral-embed-2505", owned_by="x"), True),
        (ModelEntry(id="embedder-chat", owned_by="x"), False),
    ],
)
def test_a_list_of_models_says_what_may_be_asked_of_each(entry: ModelEntry, embeds: bool) -> None:
    (listed,) = json.loads(encode_models([entry]))["models"]
    chat = ["generateContent", "streamGenerateContent", "countTokens"]
    assert listed["supportedGenerationMethods"] == (["embedContent", "batchEmbedContents"] if embeds else chat)
