"""A response, whole or streamed, decoded into events. Floor 1. Pure.

Source: OpenAI API reference, "The response object" and "Streaming events", and the typed models of openai 3.52, read 2026-11. Events and
items that are not known are passed over: new ones come every month.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fkproxy.dialects.openai_errors import error_event
from fkproxy.dialects.openai_responses.items import NAME, joined_name
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
from fkproxy.model.usage import Usage, tier_of
from fkproxy.wire import json
from fkproxy.wire.sse import Frame

__all__ = ["StreamDecoder", "decode_reply"]

_ENDS = {"response.completed": None, "response.incomplete": "incomplete", "response.failed": "failed"}
"""The last event → the status that it tells by its name. A response that is completed tells its own."""
_EVENTS = frozenset(
    (
        "error",
        "response.compaction.compacting",
        "response.created",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.in_progress",
        "response.output_item.added",
        "response.output_item.done",
        "response.output_text.delta",
        "response.output_text.done",
        "response.queued",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_text.delta",
        "response.refusal.delta",
        "response.refusal.done",
        *_ENDS,
    )
)
"""What is read."""
_INCOMPLETE: dict[str, FinishReason] = {"max_output_tokens": "length", "max_tokens": "length", "content_filter": "content_filter"}


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


class _Why(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    created_at: int | float | None = None
    status: str | None = None
    error: Any = None
    incomplete_details: _Why | None = None
    output: list[dict[str, Any]] | None = None
    usage: _Usage | None = None
    service_tier: Any = None


class _Part(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    refusal: str | None = None


class _Item(msgspec.Struct):
    """Of an item of a known type what is needed."""

    type: str | None = None
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    arguments: str | None = None
    input: str | None = None
    content: list[_Part] | None = None
    summary: list[_Part] | None = None
    encrypted_content: str | None = None
    result: str | None = None
    output_format: str | None = None


_KNOWN = ("message", "reasoning", "function_call", "custom_tool_call", "image_generation_call")


class _Event(msgspec.Struct):
    """Some servers have one type for all kinds, and say null for what others have."""

    type: str = ""
    response: _Response | None = None
    item: dict[str, Any] | None = None
    item_id: Any = None
    output_index: int | None = None
    summary_index: int | None = None
    delta: Any = None


class _Piece(msgspec.Struct):
    """What an event says that a piece of an item is complete. It is read apart: most events are no such ones."""

    item_id: Any = None
    output_index: int | None = None
    content_index: int | None = None
    text: str | None = None
    refusal: str | None = None
    arguments: str | None = None


_decode_piece = msgspec.json.Decoder(_Piece).decode
_decode = msgspec.json.Decoder(_Event).decode
_decode_response = msgspec.json.Decoder(_Response).decode


def decode_reply(body: bytes) -> list[Event]:
    """The events of a whole response. Raises `UpstreamProtocolError`."""
    try:
        response = _decode_response(body)
    except json.MALFORMED as error:
        raise UpstreamProtocolError("the upstream sent something that is not a response") from error
    if response.output is None:
        if response.error:
            return [error_event(response.error)]
        raise UpstreamProtocolError("the upstream sent something that is not a response")
    decoder = StreamDecoder()
    events = decoder.begin(response)
    for index, item in enumerate(response.output):
        events += decoder.opened(index, item)
        events += decoder.closed(index, item)
    return [*events, *decoder.finish(response)]


def _is_new(data: bytes) -> bool:
    """It is an event of a type that is not known: the fields whose names are may be anything there."""
    kind = json.decode_reply(data).get("type")
    return isinstance(kind, str) and kind not in _EVENTS


def _item(value: dict[str, Any]) -> _Item:
    try:
        return msgspec.convert(value, _Item)
    except msgspec.ValidationError as error:
        raise UpstreamProtocolError("the upstream sent an item that is not what its type says") from error


class _Held:
    """What is known of an item. `number`: a call's. `said`: text, refusal or thought of it has come in pieces; `arguments`: some have
    come; `parts`: how many of its content have come, each as a whole. `begun`: as it was when it began, None for one that was not told."""

    __slots__ = ("arguments", "begun", "closed", "id", "index", "number", "parts", "said")

    def __init__(self, index: int, begun: dict[str, Any] | None = None) -> None:
        self.index = index
        self.begun = begun
        self.id: Any = begun.get("id") if begun is not None else None
        self.number: int | None = None
        self.arguments = self.said = self.closed = False
        self.parts = 0


class StreamDecoder:
    """See `dialects.base.StreamDecoder`.

    Items are told apart by their index. Some servers give all the same one: then another id at the same index is another item.
    A response that has begun is not over with `error`: as OpenAI writes it, `response.failed` follows.
    """

    __slots__ = ("_at", "_called", "_ended", "_failed", "_past", "_started")
    finished = False

    def __init__(self) -> None:
        self._started = False
        self._ended = False
        self._failed: Failed | None = None
        """What `error` told."""
        self._called = 0
        self._at: dict[int, _Held] = {}
        """Output index → the item that has it, or had it last."""
        self._past: dict[str, _Held] = {}
        """Id of an item whose index is another one's by now → that item."""

    @property
    def complete(self) -> bool:
        """See `dialects.base.StreamDecoder.complete`."""
        return self._failed is not None and not self._ended

    def skims(self, frame: Frame) -> bytes:
        """See `dialects.base.StreamDecoder.skims`."""
        data = frame.data or b""
        text = frame.event == "response.output_text.delta" and self._started and data.find(b'"delta":""') < 0 and frame.looks_whole
        return b'"delta":"' if text else b""

    def feed(self, frame: Frame) -> list[Event]:
        """See `dialects.base.StreamDecoder.feed`."""
        if not frame.data or self._ended or frame.data == b"[DONE]":
            return []
        try:
            event = _decode(frame.data)
        except json.MALFORMED as error:
            if isinstance(error, msgspec.ValidationError) and _is_new(frame.data):
                return []
            raise UpstreamProtocolError("the upstream sent something that is not an event of a response") from error
        kind = event.type
        if kind == "error":
            value = json.decode_reply(frame.data)
            self._failed = error_event(value.get("error") or value)
            self._ended = not self._started
            return [self._failed]
        if kind == "response.output_text.delta" and self._started and isinstance(event.delta, str):
            self._of(event).said = True
            return [TextDelta(text=event.delta)]
        if event.response is not None:
            started = self.begin(event.response)
            return started + (self.finish(event.response, _ENDS[kind]) if kind in _ENDS else [])
        return [*self.begin(_Response()), *self._read(kind, event, frame.data)]

    def _of(self, event: _Event | _Piece, *, more: bool = True) -> _Held:
        """The item that it is a piece of. `more`: which is not over, then."""
        if self._past and isinstance(event.item_id, str) and event.item_id in self._past:
            return self._past[event.item_id]
        index = event.output_index or 0
        held = self._at.get(index)
        if held is None or (more and held.closed):
            held = self._new(index)
        return held

    def _read(self, kind: str, event: _Event, data: bytes) -> list[Event]:
        delta = event.delta if isinstance(event.delta, str) else ""
        match kind:
            case "response.output_text.delta":
                self._of(event).said = True
                return [TextDelta(text=delta)]
            case "response.output_item.added" if event.item is not None:
                return self.opened(event.output_index or 0, event.item)
            case "response.output_item.done" if event.item is not None:
                return self.closed(event.output_index or 0, event.item)
            case "response.refusal.delta":
                self._of(event).said = True
                return [RefusalDelta(text=delta)]
            case "response.reasoning_summary_part.added" if event.summary_index:
                return [ReasoningDelta(text="\n\n")]
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                self._of(event).said = True
                return [ReasoningDelta(text=delta)]
            case "response.function_call_arguments.delta" if delta:
                held = self._of(event)
                if held.number is None:
                    return []
                held.arguments = True
                return [ToolCallDelta(index=held.number, arguments=delta)]
            case "response.compaction.compacting":
                # More of a summary is there, of which nothing is told. A long one takes minutes.
                return [ReasoningDelta(text="")]
            case "response.output_text.done" | "response.refusal.done" | "response.function_call_arguments.done":
                return self._completed(data)
        return []

    def _completed(self, data: bytes) -> list[Event]:
        """A piece of an item is complete: all of it, if nothing has come of it."""
        try:
            piece = _decode_piece(data)
        except json.MALFORMED as error:
            raise UpstreamProtocolError("the upstream sent something that is not an event of a response") from error
        held = self._of(piece, more=False)
        if held.closed:
            return []
        if piece.arguments is not None:
            return self._arguments(held, piece.arguments)
        part = piece.content_index or 0
        if not (piece.text or piece.refusal) or held.said or part < held.parts:
            return []
        held.parts = part + 1
        return [TextDelta(text=piece.text)] if piece.text else [RefusalDelta(text=piece.refusal or "")]

    def _arguments(self, held: _Held, whole: str | None) -> list[Event]:
        """All arguments of a call, if none have come."""
        if held.number is None or held.arguments or not whole:
            return []
        held.arguments = True
        return [ToolCallDelta(index=held.number, arguments=whole)]

    def end(self) -> list[Event]:
        """See `dialects.base.StreamDecoder.end`."""
        if self._ended:
            return []
        self._ended = True
        return [self._failed or Failed(UpstreamProtocolError("the upstream's stream ended before the reply was complete"))]

    # --- pieces that a whole response has too

    def begin(self, response: _Response) -> list[Event]:
        """What the head of a response tells, once."""
        if self._started:
            return []
        self._started = True
        created = response.created_at
        return [Started(id=response.id, model=response.model, created_s=int(created) if created is not None else None)]

    def opened(self, index: int, value: dict[str, Any]) -> list[Event]:
        """An item begins."""
        return self._called_by(self._new(index, value), value)

    def _new(self, index: int, value: dict[str, Any] | None = None) -> _Held:
        before = self._at.get(index)
        if before is not None and isinstance(before.id, str):
            self._past[before.id] = before
        held = self._at[index] = _Held(index, value)
        return held

    def _called_by(self, held: _Held, value: dict[str, Any]) -> list[Event]:
        if value.get("type") not in ("function_call", "custom_tool_call"):
            return []
        item = _item(value)
        held.number = number = self._called
        self._called += 1
        return [
            ToolCallStarted(index=number, id=item.call_id or item.id or f"call_{number}", name=joined_name(item.namespace, item.name or ""))
        ]

    def closed(self, index: int, value: dict[str, Any]) -> list[Event]:
        """An item is complete: what of it has not come in pieces."""
        held = self._whose(index, value.get("id"))
        if held is None:
            held = self._new(index, value)
        elif held.closed:
            return []
        held.closed = True
        held.id = held.id or value.get("id")
        return self._rest(held, value)

    def _whose(self, index: int, item_id: Any) -> _Held | None:
        """What is held of the item that ends; None for one of which nothing was told."""
        held = self._at.get(index)
        if isinstance(item_id, str) and (held is None or held.id != item_id) and item_id in self._past:
            return self._past[item_id]
        if held is not None and held.closed and (item_id is None or held.id != item_id):
            return None
        return held

    def _rest(self, held: _Held, value: dict[str, Any]) -> list[Event]:
        kind = value.get("type")
        if kind not in _KNOWN:
            return [OpaqueReceived(part=Opaque(dialect=NAME, kind=kind, value=value))] if isinstance(kind, str) else []
        item = _item(value)
        match kind:
            case "message":
                return [] if held.said or held.parts else self._text(item)
            case "reasoning":
                return self._reasoning(held, item)
            case "image_generation_call":
                if not item.result:
                    return []
                return [MediaReceived(media=Media(kind="image", mime_type=f"image/{item.output_format or 'png'}", data=item.result))]
        events = [] if held.number is not None else self._called_by(held, value)
        whole = item.arguments if kind == "function_call" else json.encode({"input": item.input or ""}).decode()
        return [*events, *self._arguments(held, whole)]

    def _text(self, item: _Item) -> list[Event]:
        events: list[Event] = []
        for part in item.content or ():
            if part.type == "output_text" and part.text:
                events.append(TextDelta(text=part.text))
            elif part.type == "refusal":
                events.append(RefusalDelta(text=part.refusal or ""))
        return events

    def _reasoning(self, held: _Held, item: _Item) -> list[Event]:
        events: list[Event] = []
        if not held.said:
            # An empty thought too is the place of its seal.
            texts = [part.text or "" for part in (*(item.summary or ()), *(item.content or ()))]
            events.append(ReasoningDelta(text="\n\n".join(texts)))
        if item.encrypted_content:
            events.append(SealAttached(seal=Seal(dialect=NAME, data=item.encrypted_content)))
        return events

    def finish(self, response: _Response, status: str | None = None) -> list[Event]:
        """What the end of a response tells. Of its items those are read that did not come before it, or did not end.

        `status`: where that is known besides.
        """
        self._ended = True
        output = response.output or []
        if self._at:
            left = [event for held, item in self._left(output) for event in self._rest(held, item)]
        else:
            left = [event for index, item in enumerate(output) for event in self.closed(index, item)]
        return [*left, *self._last(response, status or response.status)]

    def _left(self, output: list[dict[str, Any]]) -> list[tuple[_Held, dict[str, Any]]]:
        """The items that have begun and not ended, as they are in `output`: some servers number or name them there in another way."""
        found: list[tuple[_Held, dict[str, Any]]] = []
        for held in (*self._past.values(), *self._at.values()):
            begun = held.begun
            if begun is None or held.closed:
                continue
            named = [item for item in output if begun.get("id") and item.get("id") == begun["id"]]
            at_its_place = output[held.index : held.index + 1]
            placed = [item for item in at_its_place if all(item.get(name) == begun.get(name) for name in ("type", "call_id"))]
            found += [(held, item) for item in (named or placed)[:1]]
        return found

    def _last(self, response: _Response, status: str | None) -> list[Event]:
        events: list[Event] = []
        if response.usage is not None:
            events.append(UsageReported(usage=_usage(response.usage, response.service_tier)))
        if response.error or status == "failed":
            return [*events, self._failed or error_event(response.error or {})]
        why = response.incomplete_details.reason if response.incomplete_details is not None else None
        reason: FinishReason = "tool_calls" if self._called else "stop"
        if status == "incomplete":
            reason = _INCOMPLETE.get(why or "", "error")
        return [*events, ChoiceFinished(reason=reason, native=why or status), Done()]


def _usage(usage: _Usage, tier: Any) -> Usage:
    given, made = usage.input_tokens_details or _Details(), usage.output_tokens_details or _Details()
    return Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_input_tokens=given.cached_tokens,
        cache_write_tokens=given.cache_write_tokens,
        reasoning_tokens=made.reasoning_tokens,
        tier=None if tier is None else tier_of(tier),
    )
