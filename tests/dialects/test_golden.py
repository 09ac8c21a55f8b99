"""Every golden capture, within its own dialect."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import Peek, ReplyContext
from fkproxy.dialects.gemini.response_encode import BROKEN_OFF
from fkproxy.model.errors import UpstreamError
from fkproxy.model.events import Event, Failed, Started, TextDelta, collect
from fkproxy.model.usage import Usage
from fkproxy.wire.sse import TextPattern
from tests.dialects.golden import CASES, REPLIES, REQUESTS, Case, frames, once, plain
from tests.fakes.order import check_order

STREAMS = [case for case in REPLIES if case.stream is not None]
COMPLETE = [case for case in REPLIES if case.status == 200 and '"failed"' not in (case.path / "events.jsonl").read_text()]
NOT_AS_DOCUMENTED = ("unknown_event", "unknown_fields", "tool_calls_without_index")
JUDGES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "openai_chat": (ChatCompletion.model_validate, ChatCompletionChunk.model_validate),
    "gemini": (types.GenerateContentResponse.model_validate, types.GenerateContentResponse.model_validate),
    "openai_responses": (Response.model_validate, TypeAdapter(ResponseStreamEvent).validate_python),
    "anthropic": (Message.model_validate, TypeAdapter(RawMessageStreamEvent).validate_python),
}
"""What the vendors' own types say of a whole reply and of a piece of a streamed one."""
RENAMED = ("openai_chat", "anthropic", "openai_responses")
"""Dialects whose requests name the model in the body."""
CONTEXT = ReplyContext(reply_id="reply-1", model="model-asked-for", created_s=1_700_000_000)


def joined(values: list[Any]) -> list[Any]:
    """Events with deltas of the same kind put together, and without what an encoder writes anew: names, native reasons, ids."""
    out: list[Any] = []
    for value in sorted((value for value in values if value["type"] != "usage"), key=lambda value: value.get("choice", 0)):
        last = out[-1] if out else None
        for key in ("text", "arguments"):
            same = last is not None and key in last and {**last, key: ""} == {**value, key: ""}
            if same and value["type"] in ("text", "reasoning", "refusal", "tool_call_delta"):
                last[key] += value[key]
                break
        else:
            out.append({name: inner for name, inner in value.items() if name not in ("native", "extra", "stop_sequence")})
    return [compacted(value) for value in out if value["type"] != "started"]


def compacted(value: Any) -> Any:
    """Arguments without the blanks that JSON allows."""
    return {**value, "arguments": json.dumps(json.loads(value["arguments"]))} if value["type"] == "tool_call_delta" else value


def last_usage(events: list[Event]) -> Usage:
    """The usage, with "not said" and "none" taken as one."""
    usage = collect(events).usage
    return msgspec.convert({k: v for k, v in msgspec.to_builtins(usage).items() if v}, Usage) if usage is not None else Usage()


def test_there_are_enough_cases_to_speak_of() -> None:
    for name in ("openai_chat", "gemini", "anthropic"):
        assert len([case for case in CASES if case.dialect.name == name]) >= 14


@pytest.mark.parametrize("case", REPLIES, ids=repr)
def test_a_reply_decodes_into_the_reviewed_events(case: Case) -> None:
    events = case.decoded()
    assert plain(events) == case.expected()
    if case.status == 200:
        check_order(events)


@pytest.mark.parametrize("case", STREAMS, ids=repr)
def test_a_stream_may_arrive_byte_by_byte(case: Case) -> None:
    assert case.stream is not None
    assert plain(case.decoded(case.stream[index : index + 1] for index in range(len(case.stream)))) == case.expected()


@pytest.mark.parametrize("case", STREAMS, ids=repr)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_a_stream_may_arrive_in_any_pieces(case: Case, data: st.DataObject) -> None:
    assert case.stream is not None
    cuts = sorted(data.draw(st.lists(st.integers(0, len(case.stream)), max_size=12)))
    pieces = [case.stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(case.stream)], strict=True)]
    assert plain(case.decoded(pieces)) == case.expected()


