"""Every golden capture through every other dialect: what arrives is the same, but for what its `capture.toml` says is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types import message_create_params
from google.genai import types
from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params
from pydantic import TypeAdapter

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import Dialect, ReplyContext
from fkproxy.model.errors import Unrepresentable
from fkproxy.model.events import ChoiceFinished, Done, Event, ReasoningDelta, Reply, Started, TextDelta, collect
from fkproxy.model.parts import Media, Opaque, Reasoning, Refusal, Text, ToolCall
from tests.dialects.golden import REPLIES, REQUESTS, Case, frames
from tests.fakes.order import check_order

CONTEXT = ReplyContext(reply_id="reply-1", model="model-asked-for", created_s=1_700_000_000)
COMPLETE = [case for case in REPLIES if case.status == 200 and '"failed"' not in (case.path / "events.jsonl").read_text()]
_RESPONSE_REQUEST: TypeAdapter[Any] = TypeAdapter(response_create_params.ResponseCreateParams)
_CHAT_REQUEST: TypeAdapter[Any] = TypeAdapter(completion_create_params.CompletionCreateParams)
_MESSAGE_REQUEST: TypeAdapter[Any] = TypeAdapter(message_create_params.MessageCreateParams)
MODELS = {"anthropic": "claude-opus-4-6", "openai_responses": "gpt-5"}
"""What a request is encoded for where the dialect is that of other models than Gemini's."""
UNTOLD = {
    "anthropic": {"media": [], "logprobs": None},
    "openai_responses": {"logprobs": None},
}
"""What no reply of a dialect can say."""
ONE_CHOICE = ("anthropic", "openai_responses")
WITHOUT_SEALS_ON_CALLS = ("anthropic", "openai_responses")
OPAQUE = ("vendor_tools", "web_search_call", "server_tools", "citations", "compaction_trigger", "compaction_item", "image_drafts")
ADDED = ("Media in the result", "Result of the tool call", "Answer with ", "(begin)", "(continue)")
"""How texts begin that an encoder adds."""


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
        assert case.path.name in OPAQUE
    whole = dialect.decode_reply(dialect.encode_reply(reply, CONTEXT))
    encoder = dialect.stream_encoder(CONTEXT)
    decoder = dialect.stream_decoder()
    stream = b"".join(encoder.encode(event) for event in events)
    streamed = [event for frame in frames([stream]) for event in decoder.feed(frame)] + decoder.end()
    for found in (whole, streamed):
        check_order(found)
        again = collect(found)
        assert loosened(said(again)) == loosened(sayable(expected, dialect.name))
        assert usage_of(again) == tokens


def sayable(choices: list[Any], name: str) -> list[Any]:
    """What of a reply there is a word for."""
    kept = [choice | UNTOLD.get(name, {}) for choice in choices]
    if name in WITHOUT_SEALS_ON_CALLS:
        kept = [choice | {"calls": [(*call[:3], None) for call in choice["calls"]]} for choice in kept]
    return kept[:1] if name in ONE_CHOICE else kept


ALIKE = {"error": "content_filter", "pause": "stop"}


def loosened(choices: list[Any]) -> list[Any]:
    """Reasons that some dialects tell apart and others do not are the same: "failed" and "filtered", "paused" and "stopped"."""
    return [choice | {"reason": ALIKE.get(choice["reason"], choice["reason"])} for choice in choices]


@pytest.mark.parametrize(("case", "dialect"), others(REQUESTS))
def test_a_request_loses_exactly_what_its_capture_says(case: Case, dialect: Dialect) -> None:
    assert case.request is not None
    told = case.capture["into"][dialect.name]
    decoded = case.dialect.decode_request(case.request, case.peek)
    model = MODELS.get(dialect.name, "gemini-2.5-pro")
    if "refused" in told:
        with pytest.raises(Unrepresentable) as caught:
            dialect.encode_request(decoded, model)
        assert caught.value.param == told["refused"]
        return
    encoded = dialect.encode_request(decoded, model)
    assert sorted(loss.field for loss in encoded.losses) == sorted(told["losses"])
    assert encoded.may_think or dialect.reasoning_of(encoded.body) is None
    body = json.loads(encoded.body)
    if dialect.name == "gemini":
        for content in body["contents"]:
            types.Content.model_validate(content)
        types.GenerationConfig.model_validate(body.get("generationConfig", {}))
        for tool in body.get("tools", ()):
            types.Tool.model_validate(tool)
    elif dialect.name == "openai_responses":
        _RESPONSE_REQUEST.validate_python(body)
    elif dialect.name == "anthropic":
        _MESSAGE_REQUEST.validate_python(body)
    else:
        _CHAT_REQUEST.validate_python(body)
    again = dialect.decode_request(encoded.body, dialect.peek(encoded.body, "m:generateContent", ""))
    assert [call_of(part) for m in again.messages for part in m.parts if isinstance(part, ToolCall)] == [
        call_of(part) for m in decoded.messages for part in m.parts if isinstance(part, ToolCall)
    ]
    assert [tool.name for tool in again.tools] == [tool.name for tool in decoded.tools if not tool.optional]
    assert texts(again) == texts(decoded)


