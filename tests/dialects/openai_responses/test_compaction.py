"""A conversation that is made shorter by a model of another vendor: what is asked, what the client gets, what becomes of that later."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from fkproxy.adapters.base import Timeouts
from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import Peek, ReplyContext
from fkproxy.dialects.envelope import close_envelope
from fkproxy.dialects.openai_responses.compaction import ASK
from fkproxy.model.errors import Unrepresentable, UpstreamRejected
from fkproxy.model.events import (
    ChoiceFinished,
    Done,
    Event,
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
from fkproxy.model.parts import Seal, Text
from fkproxy.model.request import ChatRequest, Loss
from fkproxy.model.usage import Usage
from tests.dialects.golden import frames
from tests.fakes.pipeline import Bench, ListClient, Pause
from tests.test_attempts import completion, failing
from tests.test_exchange import sse

RESPONSES = DIALECTS["openai_responses"]
FOREIGN = {"openai_chat": "m", "gemini": "gemini-2.5-pro", "anthropic": "claude-sonnet-4-5"}
USER = {"type": "message", "role": "user", "content": "the user's own words"}
TRIGGER = {"type": "compaction_trigger"}
THEIRS = {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAAAABpM0Yj"}
CALL = [
    {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "1", "output": "sun"},
]
TOOL = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
CONTEXT = ReplyContext(reply_id="r", model="m", created_s=1, compacts=True)
SUMMARY = "It is done.\nÜbrigens: \U0001f426"
SEALED = SealAttached(seal=Seal(dialect="gemini", data="c2ln"))
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
CALLED: list[Event] = [ToolCallStarted(index=0, id="1", name="f"), ToolCallDelta(index=0, arguments="{}")]


def decoded(*items: Any, **fields: Any) -> ChatRequest:
    body = json.dumps({"model": "m", "input": list(items), **fields}).encode()
    return RESPONSES.decode_request(body, RESPONSES.peek(body, "", ""))


def into(dialect: str, request: ChatRequest) -> Any:
    return json.loads(DIALECTS[dialect].encode_request(request, FOREIGN[dialect]).body)


def whole(*said: Event, reason: Any = "stop") -> list[Event]:
    return [Started(), *said, UsageReported(usage=Usage(input_tokens=3, output_tokens=2)), ChoiceFinished(reason=reason), Done()]


def given(events: list[Event]) -> dict[str, Any]:
    """The response, which is the same whether it was streamed or not."""
    encoder = RESPONSES.stream_encoder(CONTEXT)
    stream = b"".join(encoder.encode(event) for event in events)
    last = json.loads(frames([stream])[-1].data or b"")["response"]
    answer: dict[str, Any] = json.loads(RESPONSES.encode_reply(collect(events), CONTEXT))
    assert answer == last
    Response.model_validate(answer)
    return answer


def compacted(text: str = SUMMARY) -> dict[str, Any]:
    (item,) = given(whole(TextDelta(text=text)))["output"]
    assert isinstance(item, dict)
    return item


def last_said(dialect: str, body: Any) -> tuple[str, str]:
    """(by whom, what)"""
    if dialect == "gemini":
        return body["contents"][-1]["role"], body["contents"][-1]["parts"][-1]["text"]
    content = body["messages"][-1]["content"]
    return body["messages"][-1]["role"], content if isinstance(content, str) else content[-1]["text"]


@pytest.mark.parametrize("dialect", FOREIGN)
@pytest.mark.parametrize("before", [[USER], [USER, *CALL], [USER, {"role": "assistant", "content": "y"}]], ids=["user", "tool", "model"])
def test_the_model_is_asked_for_a_summary_in_words_and_for_nothing_else(dialect: str, before: list[Any]) -> None:
    form = {"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}}}
    request = decoded(*before, TRIGGER, tools=[TOOL], tool_choice="required", text=form)
    assert request.compacts
    body = into(dialect, request)
    assert last_said(dialect, body) == ("user", ASK)
    chosen = {"openai_chat": "none", "anthropic": {"type": "none"}, "gemini": {"functionCallingConfig": {"mode": "NONE"}}}
    assert body["toolConfig" if dialect == "gemini" else "tool_choice"] == chosen[dialect]
    assert not {"response_format", "output_config"} & set(body)
    assert "responseMimeType" not in body.get("generationConfig", {})
    assert Loss(field="compaction", action="converted") in DIALECTS[dialect].encode_request(request, FOREIGN[dialect]).losses
    # What stands in front of it is what it was, for the vendor's cache.
    plain = into(dialect, decoded(*before, {**USER, "content": ASK}, tools=[TOOL], tool_choice="none"))
    assert body == plain


def test_to_its_own_vendor_it_goes_as_it_came() -> None:
    request = decoded(USER, TRIGGER, tools=[TOOL], tool_choice="required")
    assert json.loads(RESPONSES.encode_request(request, "m").body) == {
        **{"model": "m", "input": [USER, TRIGGER], "tools": [TOOL], "tool_choice": "required"}
    }


@pytest.mark.parametrize("dialect", FOREIGN)
def test_only_the_last_item_can_ask_for_it(dialect: str) -> None:
    request = decoded(TRIGGER, USER)
    assert not request.compacts
    with pytest.raises(Unrepresentable, match="compaction_trigger"):
        into(dialect, request)


def test_what_the_model_writes_comes_as_one_item_and_no_text() -> None:
    thoughts = (ReasoningDelta(text="let me see"), SEALED)
    events = whole(*thoughts, TextDelta(text=SUMMARY[:4]), SEALED, ReasoningDelta(text="and"), TextDelta(text=SUMMARY[4:]), SEALED)
    answer = given(events)
    assert [item["type"] for item in answer["output"]] == ["compaction"]
    assert (answer["status"], answer["usage"]["total_tokens"]) == ("completed", 5)
    assert answer["output"][0]["encrypted_content"] == compacted()["encrypted_content"]
    encoder = RESPONSES.stream_encoder(CONTEXT)
    told = [json.loads(frame.data or b"") for frame in frames([b"".join(encoder.encode(event) for event in events)])]
    for value in told:
        EVENT.validate_python(value)
    # Something comes for each piece, also of a thought: clients give up on a stream in which no event comes for minutes.
    kinds = [*("created", "in_progress", "output_item.added"), *["compaction.compacting"] * 4, "output_item.done", "completed"]
    assert [value["type"].removeprefix("response.") for value in told] == kinds
    assert [value["sequence_number"] for value in told] == list(range(len(told)))


@pytest.mark.parametrize("dialect", FOREIGN)
def test_the_next_model_is_told_the_summary_where_it_stands(dialect: str) -> None:
    item = compacted()
    request = decoded(USER, item, {"role": "assistant", "content": "y"}, {**USER, "content": "go on"})
    told = [part.text for message in request.messages for part in message.parts if isinstance(part, Text)]
    assert [message.role for message in request.messages] == ["user", "user", "assistant", "user"]
    assert told[1].endswith(f"\n\n{SUMMARY}")
    encoded = DIALECTS[dialect].encode_request(request, FOREIGN[dialect])
    assert (encoded.losses, json.dumps(SUMMARY)[1:-1] in json.dumps(json.loads(encoded.body))) == ((), True)
    # In the midst of a turn nothing comes behind it, and the user has the last word.
    who, said = last_said(dialect, into(dialect, decoded(USER, item)))
    assert (who, said.endswith(SUMMARY)) == ("user", True)


def test_a_summary_of_a_summary_is_written_from_its_words() -> None:
    body = into("openai_chat", decoded(USER, compacted(), {**USER, "content": "go on"}, TRIGGER))
    assert [message["content"].endswith(SUMMARY) for message in body["messages"]] == [False, True, False, False]
    assert body["messages"][-1]["content"] == ASK


def test_to_the_dialects_own_vendor_it_goes_in_words() -> None:
    items = [USER, THEIRS, compacted(), TRIGGER]
    body = json.dumps({"model": "m", "input": items}, ensure_ascii=False).encode()
    for model in ("m", "another"):
        sent = json.loads(RESPONSES.forward_request(body, Peek(model="m"), model))
        assert sent["model"] == model
        assert [sent["input"][at] for at in (0, 1, 3)] == [USER, THEIRS, TRIGGER]
        told = sent["input"][2]
        assert (told["type"], told["role"], len(told["content"])) == ("message", "user", 1)
        assert told["content"][0]["text"].endswith(SUMMARY)
        assert "fkproxy1." not in json.dumps(sent)
    theirs = json.dumps({"model": "m", "input": [USER, THEIRS, TRIGGER]}).encode()
    assert RESPONSES.forward_request(theirs, Peek(model="m"), "m") is theirs


@pytest.mark.parametrize(
    "sealed",
    [
        THEIRS["encrypted_content"],
        close_envelope(Seal(dialect="anthropic", data="c2ln"), "openai_responses"),
        compacted()["encrypted_content"][:-7],
        "fkproxy1.",
        None,
        7,
    ],
)
@pytest.mark.parametrize("dialect", FOREIGN)
def test_what_only_its_vendor_can_read_is_refused_by_others(dialect: str, sealed: object) -> None:
    with pytest.raises(Unrepresentable, match="compaction"):
        into(dialect, decoded(USER, {**THEIRS, "encrypted_content": sealed}, USER))


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ([], "stop"),
        ([TextDelta(text=" \n")], "stop"),
        ([ReasoningDelta(text="hm"), SEALED], "stop"),
        ([RefusalDelta(text="no")], "stop"),
        (CALLED, "tool_calls"),
        ([TextDelta(text="First I look."), *CALLED], "tool_calls"),
    ],
)
def test_a_reply_that_is_no_summary_takes_the_place_of_nothing(said: list[Event], reason: Any) -> None:
    events = whole(*said, reason=reason)
    encoder = RESPONSES.stream_encoder(CONTEXT)
    with pytest.raises(UpstreamRejected, match="no summary"):
        b"".join(encoder.encode(event) for event in events)
    with pytest.raises(UpstreamRejected, match="no summary"):
        RESPONSES.encode_reply(collect(events), CONTEXT)


@pytest.mark.parametrize(
    ("said", "reason", "kinds"),
    [
        ([TextDelta(text="half of")], "length", ["compaction"]),
        ([], "length", []),
        ([RefusalDelta(text="no")], "refusal", ["message"]),
        ([], "content_filter", []),
    ],
)
def test_one_that_was_cut_off_says_so(said: list[Event], reason: Any, kinds: list[str]) -> None:
    answer = given(whole(*said, reason=reason))
    assert (answer["status"], [item["type"] for item in answer["output"]]) == ("incomplete", kinds)


OWN, CLAUDE, CHAT = ("own", "openai_responses"), ("claude", "anthropic"), ("chat", "openai_chat")
SHORTER = {"model": "m", "input": [USER, TRIGGER]}


def answered(client: ListClient) -> Any:
    """The response, of a stream the one in its last event."""
    if b"event: " not in client.body:
        return json.loads(client.body)
    return json.loads(client.body.rstrip().rpartition(b"data: ")[2])["response"]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_conversation_is_made_shorter_by_the_next_vendors_model_where_its_own_fails(stream: bool) -> None:
    bench = Bench(OWN, CHAT)
    failing(bench.adapters[0], 503)
    bench.adapters[1].replies(completion("all that was said"))
    client = await bench.send(json.dumps({**SHORTER, "stream": stream}).encode(), "openai_responses")
    assert json.loads(bench.adapters[0].calls[0].body)["input"] == SHORTER["input"]
    (item,) = answered(client)["output"]
    assert (client.status, item["type"], bench.record.usage.output_tokens) == (200, "compaction", 4)
    # And back: its vendor gets words, and nothing that it could not read.
    bench = Bench(OWN)
    bench.adapters[0].replies(b"{}")
    await bench.send(json.dumps({"model": "m", "input": [item]}).encode(), "openai_responses")
    assert json.loads(bench.adapters[0].calls[0].body)["input"][0]["content"][0]["text"].endswith("\n\nall that was said")


async def test_its_own_vendors_item_is_none_to_be_written_anew() -> None:
    """Not even where it comes behind another upstream's failure, and in one piece to who wanted a stream."""
    bench = Bench(CHAT, OWN)
    failing(bench.adapters[0], 503)
    bench.adapters[1].replies(json.dumps({"id": "resp_1", "model": "m", "status": "completed", "output": [THEIRS]}).encode())
    client = await bench.send(json.dumps({**SHORTER, "stream": True}).encode(), "openai_responses")
    assert [item["encrypted_content"] for item in answered(client)["output"]] == [THEIRS["encrypted_content"]]
    assert bench.record.error_code is None