@pytest.mark.parametrize("case", STREAMS, ids=repr)
def test_a_stream_passes_through_byte_for_byte(case: Case) -> None:
    assert case.stream is not None
    decoder = case.dialect.stream_decoder()
    asked = Peek(model="m", stream=True, include_usage=True)
    out = b""
    for frame in frames([case.stream]):
        events: list[Event] = []
        if not any(type(event) is Failed for event in events):
            events = decoder.feed(frame)
        out += case.dialect.forward_frame(frame, events, asked)
    assert out.removesuffix(BROKEN_OFF) == case.stream


@pytest.mark.parametrize("case", COMPLETE, ids=repr)
def test_what_is_encoded_decodes_to_the_same(case: Case) -> None:
    dialect, events = case.dialect, case.decoded()
    encoder = dialect.stream_encoder(CONTEXT)
    stream = b"".join(encoder.encode(event) for event in events)
    decoder = dialect.stream_decoder()
    again = [event for frame in frames([stream]) for event in decoder.feed(frame)] + decoder.end()
    check_order(again)
    whole = dialect.decode_reply(dialect.encode_reply(collect(events), CONTEXT))
    check_order(whole)
    assert last_usage(again) == last_usage(whole) == last_usage(events)
    assert isinstance(again[0], Started)
    if any(event.get("reason") == "error" for event in case.expected()):
        return  # a failure of the model has a name of its own in each dialect
    assert joined(plain(events)) == joined(plain(again))
    order = ("reasoning", "text", "seal", "refusal", "media", "tool_call", "tool_call_delta", "logprobs", "opaque", "finished", "done")
    ranked = [sorted(joined(plain(found)), key=lambda v: (v.get("choice", 0), order.index(v["type"]))) for found in (events, whole)]
    assert [value for value in ranked[0] if value["type"] != "seal"] == [value for value in ranked[1] if value["type"] != "seal"]


@pytest.mark.parametrize("case", COMPLETE, ids=repr)
def test_what_is_encoded_is_what_the_vendors_own_types_say(case: Case) -> None:
    events = case.decoded()
    for name, (whole, piece) in JUDGES.items():
        dialect = DIALECTS[name]
        whole(json.loads(dialect.encode_reply(collect(events), CONTEXT)))
        encoder = dialect.stream_encoder(CONTEXT)
        for frame in frames([b"".join(encoder.encode(event) for event in events)]):
            if frame.data not in (None, b"[DONE]"):
                piece(json.loads(frame.data or b""))


@pytest.mark.parametrize("case", [case for case in REPLIES if case.status == 200 and case.path.name not in NOT_AS_DOCUMENTED], ids=repr)
def test_the_captures_themselves_are_what_the_vendors_own_types_say(case: Case) -> None:
    whole, piece = JUDGES[case.dialect.name]
    if case.whole is not None and "error" not in (value := json.loads(case.whole)):
        whole(value)
    for frame in frames([case.stream]) if case.stream is not None else ():
        if frame.data in (None, b"[DONE]"):
            continue
        value = json.loads(frame.data or b"")
        if "error" not in value and value.get("object") != "" and value.get("type") != "ping":
            piece(value)


@pytest.mark.parametrize("case", REQUESTS, ids=repr)
def test_a_request_comes_back_with_every_field(case: Case) -> None:
    assert case.request is not None
    decoded = case.dialect.decode_request(case.request, case.peek)
    encoded = case.dialect.encode_request(decoded, decoded.model)
    expected = json.loads(case.request)
    if expected.get("stream") and case.dialect.name == "openai_chat":
        expected["stream_options"] = {**expected.get("stream_options", {}), "include_usage": True}
    if "writes camelCase" in case.capture.get("note", ""):
        body = json.loads(encoded.body)
        assert body["systemInstruction"] == {"parts": [{"text": "s"}]}
        assert body["contents"][0]["parts"][0] == {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
        assert "snake_key" in body["tools"][0]["functionDeclarations"][0]["parameters"]["properties"]
        return
    assert without_null(lower_types(json.loads(encoded.body))) == without_null(lower_types(expected))
    assert encoded.losses == ()


def without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_null(inner) for key, inner in value.items() if inner is not None}
    return [without_null(inner) for inner in value] if isinstance(value, list) else value


