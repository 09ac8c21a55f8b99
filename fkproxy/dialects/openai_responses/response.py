"""A response, whole or streamed, decoded into events. Floor 1. Pure.

Source: OpenAI API reference, "The response object" and "Streaming events", and the typed models of openai 3.52, read 2026-11. Events and
items that are not known are passed over: new ones come every month.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fkproxy.dialects.openai_errors import error_event
from fkproxy.dialects.openai_responses.envelope import NAME
from fkproxy.dialects.openai_responses.items import joined_name
from fkproxy.model.errors import UpstreamProtocolError
from fkproxy.model.events import (
    ChoiceFinished,
    Done,
    Event,
    Failed,
    FinishReason,
    MediaReceived,
    OpaqueReceived,
    ReasoningDelta,
    RefusalDelta,
    SealAttached,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from fkproxy.model.parts import Media, Opaque, Seal
from fkproxy.model.usage import Usage
from fkproxy.wire import json
from fkproxy.wire.sse import Frame

__all__ = ["StreamDecoder", "decode_reply"]

_ENDS = ("response.completed", "response.incomplete", "response.failed")
_INCOMPLETE: dict[str, FinishReason] = {"max_output_tokens": "length", "max_tokens": "length", "content_filter": "content_filter"}


class _Event(msgspec.Struct):
    type: str = ""
    response: dict[str, Any] | None = None
    item: dict[str, Any] | None = None
    output_index: int = 0
    summary_index: int = 0
    delta: Any = None
    arguments: str | None = None
    input: str | None = None


_decode = msgspec.json.Decoder(_Event).decode


def decode_reply(body: bytes) -> list[Event]:
    """The events of a whole response. Raises `UpstreamProtocolError`."""
    try:
        response = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UpstreamProtocolError("the upstream sent something that is not a response") from error
    if not isinstance(response, dict) or not isinstance(response.get("output"), list):
        if isinstance(response, dict) and response.get("error"):
            return [error_event(response["error"])]
        raise UpstreamProtocolError("the upstream sent something that is not a response")
    decoder = StreamDecoder()
    events = decoder.begin(response)
    for index, item in enumerate(response["output"]):
        if isinstance(item, dict):
            events += decoder.opened(index, item)
            events += decoder.closed(index, item)
    return [*events, *decoder.finish(response)]


class StreamDecoder:
    """See `dialects.base.StreamDecoder`."""

    __slots__ = ("_calls", "_ended", "_said", "_started", "_thought")

    def __init__(self) -> None:
        self._started = False
        self._ended = False
        self._calls: dict[int, tuple[int, bool]] = {}
        """Output index of a call → (its number, whether arguments have come)."""
        self._said: set[int] = set()
        """Output indices of which text, refusal or thought has come already."""
        self._thought = False

    def feed(self, frame: Frame) -> list[Event]:
        """See `dialects.base.StreamDecoder.feed`."""
        if not frame.data or self._ended or frame.data == b"[DONE]":
            return []
        try:
            event = _decode(frame.data)
        except (msgspec.DecodeError, RecursionError) as error:
            raise UpstreamProtocolError("the upstream sent something that is not an event of a response") from error
        kind = event.type
        if kind == "error":
            self._ended = True
            value = json.loads(frame.data)
            return [error_event(value.get("error") or value)]
        if kind == "response.output_text.delta" and isinstance(event.delta, str):
            self._said.add(event.output_index)
            return [TextDelta(text=event.delta)]
        if event.response is not None:
            started = self.begin(event.response)
            return started + (self.finish(event.response) if kind in _ENDS else [])
        return self._read(kind, event)

    def _read(self, kind: str, event: _Event) -> list[Event]:
        index = event.output_index
        delta = event.delta if isinstance(event.delta, str) else ""
        match kind:
            case "response.output_item.added" if event.item is not None:
                return self.opened(index, event.item)
            case "response.output_item.done" if event.item is not None:
                return self.closed(index, event.item)
            case "response.refusal.delta":
                self._said.add(index)
                return [RefusalDelta(text=delta)]
            case "response.reasoning_summary_part.added" if event.summary_index > 0:
                return [ReasoningDelta(text="\n\n")]
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                self._said.add(index)
                return [ReasoningDelta(text=delta)]
            case "response.function_call_arguments.delta" if index in self._calls and delta:
                number, _ = self._calls[index]
                self._calls[index] = (number, True)
                return [ToolCallDelta(index=number, arguments=delta)]
        return []

    def end(self) -> list[Event]:
        """See `dialects.base.StreamDecoder.end`."""
        if self._ended:
            return []
        self._ended = True
        return [Failed(UpstreamProtocolError("the upstream's stream ended before the reply was complete"))]

    # --- pieces that a whole response has too

    def begin(self, response: dict[str, Any]) -> list[Event]:
        """What the head of a response tells, once."""
        if self._started:
            return []
        self._started = True
        created = response.get("created_at")
        reply_id, model = response.get("id"), response.get("model")
        return [
            Started(
                id=reply_id if isinstance(reply_id, str) else None,
                model=model if isinstance(model, str) else None,
                created_s=int(created) if isinstance(created, int | float) else None,
            )
        ]

    def opened(self, index: int, item: dict[str, Any]) -> list[Event]:
        """An item begins."""
        if item.get("type") not in ("function_call", "custom_tool_call"):
            return []
        number = len(self._calls)
        self._calls[index] = (number, False)
        name = joined_name(item.get("namespace"), str(item.get("name") or ""))
        return [ToolCallStarted(index=number, id=str(item.get("call_id") or item.get("id") or f"call_{number}"), name=name)]

    def closed(self, index: int, item: dict[str, Any]) -> list[Event]:
        """An item is complete: what of it has not come in pieces."""
        match item.get("type"):
            case "message":
                return [] if index in self._said else self._text(item)
            case "reasoning":
                return self._reasoning(index, item)
            case "function_call" | "custom_tool_call" as kind:
                events = [] if index in self._calls else self.opened(index, item)
                number, come = self._calls[index]
                if come:
                    return events
                self._calls[index] = (number, True)
                whole = item.get("arguments") if kind == "function_call" else json.encode({"input": item.get("input") or ""}).decode()
                return [*events, ToolCallDelta(index=number, arguments=whole)] if isinstance(whole, str) and whole else events
            case "image_generation_call" if isinstance(item.get("result"), str):
                form = item.get("output_format") or "png"
                return [MediaReceived(media=Media(kind="image", mime_type=f"image/{form}", data=item["result"]))]
            case str() as kind:
                return [OpaqueReceived(part=Opaque(dialect=NAME, kind=kind, value=item))]
        return []

    def _text(self, item: dict[str, Any]) -> list[Event]:
        events: list[Event] = []
        for part in item.get("content") or ():
            if part.get("type") == "output_text" and part.get("text"):
                events.append(TextDelta(text=part["text"]))
            elif part.get("type") == "refusal":
                events.append(RefusalDelta(text=part.get("refusal") or ""))
        return events

    def _reasoning(self, index: int, item: dict[str, Any]) -> list[Event]:
        events: list[Event] = []
        if index not in self._said:
            texts = [part.get("text") or "" for name in ("summary", "content") for part in item.get(name) or ()]
            # An empty thought too is the place of its seal.
            events.append(ReasoningDelta(text="\n\n".join(texts)))
        sealed = item.get("encrypted_content")
        if isinstance(sealed, str) and sealed:
            events.append(SealAttached(seal=Seal(dialect=NAME, data=sealed)))
        return events

    def finish(self, response: dict[str, Any]) -> list[Event]:
        """What the end of a response tells."""
        self._ended = True
        if response.get("error") or response.get("status") == "failed":
            return [error_event(response.get("error") or {})]
        events: list[Event] = []
        usage = response.get("usage")
        if isinstance(usage, dict):
            events.append(UsageReported(usage=_usage(usage)))
        why = (response.get("incomplete_details") or {}).get("reason")
        reason: FinishReason = "tool_calls" if self._calls else "stop"
        if response.get("status") == "incomplete":
            reason = _INCOMPLETE.get(str(why), "error")
        return [*events, ChoiceFinished(reason=reason, native=str(why or response.get("status"))), Done()]


def _usage(usage: dict[str, Any]) -> Usage:
    given, made = usage.get("input_tokens_details") or {}, usage.get("output_tokens_details") or {}
    return Usage(
        input_tokens=usage.get("input_tokens"),
        output_tokens=usage.get("output_tokens"),
        cached_input_tokens=given.get("cached_tokens"),
        cache_write_tokens=given.get("cache_write_tokens"),
        reasoning_tokens=made.get("reasoning_tokens"),
    )
