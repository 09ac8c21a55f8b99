"""Replies: the grammar of the stream, judged by the vendor's own accumulation rules."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import Peek, ReplyContext
from fkproxy.dialects.openai_responses.response_encode import StreamEncoder, encode_reply
from fkproxy.model.errors import FkproxyError, InternalError, UpstreamOverloaded, UpstreamRateLimited, UpstreamRejected
from fkproxy.model.events import (
    ChoiceFinished,
    Done,
    Event,
    Failed,
    LogprobsReported,
    MediaReceived,
    ReasoningDelta,
    SealAttached,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
    collect,
)
from fkproxy.model.parts import Media, Seal
from fkproxy.model.usage import Usage
from fkproxy.wire import json as wire_json
from tests.dialects.golden import frames

CONTEXT = ReplyContext(reply_id="r", model="m", created_s=1)
LISTED = ("server_error", "rate_limit_exceeded", "invalid_prompt")
"""Codes that the package's own types know; the service has more, and the Codex CLI acts upon them."""
JUDGE: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
SEALED = SealAttached(seal=Seal(dialect="anthropic", data="c2ln"))


def told(events: list[Event], context: ReplyContext = CONTEXT) -> list[dict[str, Any]]:
    encoder = StreamEncoder(context)
    stream = b"".join(encoder.encode(event) for event in events)
    values = [json.loads(frame.data or b"") for frame in frames([stream])]
    for value in values:
        if value["type"] != "response.failed" or value["response"]["error"]["code"] in LISTED:
            JUDGE.validate_python(value)
    return values


def whole(*content: Event, reason: Any = "stop") -> list[Event]:
    usage = UsageReported(usage=Usage(input_tokens=3, output_tokens=2))
    return [Started(), *content, usage, ChoiceFinished(reason=reason), Done()]