@pytest.mark.parametrize("stream", [True, False])
async def test_a_model_that_writes_no_summary_is_no_end_while_another_may(stream: bool) -> None:
    bench = Bench(CHAT, ("next", "openai_chat"))
    bench.adapters[0].replies(completion(" "))
    bench.adapters[1].replies(completion("all that was said"))
    client = await bench.send(json.dumps({**SHORTER, "stream": stream}).encode(), "openai_responses")
    assert [item["type"] for item in answered(client)["output"]] == ["compaction"]
    assert [attempt.outcome for attempt in bench.record.tries] == ["upstream_rejected", "ok"]


async def test_an_upstream_whose_model_writes_no_summary_is_not_fenced_off() -> None:
    """Codex CLI asks again and again, and everybody else would be kept out."""
    bench = Bench(CHAT)
    for _ in range(12):
        bench.adapters[0].replies(completion(" "))
        client = await bench.send(json.dumps(SHORTER).encode(), "openai_responses")
        assert (client.status, json.loads(client.body)["error"]["code"]) == (422, "server_error")
    bench.adapters[0].replies(completion("as ever"))
    client = await bench.send(json.dumps({**SHORTER, "input": "hello"}).encode(), "openai_responses")
    assert (client.status, answered(client)["output"][0]["content"][0]["text"]) == (200, "as ever")


