"""A chat completion, whole or streamed, encoded from events. Floor 1. Pure.

Grammar of the stream, as OpenAI writes it: for each choice a first chunk with the role, then chunks with what is new, then one with
the finish reason and an empty delta; then, if the client asked for it, one chunk without choices that holds the usage; then `[DONE]`.
An error ends the stream as `data: {"error": …}` and nothing follows it.

A client whose request has `functions` in place of `tools` gets the first call of an answer as `function_call`, with neither id nor index.

Signatures are not for clients that ask for a model of OpenAI's, which refuses to have them back: those of calls are remembered elsewhere.
"""

from __future__ import annotations

from typing import Any

from fkproxy.dialects.base import ReplyContext
from fkproxy.dialects.media import address_of
from fkproxy.dialects.openai_chat.request import LEGACY
from fkproxy.dialects.openai_chat.request_encode import encode_seal
from fkproxy.dialects.openai_errors import encode_error
from fkproxy.dialects.openai_models import is_openai
from fkproxy.model.events import (
    Choice,
    ChoiceFinished,
    Done,
    Event,
    Failed,
    FinishReason,
    LogprobsReported,
    MediaReceived,
    OpaqueReceived,
    ReasoningDelta,
    RefusalDelta,
    Reply,
    SealAttached,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from fkproxy.model.parts import Media, Opaque, Reasoning, Refusal, Seal, Text, ToolCall
from fkproxy.model.usage import Usage
from fkproxy.wire import json, sse

__all__ = ["StreamEncoder", "encode_reply"]

_FINISH_REASONS: dict[FinishReason, str] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "pause": "stop",
    # OpenAI has no word for "the model failed"; clients take content_filter as "incomplete, and not for length".
    "error": "content_filter",
}

_FUNCTION_CALL = "function_call"

_DONE = sse.encode_data(b"[DONE]")


def encode_reply(reply: Reply, context: ReplyContext) -> bytes:
    """The body of a whole completion."""
    body: dict[str, Any] = {
        "id": f"chatcmpl-{context.reply_id}",
        "object": "chat.completion",
        "created": reply.created_s or context.created_s,
        "model": context.model,
        "choices": [_choice(choice, context) for choice in reply.choices],
        **reply.extra,
    }
    if reply.usage is not None:
        body["usage"] = _usage(reply.usage)
    return json.encode(body)


def _sealed(seal: Seal | None, context: ReplyContext) -> dict[str, Any]:
    return {} if seal is None or is_openai(context.model) else encode_seal(seal)


def _knows_functions(context: ReplyContext) -> bool:
    """The client's request has `functions`, which came before `tools`."""
    return bool(context.tools) and any(LEGACY in tool.extra for tool in context.tools)


def _reason(reason: FinishReason, legacy: bool) -> str:
    return _FUNCTION_CALL if legacy and reason == "tool_calls" else _FINISH_REASONS[reason]


def _choice(choice: Choice, context: ReplyContext) -> dict[str, Any]:
    legacy = _knows_functions(context)
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    texts: list[str] = []
    thoughts: list[str] = []
    refusals: list[str] = []
    images: list[Media] = []
    calls: list[dict[str, Any]] = []
    for part in choice.parts:
        if type(part) is Text:
            texts.append(part.text)
            if part.seal is not None:
                message |= _sealed(part.seal, context)
            continue
        match part:
            case Reasoning():
                thoughts += [part.text] if part.text else []
                message = {**_sealed(part.seal, context), **message}
            case Refusal():
                refusals.append(part.text)
            case Media():
                images.append(part)
            case ToolCall():
                calls.append(_tool_call(part, context))
            case Opaque():
                message |= _opaque(part)
            case _:
                pass
    if texts or not (calls or refusals or "audio" in message):
        # An answer of nothing is an empty text: "Invalid value for 'content': expected a string, got null" is the 400 when it comes back.
        message["content"] = "".join(texts)
    if refusals:
        message["refusal"] = "".join(refusals)
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    if legacy and calls:
        message[_FUNCTION_CALL], calls = calls[0]["function"], []
    if images:
        message["images"] = [_image(image, index, context) for index, image in enumerate(images)]
    if calls:
        message["tool_calls"] = calls
    return {
        "index": choice.index,
        "message": message,
        "logprobs": {"content": choice.logprobs, "refusal": None} if choice.logprobs is not None else None,
        "finish_reason": _reason(choice.reason or "stop", legacy),
    }


def _opaque(part: Opaque) -> dict[str, Any]:
    return {part.kind: part.value} if part.dialect == "openai_chat" and part.kind in ("audio", "annotations") else {}


def _tool_call(call: ToolCall, context: ReplyContext) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function, **_sealed(call.seal, context)}


def _image(media: Media, index: int, context: ReplyContext) -> dict[str, Any]:
    """A generated image. OpenAI has no place for one; this is where OpenRouter puts it, which clients read.

    The vendor's Python client adds up the deltas of a list by `index` ("Expected list delta entry to have an `index` key").
    """
    return {"index": index, "type": "image_url", "image_url": {"url": address_of(media)}, **_sealed(media.seal, context)}


