"""Replies of Gemini that no capture shows: what comes late, twice, in odd places or not at all."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st

from fkproxy.dialects.gemini.response import FINISH_REASONS, StreamDecoder, decode_reply
from fkproxy.model.errors import UpstreamError, UpstreamOverloaded, UpstreamProtocolError, UpstreamRateLimited
from fkproxy.model.events import ChoiceFinished, Done, Event, Failed, Started, TextDelta, ToolCallDelta, UsageReported, collect
from fkproxy.model.parts import Media, Opaque, Reasoning, Seal, Text, ToolCall
from fkproxy.model.usage import Tier, Usage
from fkproxy.wire.sse import Frame, SseDecoder
from tests.fakes.order import check_order


def decoded(*responses: Any) -> list[Event]:
    decoder = StreamDecoder()
    events = [event for response in responses for event in decoder.feed(Frame(b"", json.dumps(response).encode()))]
    events += decoder.end()
    check_order(events)
    return events


def candidate(*parts: Any, **fields: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, **fields}]}


def finish(events: list[Event]) -> ChoiceFinished:
    (found,) = (event for event in events if isinstance(event, ChoiceFinished))
    return found


def sealed(data: str) -> Seal:
    return Seal(dialect="gemini", data=data)


def test_every_finish_reason_of_the_vendor_is_in_the_table() -> None:
    assert {reason.value for reason in types.FinishReason} <= FINISH_REASONS.keys()


@pytest.mark.parametrize(("native", "reason"), [*FINISH_REASONS.items(), ("NEW_REASON", "stop")])
def test_a_finish_reason(native: str, reason: str) -> None:
    event = finish(decoded(candidate({"text": "a"}, finishReason=native)))
    assert (event.reason, event.native) == (reason, native)


@pytest.mark.parametrize(("native", "reason"), [("STOP", "tool_calls"), ("MAX_TOKENS", "length"), ("SAFETY", "content_filter")])
def test_a_reply_that_stops_at_a_call_asks_for_it(native: str, reason: str) -> None:
    call = {"functionCall": {"name": "f", "args": {}}}
    assert finish(decoded(candidate(call), candidate(finishReason=native))).reason == reason


@pytest.mark.parametrize(
    "blocked", [{"promptFeedback": {"blockReason": "OTHER"}}, {"candidates": [], "promptFeedback": {"blockReason": "OTHER"}}]
)
def test_a_refused_prompt_is_filtered_whatever_the_reason(blocked: Any) -> None:
    event = finish(decoded(blocked))
    assert (event.reason, event.native) == ("content_filter", "OTHER")


def test_a_finish_reason_may_come_before_the_last_text_and_twice() -> None:
    events = decoded(candidate({"text": "a"}, finishReason="STOP"), candidate({"text": "b"}), candidate(finishReason="MAX_TOKENS"))
    assert [type(event) for event in events] == [Started, TextDelta, TextDelta, ChoiceFinished, Done]
    assert finish(events).reason == "length"


@pytest.mark.parametrize(
    "responses",
    [
        [],
        [candidate({"text": "a"})],
        [{"candidates": [{"index": 0, "finishReason": "STOP"}, {"index": 1, "content": {"parts": [{"text": "a"}]}}]}],
        [{"usageMetadata": {"promptTokenCount": 1}}],
    ],
)
def test_a_stream_without_every_finish_reason_has_failed(responses: list[Any]) -> None:
    last = decoded(*responses)[-1]
    assert isinstance(last, Failed)
    assert isinstance(last.error, UpstreamProtocolError)


@pytest.mark.parametrize("code", [503, "503", None])
def test_an_error_inside_a_stream_ends_it(code: Any) -> None:
    error = {"error": {"code": code, "message": "busy", "status": "UNAVAILABLE"}}
    *_, text, failed = decoded(candidate({"text": "a"}), error, candidate({"text": "b"}, finishReason="STOP"))
    assert isinstance(text, TextDelta)
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, UpstreamOverloaded)


@pytest.mark.parametrize(("code", "expected"), [(429, UpstreamRateLimited), (503, UpstreamOverloaded)])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("before", [b"", b'data: {"candidates":[{"content":{"parts":[{"text":"a"}]}}]}\r\n\r\n'])
def test_an_error_without_the_name_of_a_field_in_front_is_one(
    code: int, expected: type[UpstreamError], indent: int | None, wrapped: bool, before: bytes
) -> None:
    error = {"error": {"code": code, "message": "words"}}
    body = json.dumps([error] if wrapped else error, indent=indent).encode()
    last = framed([before, body, b"\n\n", STREAM])[-1]
    assert isinstance(last, Failed)
    assert type(last.error) is expected


@pytest.mark.parametrize("frame", [b": comment", b"event: x", b"{", b"{}", b"[]", b"[1]", b'{"error":1}', b'{"candidates":[{"index":7}]}'])
def test_what_has_no_data_and_is_no_error_is_passed_over(frame: bytes) -> None:
    assert framed([frame + b"\n\n", STREAM]) == framed([STREAM])


def test_usage_is_told_when_it_is_new_and_never_forgotten() -> None:
    traffic = {"usageMetadata": {"trafficType": "ON_DEMAND"}}
    counts = {
        "promptTokenCount": 10,
        "toolUsePromptTokenCount": 3,
        "cachedContentTokenCount": 4,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 7,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 8}, {"modality": "AUDIO", "tokenCount": 2}],
        "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 1}, {"modality": "IMAGE", "tokenCount": 4}],
    }
    told = {"usageMetadata": counts}
    events = decoded({**candidate({"text": "a"}), **traffic}, {**candidate(finishReason="STOP"), **told}, told, traffic)
    assert [event.usage for event in events if isinstance(event, UsageReported)] == [
        Usage(
            input_tokens=13,
            output_tokens=12,
            cached_input_tokens=4,
            reasoning_tokens=7,
            audio_input_tokens=2,
            audio_output_tokens=1,
            image_output_tokens=4,
        )
    ]


def test_what_is_said_beside_the_content_is_gathered_from_all_frames() -> None:
    events = decoded(
        candidate({"text": "a"}, citationMetadata={"x": 1}, safetyRatings=[]),
        candidate(finishReason="STOP", groundingMetadata={"y": 1}),
        candidate(safetyRatings=[{"z": 1}]),
    )
    assert finish(events).extra == {"citationMetadata": {"x": 1}, "groundingMetadata": {"y": 1}, "safetyRatings": [{"z": 1}]}


@pytest.mark.parametrize(
    ("time", "created_s"),
    [("2026-11-21T03:00:00Z", 1795230000), ("2026-11-21T03:00:00.123456789Z", 1795230000), ("soon", None), (None, None)],
)
def test_the_time_of_the_reply(time: str | None, created_s: int | None) -> None:
    started = decoded({**candidate(finishReason="STOP"), "createTime": time, "responseId": "r", "modelVersion": "m"})[0]
    assert started == Started(id="r", model="m", created_s=created_s)


CALL = {"functionCall": {"id": "c", "name": "f", "args": {"a": 1}}}
MEDIA = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([{"text": "a"}, {"text": "", "thoughtSignature": "s"}], [Text(text="a", seal=sealed("s"))]),
        ([{"text": "a"}, {"thoughtSignature": "s"}], [Text(text="a", seal=sealed("s"))]),
        ([{"text": "a", "thoughtSignature": "s"}, {"text": "b"}], [Text(text="a", seal=sealed("s")), Text(text="b")]),
        ([{"text": "", "thoughtSignature": "s"}], [Text(text="", seal=sealed("s"))]),
        ([{"text": "t", "thought": True}, {"text": "a"}], [Reasoning(text="t"), Text(text="a")]),
        ([{**CALL, "thoughtSignature": "s"}], [ToolCall(id="c", name="f", arguments='{"a":1}', seal=sealed("s"))]),
        (
            [{**CALL, "thoughtSignature": "s"}, {"text": "", "thoughtSignature": "u"}],
            [ToolCall(id="c", name="f", arguments='{"a":1}', seal=sealed("s")), Text(text="", seal=sealed("u"))],
        ),
        (
            [CALL, {"text": "a"}, {"text": "", "thoughtSignature": "u"}],
            [ToolCall(id="c", name="f", arguments='{"a":1}'), Text(text="a", seal=sealed("u"))],
        ),
        ([CALL, {"text": ""}], [ToolCall(id="c", name="f", arguments='{"a":1}')]),
        (
            [CALL, {**MEDIA, "thoughtSignature": "u"}],
            [ToolCall(id="c", name="f", arguments='{"a":1}'), Media(kind="image", mime_type="image/png", data="AAAA", seal=sealed("u"))],
        ),
        ([{"fileData": {"fileUri": "gs://b/v", "mimeType": "video/mp4"}}], [Media(kind="video", mime_type="video/mp4", url="gs://b/v")]),
        ([{"toolCall": {"x": 1}}], [Opaque(dialect="gemini", kind="toolCall", value={"toolCall": {"x": 1}})]),
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
def test_a_signature_belongs_to_the_part_it_came_with(parts: list[Any], expected: list[Any], streamed: bool) -> None:
    frames = [candidate(part) for part in parts] if streamed else [candidate(*parts)]
    (choice,) = collect(decoded(*frames, candidate(finishReason="STOP"))).choices
    assert list(choice.parts) == expected


@pytest.mark.parametrize(
    "part", [{"text": "a"}, {"text": "t", "thought": True, "thoughtSignature": "c2ln"}, CALL, MEDIA, {"fileData": {"fileUri": "gs://b/v"}}]
)
def test_what_is_not_said_may_be_null(part: dict[str, Any]) -> None:
    usage = {"promptTokenCount": 1, "candidatesTokenCount": 2, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 1}]}
    said = [candidate(part), {**candidate(finishReason="STOP"), "usageMetadata": usage}]
    nulls = [types.GenerateContentResponse.model_validate(response).model_dump(mode="json", by_alias=True) for response in said]
    assert nulls[0]["candidates"][0]["index"] is None
    assert decoded(*nulls) == decoded(*said)
    blank = {"functionCall": {"name": None}, "inlineData": None}, {"inlineData": {"mimeType": None, "data": None}}
    call, media = collect(decoded(candidate(*blank, finishReason="STOP"))).choices[0].parts
    assert isinstance(call, ToolCall)
    assert (call.name, media) == ("", Media(kind="file", mime_type="application/octet-stream", data=""))


def test_calls_without_an_id_get_one_that_does_not_repeat() -> None:
    part = {"functionCall": {"name": "f"}}
    ids = {call.id for _ in range(2) for call in collect(decoded(candidate(part, part, finishReason="STOP"))).choices[0].parts}
    assert len(ids) == 4


@pytest.mark.parametrize(
    "body", [b"", b"null", b"<html>", b'{"candidates": 1}', b"[1]", b"[" * 100_000, b'{"candidates":[{"content":{"parts":[{"text":1}]}}]}']
)
def test_bytes_that_are_no_reply_are_refused(body: bytes) -> None:
    with pytest.raises(UpstreamProtocolError, match="not a GenerateContentResponse"):
        decode_reply(body)


@pytest.mark.parametrize("signed", [{}, {"thoughtSignature": "s"}])
def test_nothing_of_a_call_follows_its_arguments(signed: dict[str, str]) -> None:
    """CrewAI runs a tool for each piece of a call whose arguments are complete."""
    events = decoded(candidate({**CALL, **signed}, {**CALL, **signed}, finishReason="STOP"))
    of_calls = {index: [event for event in events if getattr(event, "index", None) == index] for index in (0, 1)}
    assert all(isinstance(pieces[-1], ToolCallDelta) for pieces in of_calls.values())


def test_a_stream_that_came_as_an_array_is_read() -> None:
    body = json.dumps([candidate({"text": "a"}), candidate({"text": "b"}, finishReason="STOP")]).encode()
    assert collect(decode_reply(b"\n" + body)).choices[0].parts == (Text(text="ab"),)


STREAM = "".join(
    f"data: {json.dumps(response, ensure_ascii=False)}\r\n\r\n"
    for response in (
        candidate({"text": "é\u2028", "thought": True}),
        candidate({"text": "a\n\n"}),
        candidate({**CALL, "thoughtSignature": "s"}, finishReason="STOP"),
        {"usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2}},
    )
).encode()


def framed(pieces: list[bytes]) -> list[Event]:
    framer, decoder = SseDecoder(), StreamDecoder()
    frames = [frame for piece in pieces for frame in framer.feed(piece)] + framer.tail()
    return [event for frame in frames for event in decoder.feed(frame)] + decoder.end()


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
@settings(deadline=None)
def test_a_stream_cut_anywhere_says_the_same(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    assert framed([STREAM[start:end] for start, end in pairwise(edges)]) == framed([STREAM])


@pytest.mark.parametrize(
    ("said", "tier"),
    [
        *(({"serviceTier": word}, tier) for word, tier in (("priority", "fast"), ("flex", "flex"), ("standard", None), ("new", None))),
        *(({"trafficType": f"ON_DEMAND{word}"}, tier) for word, tier in (("_PRIORITY", "fast"), ("_FLEX", "flex"), ("", None))),
        ({"trafficType": "PROVISIONED_THROUGHPUT", "serviceTier": None}, None),
        ({"trafficType": ["ON_DEMAND_FLEX"], "serviceTier": {"a": 1}}, None),
    ],
)
def test_the_tier_that_served_is_told_with_what_was_used(said: dict[str, Any], tier: Tier | None) -> None:
    first = {**candidate({"text": "a"}), "usageMetadata": said}
    last = {**candidate({"text": "b"}, finishReason="STOP"), "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2, **said}}
    usages = [event.usage for event in decoded(first, last) if isinstance(event, UsageReported)]
    assert usages == [Usage(input_tokens=1, output_tokens=2, tier=tier)]
    assert collect(decode_reply(json.dumps(last).encode())).usage == usages[0]