def call_of(call: ToolCall) -> Any:
    return call.name, json.loads(call.arguments)


def texts(request: Any) -> list[str]:
    found = [part.text for message in request.messages for part in message.parts if isinstance(part, Text) and part.text]
    return [text for text in found if not text.startswith(ADDED)]


@pytest.mark.parametrize("client", ["openai_chat", "anthropic", "gemini"])
def test_a_thought_without_words_is_not_told_where_its_seal_has_no_place(client: str) -> None:
    """Programs make another kind of message of it: langchain-google-genai's `content` is a list then, and no text."""
    dialect = DIALECTS[client]
    events: list[Event] = [Started(), ReasoningDelta(text=""), TextDelta(text="hi"), ChoiceFinished(reason="stop"), Done()]
    encoder = dialect.stream_encoder(CONTEXT)
    for told in (dialect.encode_reply(collect(events), CONTEXT), b"".join(encoder.encode(event) for event in events)):
        assert b'"hi"' in told
        assert not any(word in told for word in (b"thought", b"thinking", b"reasoning"))


@pytest.mark.parametrize("client", DIALECTS.values(), ids=lambda dialect: dialect.name)
def test_no_two_replies_have_the_same_id_though_their_upstream_gives_them_the_same(client: Dialect) -> None:
    """Ollama chooses among 999. Claude Code 2.1 makes one message of those with one id, and tells them in another order from then on."""
    events: list[Event] = [Started(id="chatcmpl-A1"), TextDelta(text="hi"), ChoiceFinished(reason="stop"), Done()]
    encoder = client.stream_encoder(CONTEXT)
    for told in (client.encode_reply(collect(events), CONTEXT), b"".join(encoder.encode(event) for event in events)):
        assert CONTEXT.reply_id.encode() in told
        assert b"A1" not in told


@pytest.mark.parametrize("client", DIALECTS.values(), ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    ("upstream", "words"),
    [
        ("openai_chat", "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."),
        ("openai_chat", "This model's maximum prompt length is 131072 but the request contains 136973 tokens."),
        ("openai_chat", "Invalid request: Your request exceeded model token limit: 262144"),
        ("openai_chat", "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 305127 tokens."),
        ("openai_responses", "Your input exceeds the context window of this model. Please adjust your input and try again."),
        ("anthropic", "prompt is too long: 200001 tokens > 200000 maximum"),
        ("anthropic", "Prompt is too long"),
        ("anthropic", "input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000, decrease input length"),
        ("gemini", "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."),
    ],
)
def test_a_conversation_that_is_too_long_is_told_in_the_words_that_clients_know(upstream: str, words: str, client: Dialect) -> None:
    error = DIALECTS[upstream].decode_error(400, {}, json.dumps({"error": {"message": words, "code": 400}}).encode())
    told = json.loads(client.encode_error(error, "request-1"))["error"]
    assert words in told["message"]
    if client.name == upstream:
        assert told["message"] == words
    elif client.name == "anthropic":
        assert told["message"].startswith("prompt is too long: ")
    elif client.name == "gemini":
        assert told["message"].startswith("The input token count exceeds the maximum number of tokens allowed: ")
    if client.name in ("openai_chat", "openai_responses"):
        assert told["code"] == "context_length_exceeded"
        # litellm 1.106, by whose words CrewAI and aider shorten, knows none of those of Responses.
        known = ("openai_chat", client.name)
        assert told["message"].startswith("This model's maximum context length is exceeded: ") == (upstream not in known)