def _usage(usage: Usage) -> dict[str, Any]:
    given, made = usage.input_tokens or 0, usage.output_tokens or 0
    body: dict[str, Any] = {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}
    of_input: dict[str, int] = {}
    if usage.cached_input_tokens is not None:
        of_input["cached_tokens"] = usage.cached_input_tokens
    if usage.cache_write_tokens is not None:
        of_input["cache_write_tokens"] = usage.cache_write_tokens
    if usage.audio_input_tokens is not None:
        of_input["audio_tokens"] = usage.audio_input_tokens
    of_output: dict[str, int] = {}
    if usage.reasoning_tokens is not None:
        of_output["reasoning_tokens"] = usage.reasoning_tokens
    if usage.audio_output_tokens is not None:
        of_output["audio_tokens"] = usage.audio_output_tokens
    if of_input:
        body["prompt_tokens_details"] = of_input
    if of_output:
        body["completion_tokens_details"] = of_output
    return body


class StreamEncoder:
    """See `dialects.base.StreamEncoder`."""

    __slots__ = ("_begun", "_called", "_context", "_head", "_images", "_legacy", "_seals", "_tail", "_usage")

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._begun: set[int] = set()
        self._legacy = _knows_functions(context)
        self._called: dict[int, int] = {}
        """Which call of each choice such a client is told."""
        self._images: dict[int, int] = {}
        """How many images each choice has had."""
        self._seals: dict[int, dict[str, Any]] = {}
        """The last seal of each choice's texts: clients would make one of two."""
        self._usage: Usage | None = None
        self._head = b""
        self._tail = b""
        self._open(Started())

    def _open(self, started: Started) -> None:
        """What stands in every chunk around its choices, encoded once."""
        context = self._context
        head = {
            "id": f"chatcmpl-{context.reply_id}",
            "object": "chat.completion.chunk",
            "created": started.created_s or context.created_s,
            "model": context.model,
            **started.extra,
        }
        self._head = b"data: " + json.encode(head)[:-1] + b',"choices":['
        # OpenAI: with include_usage every chunk but the last has `"usage": null`.
        self._tail = b'],"usage":null}\n\n' if context.include_usage else b"]}\n\n"

    def encode(self, event: Event) -> bytes:
        """See `dialects.base.StreamEncoder.encode`."""
        if type(event) is TextDelta:  # `match` makes a set for a case that fits
            return self._chunk(event.choice, {"content": event.text}, None, None)
        match event:
            case Started():
                self._open(event)
                return b""
            case ReasoningDelta():
                return self._delta(event.choice, {"reasoning_content": event.text}) if event.text else b""
            case RefusalDelta():
                return self._delta(event.choice, {"refusal": event.text})
            case ToolCallStarted() if self._legacy:
                return self._function_call(event, {"name": event.name, "arguments": ""})
            case ToolCallDelta() if self._legacy:
                return self._function_call(event, {"arguments": event.arguments})
            case ToolCallStarted():
                call = {"index": event.index, "id": event.id, "type": "function", "function": {"name": event.name, "arguments": ""}}
                return self._delta(event.choice, {"tool_calls": [call]})
            case ToolCallDelta():
                return self._delta(event.choice, {"tool_calls": [{"index": event.index, "function": {"arguments": event.arguments}}]})
            case SealAttached():
                sealed = _sealed(event.seal, self._context)
                if not sealed or (self._legacy and event.index is not None):
                    return b""
                if event.index is None:
                    self._seals[event.choice] = sealed
                    return b""
                # Clients that add deltas up expect a function in each of them.
                call = {"index": event.index, "function": {"arguments": ""}, **sealed}
                return self._delta(event.choice, {"tool_calls": [call]})
            case MediaReceived():
                index = self._images.get(event.choice, 0)
                self._images[event.choice] = index + 1
                return self._delta(event.choice, {"images": [_image(event.media, index, self._context)]})
            case OpaqueReceived():
                opaque = _opaque(event.part)
                return self._delta(event.choice, opaque) if opaque else b""
            case LogprobsReported():
                return self._chunk(event.choice, {}, None, {"content": event.tokens, "refusal": None})
            case UsageReported():
                self._usage = event.usage
                return b""
            case ChoiceFinished():
                sealed = self._seals.pop(event.choice, {})
                seal = self._delta(event.choice, sealed) if sealed else b""
                return seal + self._chunk(event.choice, {}, _reason(event.reason, self._legacy), None)
            case Done():
                return self._usage_chunk() + _DONE
            case Failed():
                return sse.encode_data(json.encode(encode_error(event.error, self._context.reply_id)))

    def _function_call(self, event: ToolCallStarted | ToolCallDelta, told: dict[str, str]) -> bytes:
        first = self._called.setdefault(event.choice, event.index) == event.index
        return self._delta(event.choice, {_FUNCTION_CALL: told}) if first else b""

    def _delta(self, choice: int, delta: dict[str, Any]) -> bytes:
        return self._chunk(choice, delta, None, None)

    def _chunk(self, choice: int, delta: dict[str, Any], reason: str | None, logprobs: dict[str, Any] | None) -> bytes:
        first = b""
        if choice not in self._begun:
            self._begun.add(choice)
            role = {"index": choice, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
            first = self._head + json.encode(role) + self._tail
        body = json.encode({"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": reason})
        return b"".join((first, self._head, body, self._tail))

    def _usage_chunk(self) -> bytes:
        if not self._context.include_usage or self._usage is None:
            return b""
        return self._head + b'],"usage":' + json.encode(_usage(self._usage)) + b"}\n\n"
