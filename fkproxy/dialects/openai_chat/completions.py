"""Legacy text completions, for clients only: a prompt becomes one message of a user. Floor 1. Pure.

Source: OpenAI API reference, "Completions (legacy)", read 2026-11. No upstream is asked this way: every server that has it has chat too.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fkproxy.dialects.base import Peek, ReplyContext, Route
from fkproxy.dialects.openai_chat import OpenAiChat, azure, request
from fkproxy.dialects.openai_errors import encode_error
from fkproxy.model.errors import InvalidRequest, Unrepresentable
from fkproxy.model.events import ChoiceFinished, Done, Event, Failed, FinishReason, RefusalDelta, Reply, Started, TextDelta, UsageReported
from fkproxy.model.parts import Refusal, Text
from fkproxy.model.request import ChatRequest
from fkproxy.model.usage import Usage
from fkproxy.wire import json, sse
from fkproxy.wire.fields import Fields

__all__ = ["DIALECT", "OpenAiCompletions", "StreamEncoder"]

_KEPT = (
    *("model", "stream", "stream_options", "max_tokens", "temperature", "top_p", "n", "stop", "seed", "user"),
    *("presence_penalty", "frequency_penalty", "logit_bias"),
)
_OWN = frozenset(("prompt", "suffix", "echo", "best_of"))
_FINISH_REASONS: dict[FinishReason, str] = {
    "length": "length",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "error": "content_filter",
}


class OpenAiCompletions(OpenAiChat):
    """See `dialects.base.Dialect`; errors, lists and keep-alives are those of chat completions."""

    name = "openai_completions"
    routes: tuple[Route, ...] = (Route("/v1/completions", "completions"), *azure.routes("/completions", "completions"))
    models_paths: tuple[str, ...] = ()
    tells_media = False
    awaits_results = False
    known_fields = request.KNOWN_FIELDS | _OWN

    def decode_request(self, body: bytes, asked: Peek) -> ChatRequest:
        """See `Dialect.decode_request`. Raises `Unrepresentable` for what a chat cannot do.

        Chat is another dialect to it: a model is asked in the form that it takes, which these clients do not know.
        """
        fields = json.decode_request(body)
        for name in ("suffix", "echo"):
            if fields.get(name):
                raise Unrepresentable(name, "chat")
        if (fields.get("best_of") or 1) != 1:
            raise Unrepresentable("best_of", "chat")
        chat = {name: fields[name] for name in _KEPT if fields.get(name) is not None}
        decoded = request.decode_request(json.encode({**chat, "messages": [{"role": "user", "content": _prompt(fields)}]}), asked.model)
        others = Fields({name: value for name, value in fields.items() if name not in _KEPT and name not in _OWN})
        return msgspec.structs.replace(decoded, dialect=self.name, extra=others.rest())

    def encode_reply(self, reply: Reply, context: ReplyContext) -> bytes:
        """See `Dialect.encode_reply`."""
        choices = [
            _choice(choice.index, "".join(part.text for part in choice.parts if isinstance(part, Text | Refusal)), choice.reason or "stop")
            for choice in reply.choices
        ]
        body = _envelope(reply.created_s, context) | {"choices": choices}
        return json.encode(body | ({"usage": _usage(reply.usage)} if reply.usage is not None else {}))

    def stream_encoder(self, context: ReplyContext) -> Any:
        """See `Dialect.stream_encoder`."""
        return StreamEncoder(context)


def _prompt(fields: dict[str, Any]) -> str:
    prompt = fields.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if isinstance(prompt, str) and prompt:
        return prompt
    if isinstance(prompt, list) and prompt:
        raise Unrepresentable("prompt", "chat", "send one text, not several or token numbers")
    raise InvalidRequest("prompt", "expected a string")


def _envelope(created_s: int | None, context: ReplyContext) -> dict[str, Any]:
    return {
        "id": f"cmpl-{context.reply_id}",
        "object": "text_completion",
        "created": created_s or context.created_s,
        "model": context.model,
    }


def _choice(index: int, text: str, reason: FinishReason | None) -> dict[str, Any]:
    ended = _FINISH_REASONS.get(reason, "stop") if reason is not None else None
    return {"text": text, "index": index, "logprobs": None, "finish_reason": ended}


def _usage(usage: Usage) -> dict[str, int]:
    given, made = usage.input_tokens or 0, usage.output_tokens or 0
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}


class StreamEncoder:
    """See `dialects.base.StreamEncoder`."""

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._created_s: int | None = None
        self._usage: Usage | None = None

    def encode(self, event: Event) -> bytes:
        """See `dialects.base.StreamEncoder.encode`."""
        match event:
            case TextDelta() | RefusalDelta():
                return self._chunk([_choice(event.choice, event.text, None)])
            case Started():
                self._created_s = event.created_s
            case UsageReported():
                self._usage = event.usage
            case ChoiceFinished():
                return self._chunk([_choice(event.choice, "", event.reason)])
            case Done():
                usage = self._usage
                told = self._chunk([], usage=_usage(usage)) if usage is not None and self._context.include_usage else b""
                return told + sse.encode_data(b"[DONE]")
            case Failed():
                return sse.encode_data(json.encode(encode_error(event.error, self._context.reply_id)))
        return b""

    def _chunk(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        return sse.encode_data(json.encode(_envelope(self._created_s, self._context) | {"choices": choices, **more}))


DIALECT = OpenAiCompletions()
