"""Every golden capture through every other dialect: what arrives is the same, but for what its `capture.toml` says is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.genai import types
from openai.types.chat import completion_create_params
from pydantic import TypeAdapter

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import Dialect, ReplyContext
from fkproxy.model.errors import Unrepresentable
from fkproxy.model.events import Reply, check_order, collect
from fkproxy.model.parts import Media, Opaque, Reasoning, Refusal, Text, ToolCall
from tests.dialects.golden import REPLIES, REQUESTS, Case, frames

CONTEXT = ReplyContext(reply_id="reply-1", model="model-asked-for", created_s=1_700_000_000)
COMPLETE = [case for case in REPLIES if case.status == 200 and '"failed"' not in (case.path / "events.jsonl").read_text()]
_CHAT_REQUEST: TypeAdapter[Any] = TypeAdapter(completion_create_params.CompletionCreateParams)


def others(cases: list[Case]) -> list[Any]:
    pairs = [(case, dialect) for case in cases for dialect in DIALECTS.values() if dialect is not case.dialect]
    return [pytest.param(case, dialect, id=f"{case!r} into {dialect.name}") for case, dialect in pairs]


def said(reply: Reply) -> list[Any]:
    """What a reply says, whatever the order and the cuts a dialect makes."""
    found: list[Any] = []
    for choice in reply.choices:
        parts = choice.parts
        calls = [
            (call.id, call.name, json.loads(call.arguments), call.seal.data if call.seal else None)
            for call in parts
            if isinstance(call, ToolCall)
        ]
        found.append(
            {
                "text": "".join(part.text for part in parts if isinstance(part, Text | Refusal)),
                "reasoning": "".join(part.text for part in parts if isinstance(part, Reasoning)),
                "media": [(part.kind, part.mime_type, part.data, part.url) for part in parts if isinstance(part, Media)],
                "calls": calls,
                "reason": "content_filter" if choice.reason in ("error", "refusal", "content_filter") else choice.reason,
                "logprobs": choice.logprobs,
            }
        )
    return found


def usage_of(reply: Reply) -> Any:
    usage = reply.usage
    if usage is None:
        return (0, 0, 0, 0)
    return (usage.input_tokens or 0, usage.output_tokens or 0, usage.cached_input_tokens or 0, usage.reasoning_tokens or 0)


@pytest.mark.parametrize(("case", "dialect"), others(COMPLETE))
def test_a_reply_says_the_same_in_another_dialect(case: Case, dialect: Dialect) -> None:
    events = case.decoded()
    reply = collect(events)
    expected, tokens = said(reply), usage_of(reply)
    if any(isinstance(part, Opaque) for choice in reply.choices for part in choice.parts):
        assert case.path.name == "vendor_tools"
    whole = dialect.decode_reply(dialect.encode_reply(reply, CONTEXT))
    encoder = dialect.stream_encoder(CONTEXT)
    decoder = dialect.stream_decoder()
    stream = b"".join(encoder.encode(event) for event in events)
    streamed = [event for frame in frames([stream]) for event in decoder.feed(frame)] + decoder.end()
    for found in (whole, streamed):
        check_order(found)
        again = collect(found)
        assert loosened(said(again)) == loosened(expected)
        assert usage_of(again) == tokens


def loosened(choices: list[Any]) -> list[Any]:
    """An empty choice and none at all are the same; so are "failed" and "filtered", which Gemini tells apart and OpenAI does not."""
    return [choice | {"reason": "content_filter" if choice["reason"] == "error" else choice["reason"]} for choice in choices]


@pytest.mark.parametrize(("case", "dialect"), others(REQUESTS))
def test_a_request_loses_exactly_what_its_capture_says(case: Case, dialect: Dialect) -> None:
    assert case.request is not None
    told = case.capture["into"][dialect.name]
    decoded = case.dialect.decode_request(case.request, case.peek)
    if "refused" in told:
        with pytest.raises(Unrepresentable) as caught:
            dialect.encode_request(decoded, "gemini-2.5-pro")
        assert caught.value.param == told["refused"]
        return
    encoded = dialect.encode_request(decoded, "gemini-2.5-pro")
    assert sorted(loss.field for loss in encoded.losses) == sorted(told["losses"])
    body = json.loads(encoded.body)
    if dialect.name == "gemini":
        for content in body["contents"]:
            types.Content.model_validate(content)
        types.GenerationConfig.model_validate(body.get("generationConfig", {}))
        for tool in body.get("tools", ()):
            types.Tool.model_validate(tool)
    else:
        _CHAT_REQUEST.validate_python(body)
    again = dialect.decode_request(encoded.body, dialect.peek(encoded.body, "m:generateContent", ""))
    assert [call_of(part) for m in again.messages for part in m.parts if isinstance(part, ToolCall)] == [
        call_of(part) for m in decoded.messages for part in m.parts if isinstance(part, ToolCall)
    ]
    assert [tool.name for tool in again.tools] == [tool.name for tool in decoded.tools]
    assert texts(again) == texts(decoded)


def call_of(call: ToolCall) -> Any:
    return call.name, json.loads(call.arguments)


def texts(request: Any) -> list[str]:
    found = [part.text for message in request.messages for part in message.parts if isinstance(part, Text) and part.text]
    return [text for text in found if not text.startswith("Media in the result")]
