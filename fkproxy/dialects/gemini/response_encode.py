"""A GenerateContentResponse, whole or streamed, encoded from events. Floor 1. Pure.

What clients get here they give back, and where they ask for Gemini 3, that is who may get it next: the first call of another model's
reply has the mark that Gemini 3 wants in place of a signature.
"""

from __future__ import annotations

import re
from typing import Any

from fkproxy.dialects.arguments import as_object
from fkproxy.dialects.base import ModelEntry, ReplyContext
from fkproxy.dialects.gemini.errors import encode_error
from fkproxy.dialects.gemini.thinking import is_gemini_3, sign
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
from fkproxy.model.parts import Media, Opaque, Part, Reasoning, Refusal, Seal, Text, ToolCall
from fkproxy.model.usage import Usage
from fkproxy.wire import json, sse

__all__ = ["BROKEN_OFF", "StreamEncoder", "encode_models", "encode_reply"]

_FINISH_REASONS: dict[FinishReason, str] = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "pause": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "refusal": "SAFETY",
    "error": "OTHER",
}

BROKEN_OFF = b": broken off"
"""Behind an error, and without a line's end: nothing to who reads events. @google/genai 1, which Gemini CLI 0.61 has, takes an error for an
event in which nothing was said, and the reply for a whole one; but what is left over at the end is an error to it, and asked for again.
"""

_METHODS = ("generateContent", "streamGenerateContent", "countTokens")
_EMBEDDING_METHODS = ("embedContent", "batchEmbedContents")
_EMBEDS = re.compile(r"(^|[/-])embed(ding)?(-|$)", re.IGNORECASE)
"""How vendors call those of their models that embed, where their lists do not say so: text-embedding-3-small, mistral-embed."""


def encode_reply(reply: Reply, context: ReplyContext) -> bytes:
    """The body of a whole reply."""
    candidates = [_candidate(choice, context.model) for choice in reply.choices]
    return _response(candidates, _usage(reply.usage) if reply.usage is not None else {}, context.model, context.reply_id)


def _response(candidates: list[dict[str, Any]], usage: dict[str, Any], model: str, reply_id: str) -> bytes:
    """A whole reply, or a piece of one. Google counts in each, and so there are clients that cannot read one without: BAML 0.226."""
    return json.encode({"candidates": candidates, "usageMetadata": usage, "modelVersion": model, "responseId": reply_id})


def _candidate(choice: Choice, model: str) -> dict[str, Any]:
    parts = [encoded for part in choice.parts if (encoded := _part(part)) is not None]
    if is_gemini_3(model):
        sign(parts)
    body: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": choice.index}
    body["finishReason"] = _FINISH_REASONS[choice.reason or "stop"]
    if choice.logprobs is not None:
        body["logprobsResult"] = _logprobs(choice.logprobs)
    return body


def _sealed(body: dict[str, Any], seal: Seal | None) -> dict[str, Any]:
    return {**body, "thoughtSignature": seal.data} if seal is not None and seal.dialect == "gemini" else body


def _part(part: Part) -> dict[str, Any] | None:
    match part:
        case Text():
            return _sealed({"text": part.text}, part.seal)
        case Refusal():
            return {"text": part.text}
        case Reasoning():
            body = _sealed({"text": part.text, "thought": True}, part.seal)
            # A thought of OpenAI's is often nothing but the seal, which has no place here.
            return body if part.text or "thoughtSignature" in body else None
        case ToolCall():
            return _sealed({"functionCall": _call(part.id, part.name, part.arguments)}, part.seal)
        case Media():
            return _sealed(_media(part), part.seal)
        case Opaque(dialect="gemini"):
            value: dict[str, Any] = part.value
            return value
        case _:
            return None


def _call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "name": name, "args": as_object(arguments)}


def _media(media: Media) -> dict[str, Any]:
    if media.data is not None:
        return {"inlineData": {"mimeType": media.mime_type or "application/octet-stream", "data": media.data}}
    return {"fileData": {"fileUri": media.url, **({"mimeType": media.mime_type} if media.mime_type else {})}}


def _logprobs(tokens: list[dict[str, Any]]) -> dict[str, Any]:
    def candidate(entry: dict[str, Any]) -> dict[str, Any]:
        return {"token": entry.get("token", ""), "logProbability": entry.get("logprob", 0.0)}

    return {
        "chosenCandidates": [candidate(token) for token in tokens],
        "topCandidates": [
            {"candidates": [candidate(other) for other in token.get("top_logprobs") or () if isinstance(other, dict)]} for token in tokens
        ],
    }


def _usage(usage: Usage) -> dict[str, Any]:
    thoughts = usage.reasoning_tokens
    made = usage.output_tokens
    values: dict[str, Any] = {
        "promptTokenCount": usage.input_tokens,
        # Some servers count the thoughts beside what they made.
        "candidatesTokenCount": made if made is None else max(0, made - (thoughts or 0)),
        "totalTokenCount": usage.total_tokens,
        "cachedContentTokenCount": usage.cached_input_tokens,
        "thoughtsTokenCount": thoughts,
        "promptTokensDetails": _audio(usage.audio_input_tokens),
        "candidatesTokensDetails": _audio(usage.audio_output_tokens),
    }
    return {name: count for name, count in values.items() if count is not None}


