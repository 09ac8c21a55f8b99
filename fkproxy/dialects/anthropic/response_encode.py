"""A message, whole or streamed, encoded from events. Floor 1. Pure.

Grammar of the stream: see response.py. A block is never begun while another is open, and everything is said in order: what comes while
a call's arguments are incomplete waits behind it. `message_start` goes out with the first content, when more is known of the input;
`message_delta` with the last event, when everything is.
"""

from __future__ import annotations

from typing import Any

from fkproxy.dialects.anthropic.blocks import NAME, REDACTED
from fkproxy.dialects.anthropic.errors import encode_error
from fkproxy.dialects.arguments import NONE, as_object
from fkproxy.dialects.base import ModelEntry, ReplyContext
from fkproxy.dialects.envelope import close_envelope
from fkproxy.model.events import (
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
from fkproxy.model.parts import Opaque, Part, Reasoning, Refusal, Seal, Text, ToolCall
from fkproxy.model.usage import Usage
from fkproxy.wire import json, sse
from fkproxy.wire.times import rfc3339

__all__ = ["StreamEncoder", "encode_models", "encode_reply"]

_STOP_REASONS: dict[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "pause": "pause_turn",
    "refusal": "refusal",
    "content_filter": "refusal",
    # There is no word for a model that failed; clients take a refusal as an answer that is not to be used.
    "error": "refusal",
}


def _stop(reason: FinishReason | None, sequence: str | None, *, calls: bool) -> dict[str, Any]:
    """OpenAI says "stop" where a forced function was called: clients of this dialect run tools on "tool_use" only."""
    word = _STOP_REASONS[reason or "stop"]
    if word == "end_turn":
        word = "tool_use" if calls else "stop_sequence" if sequence is not None else word
    return {"stop_reason": word, "stop_sequence": sequence}


def _usage(usage: Usage | None) -> dict[str, Any]:
    usage = usage or Usage()
    read, written = usage.cached_input_tokens, usage.cache_write_tokens
    given = (usage.input_tokens or 0) - (read or 0) - (written or 0)
    body: dict[str, Any] = {"input_tokens": max(0, given)}
    for name, count in (("cache_creation_input_tokens", written), ("cache_read_input_tokens", read)):
        if count is not None:
            body[name] = count
    body["output_tokens"] = usage.output_tokens or 0
    if usage.reasoning_tokens is not None:
        body["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return body


def encode_reply(reply: Reply, context: ReplyContext) -> bytes:
    """The body of a whole message. There is one choice in this dialect: the first."""
    choice = reply.choices[0] if reply.choices else None
    parts = choice.parts if choice is not None else ()
    calls = any(isinstance(part, ToolCall) for part in parts)
    stop = _stop(choice.reason, choice.stop_sequence, calls=calls) if choice is not None else _stop(None, None, calls=False)
    return json.encode(
        {
            "id": f"msg_{context.reply_id}",
            "type": "message",
            "role": "assistant",
            "model": context.model,
            "content": _content(parts),
            **stop,
            **({"stop_details": details} if choice is not None and (details := choice.extra.get("stop_details")) is not None else {}),
            "usage": _usage(reply.usage),
        }
    )


def _content(parts: tuple[Part, ...]) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for part in parts:
        match part:
            case Opaque(dialect=dialect) if dialect != NAME:
                continue
            case Opaque(kind="citation", value=citation):
                if not blocks or blocks[-1]["type"] != "text":
                    blocks.append({"type": "text", "text": "", "citations": []})
                blocks[-1].setdefault("citations", []).append(citation)
            case Opaque(value=value):
                blocks.append(value)
            case Text(text=text) | Refusal(text=text):
                if text:
                    blocks.append({"type": "text", "text": text})
            case Reasoning(seal=Seal(dialect=dialect, data=data)) if dialect == NAME and data.startswith(REDACTED):
                blocks.append({"type": "redacted_thinking", "data": data.removeprefix(REDACTED)})
            case Reasoning():
                if part.text or (part.seal is not None and part.seal.dialect == NAME):
                    blocks.append({"type": "thinking", "thinking": part.text, "signature": _signature(part)})
            case ToolCall():
                blocks.append({"type": "tool_use", "id": part.id, "name": part.name, "input": as_object(part.arguments)})
            case _:
                continue  # media: an answer of this dialect holds none
    return blocks


def _signature(thought: Reasoning) -> str:
    return close_envelope(thought.seal, NAME) if thought.seal is not None else ""


def _event(kind: str, **fields: Any) -> bytes:
    return sse.encode_event(kind, json.encode({"type": kind, **fields}))


class StreamEncoder:
    """See `dialects.base.StreamEncoder`."""

    __slots__ = (
        "_arguments",
        "_begun",
        "_call",
        "_calls",
        "_context",
        "_finish",
        "_held",
        "_index",
        "_open",
        "_read",
        "_signature",
        "_usage",
    )

    def __init__(self, context: ReplyContext) -> None:
        self._context = context
        self._usage: Usage | None = None
        self._finish: ChoiceFinished | None = None
        self._begun = False
        self._index = -1
        self._open: str | None = None
        self._signature = ""
        self._call = -1
        self._calls = False
        self._arguments: list[str] = []
        self._read = 0
        self._held: list[Event] = []

    def encode(self, event: Event) -> bytes:
        """See `dialects.base.StreamEncoder.encode`."""
        if type(event) is TextDelta:  # `match` makes a set for a case that fits
            return b"" if event.choice else self._said(event)
        match event:
            case UsageReported():
                self._usage = event.usage
            case ChoiceFinished(choice=0):
                self._finish = event
                return self._release(complete=True)
            case Done():
                return self._last()
            case Failed():
                return sse.encode_event("error", json.encode(encode_error(event.error, self._context.reply_id)))
            case Started() | ChoiceFinished() | LogprobsReported() | MediaReceived():
                pass
            case _ if event.choice == 0:
                return self._said(event)
        return b""

    # --- in order

    def _said(self, event: Event) -> bytes:
        """One event of content, now or when the call before it is complete."""
        if self._open == "tool_use" and not self._goes_on(event):
            self._held.append(event)
            return self._release(complete=False)
        out = self._block(event)
        return out + self._release(complete=False) if self._held else out

    def _goes_on(self, event: Event) -> bool:
        """It belongs to the open call."""
        return isinstance(event, ToolCallDelta | SealAttached) and event.index == self._call

    def _release(self, *, complete: bool) -> bytes:
        """What waits, as far as the calls before it are complete, or all of it."""
        out = b""
        while self._held and (complete or self._whole()):
            held, self._held = self._held, []
            out += self._close()
            for event in held:
                out += self._said(event)
        return out

    def _whole(self) -> bool:
        """The open call's arguments are complete. They are read again only when more of them has come that may have ended them."""
        pieces = self._arguments
        if len(pieces) == self._read or not pieces[-1].rstrip().endswith("}"):
            return False
        self._read = len(pieces)
        return json.try_object("".join(pieces)) is not None

    # --- blocks

    def _block(self, event: Event) -> bytes:
        if isinstance(event, (TextDelta, RefusalDelta)):
            text = event.text
            return self._delta("text", {"type": "text", "text": ""}, {"type": "text_delta", "text": text}) if text else b""
        match event:
            case ReasoningDelta(text=text) if text:
                return self._thought() + self._more({"type": "thinking_delta", "thinking": text})
            case SealAttached(seal=seal, index=None) if seal.dialect == NAME and seal.data.startswith(REDACTED):
                block = {"type": "redacted_thinking", "data": seal.data.removeprefix(REDACTED)}
                return self._start("redacted_thinking", block) + self._close()
            case SealAttached(seal=seal, index=None) if seal.dialect == NAME or self._open == "thinking":
                # Of a thought that is not shown this is all there is. Another vendor's travels in an envelope, with a thought that is.
                out = self._thought()
                self._signature = close_envelope(seal, NAME)
                return out
            case ToolCallStarted():
                self._call, self._calls, self._arguments, self._read = event.index, True, [], 0
                return self._start("tool_use", {"type": "tool_use", "id": event.id, "name": event.name, "input": {}})
            case ToolCallDelta():
                if self._open != "tool_use" or event.index != self._call or not event.arguments:
                    return b""
                if not self._arguments and event.arguments in NONE:
                    return b""
                self._arguments.append(event.arguments)
                return self._more({"type": "input_json_delta", "partial_json": event.arguments})
            case OpaqueReceived() if event.part.dialect == NAME:
                return self._opaque(event.part)
        return b""

    def _thought(self) -> bytes:
        """An open thought. A signed one is complete: what follows is another one."""
        closed = self._close() if self._signature else b""
        return closed + self._into("thinking", {"type": "thinking", "thinking": "", "signature": ""})

    def _opaque(self, part: Opaque) -> bytes:
        if part.kind == "citation":
            start = {"type": "text", "text": "", "citations": []}
            return self._delta("text", start, {"type": "citations_delta", "citation": part.value})
        value = part.value
        if isinstance(value.get("input"), dict):
            delta = {"type": "input_json_delta", "partial_json": json.encode(value["input"]).decode()}
            return self._start(part.kind, {**value, "input": {}}) + self._more(delta) + self._close()
        return self._start(part.kind, value) + self._close()

    def _delta(self, kind: str, start: dict[str, Any], delta: dict[str, Any]) -> bytes:
        return self._into(kind, start) + self._more(delta)

    def _into(self, kind: str, start: dict[str, Any]) -> bytes:
        return b"" if self._open == kind else self._start(kind, start)

    def _more(self, delta: dict[str, Any]) -> bytes:
        return _event("content_block_delta", index=self._index, delta=delta)

    def _start(self, kind: str, block: dict[str, Any]) -> bytes:
        before = self._begin() + self._close()
        self._index += 1
        self._open = kind
        return before + _event("content_block_start", index=self._index, content_block=block)

    def _close(self) -> bytes:
        """End the open block. A thought ends with its signature, an empty one where it has none: clients need the field."""
        kind, self._open = self._open, None
        if kind is None:
            return b""
        signed = b""
        if kind == "thinking":
            signed = self._more({"type": "signature_delta", "signature": self._signature})
            self._signature = ""
        return signed + _event("content_block_stop", index=self._index)

    # --- the message

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        message: dict[str, Any] = {
            "id": f"msg_{self._context.reply_id}",
            "type": "message",
            "role": "assistant",
            "model": self._context.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _usage(self._usage),
        }
        return _event("message_start", message=message)

    def _last(self) -> bytes:
        finish = self._finish or ChoiceFinished(reason="stop")
        stop = _stop(finish.reason, finish.stop_sequence, calls=self._calls)
        if (details := finish.extra.get("stop_details")) is not None:
            stop["stop_details"] = details
        out = self._begin() + self._release(complete=True) + self._close()
        return out + _event("message_delta", delta=stop, usage=_usage(self._usage)) + _event("message_stop")


def encode_models(models: list[ModelEntry]) -> bytes:
    """`GET /v1/models`."""
    data: list[dict[str, Any]] = []
    for model in models:
        entry: dict[str, Any] = {"type": "model", "id": model.id, "display_name": model.display_name or model.id}
        entry["created_at"] = rfc3339(model.created_s)
        entry["lifecycle"] = "active"
        for name, limit in (("max_input_tokens", model.input_token_limit), ("max_tokens", model.output_token_limit)):
            if limit is not None:
                entry[name] = limit
        data.append(entry)
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return json.encode({"data": data, "has_more": False, **ends})