def test_a_text_in_every_detail() -> None:
    values = told(whole(TextDelta(text="Hi"), TextDelta(text=" you")))
    assert [value["type"].removeprefix("response.") for value in values] == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *("output_text.delta", "output_text.delta", "output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    assert [value["sequence_number"] for value in values] == list(range(len(values)))
    assert values[-1]["response"]["usage"]["total_tokens"] == 5
    assert values[-1]["response"]["output"][0]["content"][0]["text"] == "Hi you"


_PIECE = st.one_of(
    st.builds(TextDelta, text=st.text(min_size=1, max_size=3)),
    st.builds(ReasoningDelta, text=st.text(max_size=3)),
    st.just(SEALED),
    st.sampled_from(["call", "more"]),
)


def _numbered(pieces: list[Any]) -> list[Event]:
    """Calls are numbered as they come; "more" adds to the first one, whatever came since."""
    content: list[Event] = []
    calls = 0
    for piece in pieces:
        if piece == "call":
            content += [ToolCallStarted(index=calls, id=f"c{calls}", name="f"), ToolCallDelta(index=calls, arguments='{"a":')]
            calls += 1
        elif piece == "more":
            content += [ToolCallDelta(index=0, arguments="1")] if calls else []
        else:
            content.append(piece)
    return content


@settings(max_examples=200)
@given(st.lists(_PIECE, max_size=8))
def test_every_item_opens_once_closes_once_and_is_what_its_pieces_were(pieces: list[Any]) -> None:
    events = whole(*_numbered(pieces))
    values = told(events)
    opened = [value["output_index"] for value in values if value["type"] == "response.output_item.added"]
    closed = {value["output_index"]: value["item"] for value in values if value["type"] == "response.output_item.done"}
    assert opened == list(range(len(opened)))
    output = values[-1]["response"]["output"]
    assert [closed[index] for index in opened] == output
    for index, item in enumerate(output):
        for kind, text in (
            ("output_text.delta", "".join(part["text"] for part in item.get("content", ()))),
            ("function_call_arguments.delta", item.get("arguments", "")),
            ("reasoning_summary_text.delta", "".join(part["text"] for part in item.get("summary", ()))),
        ):
            assert "".join(v["delta"] for v in values if v["type"] == f"response.{kind}" and v["output_index"] == index) == text
    assert json.loads(encode_reply(collect(events), CONTEXT))["usage"] == values[-1]["response"]["usage"]


def test_a_sealed_thought_brings_its_envelope() -> None:
    (item, _) = told(whole(ReasoningDelta(text="t"), SEALED, TextDelta(text="x")))[-1]["response"]["output"]
    assert item["summary"] == [{"type": "summary_text", "text": "t"}]
    assert item["encrypted_content"].startswith("fkproxy1.")


@pytest.mark.parametrize(
    "given",
    [
        {"type": "text"},
        {"type": "json_object"},
        {"type": "json_schema", "name": "city", "schema": {"type": "object"}, "strict": True, "description": "one city"},
    ],
)
def test_a_response_says_what_its_text_was_to_look_like(given: dict[str, Any]) -> None:
    """langchain-openai finds by it that the text of a stream is to be parsed."""
    body = json.dumps({"model": "m", "input": "x", "text": {"format": given}}).encode()
    request = DIALECTS["openai_responses"].decode_request(body, Peek(model="m"))
    context = ReplyContext(reply_id="r", model="m", created_s=1, output=request.output)
    values = told(whole(TextDelta(text="{}")), context)
    assert [value["response"]["text"] for value in (values[0], values[-1])] == [{"format": given}] * 2


def test_custom_tools_and_namespaces_are_called_by_the_names_the_client_knows() -> None:
    tools = [{"type": "custom", "name": "run"}, {"type": "namespace", "name": "agents", "tools": [{"type": "function", "name": "close"}]}]
    body = json.dumps({"model": "m", "input": "x", "tools": tools}).encode()
    request = DIALECTS["openai_responses"].decode_request(body, Peek(model="m"))
    context = ReplyContext(reply_id="r", model="m", created_s=1, tools=request.tools)
    calls: list[Event] = []
    for index, (name, arguments) in enumerate([("run", '{"input": "print(\\"hi\\")"}'), ("agents__close", "{}"), ("run", "no json")]):
        calls += [ToolCallStarted(index=index, id=f"c{index}", name=name), ToolCallDelta(index=index, arguments=arguments)]
    custom, spaced, broken = told(whole(*calls, reason="tool_calls"), context)[-1]["response"]["output"]
    assert (custom["type"], custom["name"], custom["input"]) == ("custom_tool_call", "run", 'print("hi")')
    assert (spaced["type"], spaced["namespace"], spaced["name"]) == ("function_call", "agents", "close")
    assert broken["input"] == "no json"


def test_a_tool_that_is_in_the_vendors_place_for_those_in_no_namespace_is_called_without_one() -> None:
    tools = [{"type": "namespace", "name": "functions", "description": "", "tools": [{"type": "custom", "name": "exec"}]}]
    asked = [{"type": "additional_tools", "role": "developer", "tools": tools}, {"role": "user", "content": "x"}]
    request = DIALECTS["openai_responses"].decode_request(json.dumps({"model": "m", "input": asked}).encode(), Peek(model="m"))
    context = ReplyContext(reply_id="r", model="m", created_s=1, tools=request.tools)
    call = ToolCallStarted(index=0, id="c", name="exec"), ToolCallDelta(index=0, arguments='{"input": "1"}')
    (item,) = told(whole(*call, reason="tool_calls"), context)[-1]["response"]["output"]
    assert {"type": "custom_tool_call", "name": "exec", "input": "1"}.items() <= item.items()
    assert "namespace" not in item


@pytest.mark.parametrize(("text", "arguments"), [('{"query": "birds"}', {"query": "birds"}), ("", {}), ('{"query', '{"query')])
def test_a_search_for_tools_that_the_client_runs_is_asked_for_in_an_item_of_its_own(text: str, arguments: Any) -> None:
    asked = {"model": "m", "input": "x", "tools": [{"type": "tool_search", "execution": "client", "parameters": {"type": "object"}}]}
    request = DIALECTS["openai_responses"].decode_request(json.dumps(asked).encode(), Peek(model="m"))
    context = ReplyContext(reply_id="r", model="m", created_s=1, tools=request.tools)
    call = ToolCallStarted(index=0, id="c", name="tool_search"), *(ToolCallDelta(index=0, arguments=piece) for piece in text)
    events = told(whole(*call, reason="tool_calls"), context)
    item = {"type": "tool_search_call", "id": "tsc_r_0", "call_id": "c", "execution": "client", "arguments": arguments}
    assert events[-1]["response"]["output"] == [{**item, "status": "completed"}]
    started = {"type": "response.output_item.added", "item": {**item, "arguments": {}, "status": "in_progress"}}
    ended = {"type": "response.output_item.done", "item": {**item, "status": "completed"}}
    assert [{name: event[name] for name in ("type", "item")} for event in events[2:-1]] == [started, ended]


@pytest.mark.parametrize(
    ("reason", "why"), [("length", "max_output_tokens"), ("content_filter", "content_filter"), ("refusal", "content_filter")]
)
def test_a_reply_that_is_not_whole_says_why(reason: Any, why: str) -> None:
    values = told(whole(ReasoningDelta(text="t"), TextDelta(text="w"), ReasoningDelta(text="t"), TextDelta(text="x"), reason=reason))
    last = values[-1]
    assert [item.get("status") for item in last["response"]["output"]] == [None, "completed", None, "incomplete"]
    assert values[-2]["item"] == last["response"]["output"][-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": why}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UpstreamRateLimited("wait", retry_after_s=1.0), "rate_limit_exceeded"),
        (UpstreamOverloaded("busy"), "server_is_overloaded"),
        (UpstreamRejected(400, "too long", native_code="context_length_exceeded"), "context_length_exceeded"),
        (InternalError(), "server_error"),
    ],
)
@pytest.mark.parametrize("begun", [True, False])
def test_a_failure_after_200_is_in_the_dialects_own_terms(error: FkproxyError, code: str, begun: bool) -> None:
    events: list[Event] = [Started(), TextDelta(text="x")] if begun else []
    values = told([*events, Failed(error)])
    assert values[0]["type"] == "response.created"
    assert (values[-1]["type"], values[-1]["response"]["status"]) == ("response.failed", "failed")
    assert values[-1]["response"]["error"]["code"] == code
    raised = values[-2]
    assert (raised["type"], raised["code"], raised["error"]["code"]) == ("error", code, code)
    assert raised["message"] == raised["error"]["message"] == values[-1]["response"]["error"]["message"]
    assert raised["error"]["type"] in ("rate_limit_error", "server_error", "invalid_request_error")