def lower_types(value: Any) -> Any:
    """Gemini's schemas may write type names in either case."""
    if isinstance(value, dict):
        return {key: inner.lower() if key == "type" and isinstance(inner, str) else lower_types(inner) for key, inner in value.items()}
    return [lower_types(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", REQUESTS, ids=repr)
def test_a_forwarded_request_differs_in_the_models_name_and_the_wish_for_usage_only(case: Case) -> None:
    assert case.request is not None
    sent = json.loads(case.dialect.forward_request(case.request, case.peek, "another-model"))
    expected = json.loads(case.request)
    if case.dialect.name in RENAMED:
        expected["model"] = "another-model"
    if case.dialect.name == "openai_chat" and expected.get("stream"):
        expected["stream_options"] = {**expected.get("stream_options", {}), "include_usage": True}
    assert sent == expected
    assert list(sent) == [*expected]
    unchanged = case.dialect.forward_request(case.request, Peek(model=case.peek.model, stream=False), case.peek.model)
    assert unchanged is case.request


@pytest.mark.parametrize("case", [case for case in REPLIES if case.status != 200], ids=repr)
def test_an_error_is_told_again_in_the_same_dialect(case: Case) -> None:
    (failed,) = case.decoded()
    assert isinstance(failed, Failed)
    error = failed.error
    assert isinstance(error, UpstreamError)
    body = json.loads(case.dialect.encode_error(error, "request-1"))
    assert body["error"]["message"] == str(error)
    again = case.dialect.decode_error(error.status, {}, json.dumps(body).encode())
    assert again.status == error.status


@pytest.mark.parametrize("case", [case for case in REPLIES if case.stream is None and case.status == 200], ids=repr)
def test_who_only_listens_to_a_whole_reply_hears_how_it_ended_and_what_it_cost(case: Case) -> None:
    assert case.whole is not None
    decode, hear = case.dialect.decode_reply, case.dialect.hear_reply

    def told(events: list[Event]) -> list[Any]:
        kept = ("finished", "usage", "done", "failed")
        return [{**value, "extra": None} for value in plain(events) if value["type"] in kept]

    assert told(hear(case.whole)) == told(decode(case.whole))
    assert [event.id for event in hear(case.whole) if isinstance(event, Started)] == [
        event.id for event in decode(case.whole) if isinstance(event, Started)
    ]


def skimmed(case: Case, *, by_pattern: bool = False) -> tuple[list[Event], list[Event]]:
    """(what is heard when pieces of text are not read, what those pieces would have been). `by_pattern`: those that look like the last."""
    assert case.stream is not None
    whole, listener, pattern = case.dialect.stream_decoder(), case.dialect.stream_decoder(), TextPattern()
    heard: list[Event] = []
    left_out: list[Event] = []
    for frame in frames([case.stream]):
        events = whole.feed(frame)
        fits = pattern.fits(frame.raw)
        if mark := listener.skims(frame):
            pattern.learn(frame.raw, mark)
        assert mark or not fits
        if fits if by_pattern else mark:
            left_out += events
        else:
            heard += listener.feed(frame)
    return once(heard + listener.end()), left_out


@pytest.mark.parametrize("by_pattern", [False, True])
@pytest.mark.parametrize("case", STREAMS, ids=repr)
def test_who_only_listens_misses_nothing_but_text(case: Case, by_pattern: bool) -> None:
    heard, left_out = skimmed(case, by_pattern=by_pattern)
    assert all(isinstance(event, TextDelta) and event.text for event in left_out)
    assert [value for value in plain(heard) if value["type"] != "text"] == [value for value in case.expected() if value["type"] != "text"]


def test_most_of_a_stream_need_not_be_read_by_who_only_listens() -> None:
    left_out = {case.dialect.name for case in STREAMS if skimmed(case)[1]}
    assert left_out == {"openai_chat", "anthropic", "openai_responses"}
    # The captures of chat completions have one piece of text each, and the pieces of Responses are numbered.
    assert {case.dialect.name for case in STREAMS if skimmed(case, by_pattern=True)[1]} == {"anthropic"}