async def test_a_stream_that_ends_without_a_summary_ends_in_an_error() -> None:
    bench = Bench(CLAUDE)
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    blank = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " "}}
    start = {"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "model": "x", "content": []}}
    end = [{"type": "content_block_stop", "index": 0}, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}]
    bench.adapters[0].streams(sse(start, block, blank), sse(*end, {"type": "message_stop"}))
    client = await bench.send(json.dumps({**SHORTER, "stream": True}).encode(), "openai_responses")
    answer = answered(client)
    assert (answer["status"], answer["error"]["code"], bench.record.error_code) == ("failed", "server_error", "upstream_rejected")


async def test_a_vendor_that_is_long_at_it_does_not_stall() -> None:
    bench = Bench(OWN, timeouts=Timeouts(stall_s=300.0))
    place = {"output_index": 0, "item_id": "cmp_1"}
    begun = {"type": "response.created", "response": {"id": "resp_1", "model": "m", "output": []}}
    added = {"type": "response.output_item.added", "output_index": 0, "item": {**THEIRS, "encrypted_content": ""}}
    at_it = [step for _ in range(6) for step in (sse({"type": "response.compaction.compacting", **place}), Pause(100.0))]
    ended = {"type": "response.completed", "response": {"id": "resp_1", "model": "m", "status": "completed", "output": [THEIRS]}}
    done = sse({"type": "response.output_item.done", "output_index": 0, "item": THEIRS}, ended)
    bench.adapters[0].streams(sse(begun, added), *at_it, done)
    client = await bench.send(json.dumps({**SHORTER, "stream": True}).encode(), "openai_responses")
    assert bench.record.error_code is None
    assert client.body.endswith(done)