@pytest.mark.parametrize("mime_type", ["image/png", "image/jpeg"])
def test_an_image_that_the_model_made_comes_back_as_what_it_was(mime_type: str) -> None:
    image = Media(kind="image", mime_type=mime_type, data="aGk=")
    (item,) = told(whole(MediaReceived(media=image)))[-1]["response"]["output"]
    assert (item["result"], item["output_format"]) == ("aGk=", mime_type.removeprefix("image/"))
    body = json.dumps({"model": "m", "input": [{"role": "user", "content": "x"}, item]}).encode()
    request = DIALECTS["openai_responses"].decode_request(body, Peek(model="m"))
    assert request.messages[1].parts == (image,)
    sent = json.loads(DIALECTS["gemini"].encode_request(request, "gemini-2.5-flash-image").body)
    assert sent["contents"][1] == {"role": "model", "parts": [{"inlineData": {"mimeType": mime_type, "data": "aGk="}}]}


def test_log_probabilities_stand_in_the_text_they_are_of() -> None:
    tokens = [
        {"token": word, "logprob": -0.5, "bytes": None, "top_logprobs": [{"token": word, "logprob": -0.5, "bytes": None}]} for word in "ab"
    ]
    events = whole(*(event for token in tokens for event in (TextDelta(text=token["token"]), LogprobsReported(tokens=[token]))))
    values = told(events)
    expected = [{**token, "bytes": [], "top_logprobs": [{**token["top_logprobs"][0], "bytes": []}]} for token in tokens]
    for kind in ("output_text.done", "content_part.done"):
        (value,) = [value for value in values if value["type"] == f"response.{kind}"]
        assert value.get("part", value)["logprobs"] == expected
    output = values[-1]["response"]["output"]
    assert output[0]["content"][0]["logprobs"] == expected
    assert json.loads(encode_reply(collect(events), CONTEXT))["output"] == output


def test_a_call_that_is_complete_is_done_before_the_next_item_begins() -> None:
    calls = [
        *(ToolCallStarted(index=0, id="a", name="f"), ToolCallDelta(index=0, arguments='{"a":'), ToolCallDelta(index=0, arguments="1}")),
        *(ReasoningDelta(text="t"), SEALED),
        *(ToolCallStarted(index=1, id="b", name="f"), ToolCallDelta(index=1, arguments="{}"), ToolCallDelta(index=0, arguments=" ")),
        TextDelta(text="x"),
    ]
    values = told(whole(*calls, reason="tool_calls"))
    places = [(value["type"].rpartition(".")[2], value["output_index"]) for value in values if ".output_item." in value["type"]]
    assert places == [(kind, index) for index in range(4) for kind in ("added", "done")]
    assert [item["arguments"] for item in values[-1]["response"]["output"] if "arguments" in item] == ['{"a":1}', "{}"]


def test_arguments_that_stay_broken_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    monkeypatch.setattr(wire_json, "try_object", looked.append)
    calls = [(ToolCallStarted(index=index, id=f"c{index}", name="f"), ToolCallDelta(index=index, arguments="{")) for index in range(9)]
    encoder = StreamEncoder(CONTEXT)
    for event in whole(*(event for call in calls for event in call))[:-1]:
        encoder.encode(event)
    assert len(looked) == 8