def _audio(count: int | None) -> list[dict[str, Any]] | None:
    return [{"modality": "AUDIO", "tokenCount": count}] if count else None


class _OpenCall:
    """A function call while its arguments come in: Gemini gives calls whole."""

    __slots__ = ("arguments", "id", "name", "seal")

    def __init__(self, event: ToolCallStarted) -> None:
        self.id = event.id
        self.name = event.name
        self.arguments: list[str] = []
        self.seal: Seal | None = None


class StreamEncoder:
    """See `dialects.base.StreamEncoder`. Finish reasons go out with the usage, in the last frame, as Google does it."""

    __slots__ = ("_calls", "_context", "_finished", "_marked", "_usage")

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._calls: dict[int, dict[int, _OpenCall]] = {}
        self._finished: list[ChoiceFinished] = []
        self._usage: dict[str, Any] = {}
        """What has been counted so far; empty where nothing was."""
        self._marked: set[int] | None = set() if is_gemini_3(context.model) else None
        """Choices whose first call has gone out; None where no call wants a mark."""

    def encode(self, event: Event) -> bytes:
        """See `dialects.base.StreamEncoder.encode`."""
        if type(event) is TextDelta:  # `match` makes a set for a case that fits
            return self._calls_of(event.choice) + self._frame(event.choice, {"text": event.text})
        match event:
            case ReasoningDelta():
                thought = self._frame(event.choice, {"text": event.text, "thought": True}) if event.text else b""
                return self._calls_of(event.choice) + thought
            case RefusalDelta():
                return self._calls_of(event.choice) + self._frame(event.choice, {"text": event.text})
            case Started():
                return b""
            case ToolCallStarted():
                self._calls.setdefault(event.choice, {})[event.index] = _OpenCall(event)
                return b""
            case ToolCallDelta():
                if (call := self._open_call(event.choice, event.index)) is not None:
                    call.arguments.append(event.arguments)
                return b""
            case SealAttached():
                return self._seal(event)
            case MediaReceived():
                return self._calls_of(event.choice) + self._frame(event.choice, _sealed(_media(event.media), event.media.seal))
            case OpaqueReceived():
                if event.part.dialect != "gemini":
                    return b""
                return self._calls_of(event.choice) + self._frame(event.choice, event.part.value)
            case LogprobsReported():
                return self._response([{"index": event.choice, "logprobsResult": _logprobs(event.tokens)}])
            case UsageReported():
                self._usage = _usage(event.usage)
                return b""
            case ChoiceFinished():
                self._finished.append(event)
                return self._calls_of(event.choice, finished=True)
            case Done():
                return self._last()
            case Failed():
                return sse.encode_data(json.encode(encode_error(event.error, self._context.reply_id))) + BROKEN_OFF

    def _seal(self, event: SealAttached) -> bytes:
        if event.seal.dialect != "gemini":
            return b""
        if event.index is not None:
            if (call := self._open_call(event.choice, event.index)) is not None:
                call.seal = event.seal
            return b""
        return self._frame(event.choice, {"text": "", "thoughtSignature": event.seal.data})

    def _open_call(self, choice: int, index: int) -> _OpenCall | None:
        """A call that has not gone out; None for one that has, and then nothing but blanks can follow."""
        return self._calls.get(choice, {}).get(index)

    def _calls_of(self, choice: int, *, finished: bool = False) -> bytes:
        """The calls of a choice that are complete now, in their order.

        The arguments of one call may go on behind a text: it is complete when they are a whole object, or the choice has finished.
        """
        calls = self._calls.get(choice)
        if not calls:
            return b""
        parts: list[dict[str, Any]] = []
        for index, call in list(calls.items()):
            arguments = "".join(call.arguments)
            if not finished and json.try_object(arguments) is None:
                break
            parts.append(_sealed({"functionCall": _call(call.id, call.name, arguments)}, call.seal))
            del calls[index]
        if self._marked is not None and parts and choice not in self._marked:
            sign(parts)
            self._marked.add(choice)
        return self._response([{"content": {"role": "model", "parts": parts}, "index": choice}]) if parts else b""

    def _frame(self, choice: int, part: dict[str, Any]) -> bytes:
        return self._response([{"content": {"role": "model", "parts": [part]}, "index": choice}])

    def _last(self) -> bytes:
        candidates = [
            {"content": {"role": "model", "parts": [{"text": ""}]}, "index": event.choice, "finishReason": _FINISH_REASONS[event.reason]}
            for event in self._finished
        ]
        return self._response(candidates)

    def _response(self, candidates: list[dict[str, Any]]) -> bytes:
        return sse.encode_data(_response(candidates, self._usage, self._context.model, self._context.reply_id))


def encode_models(models: list[ModelEntry]) -> bytes:
    """`GET /v1beta/models`."""
    listed: list[dict[str, Any]] = []
    for model in models:
        entry: dict[str, Any] = {"name": f"models/{model.id}", "displayName": model.display_name or model.id}
        if model.input_token_limit is not None:
            entry["inputTokenLimit"] = model.input_token_limit
        if model.output_token_limit is not None:
            entry["outputTokenLimit"] = model.output_token_limit
        embeds = model.embeds if model.embeds is not None else _EMBEDS.search(model.id) is not None
        entry["supportedGenerationMethods"] = list(_EMBEDDING_METHODS if embeds else _METHODS)
        listed.append(entry)
    return json.encode({"models": listed})
