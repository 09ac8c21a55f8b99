"""A message, whole or streamed, decoded into events. Floor 1. Pure but for the ids of calls that came without one.

Source: platform.claude.com/docs/en/build-with-claude/streaming and the typed models of anthropic 2.11, read 2026-11:

    message_start  ( content_block_start  content_block_delta*  content_block_stop )*  message_delta+  message_stop

with `ping` anywhere and `error` at any point, which ends the stream. "New event types may be added": they are passed over. A whole
message is read as if its blocks had been streamed. Compatible servers may begin a call before the one in front of it has ended: calls
are told apart by the index of their block, everything else belongs to the block that began last.
"""

from __future__ import annotations

import secrets
from typing import Any

import msgspec

from fkproxy.dialects.anthropic.blocks import NAME, REDACTED
from fkproxy.dialects.anthropic.errors import error_of
from fkproxy.dialects.anthropic.usage import Counts, usage_of
from fkproxy.model.errors import UpstreamProtocolError
from fkproxy.model.events import (
    ChoiceFinished,
    Done,
    Event,
    Failed,
    FinishReason,
    OpaqueReceived,
    ReasoningDelta,
    SealAttached,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from fkproxy.model.parts import Opaque, Seal
from fkproxy.wire import json
from fkproxy.wire.sse import Frame

__all__ = ["FINISH_REASONS", "StreamDecoder", "decode_reply"]

FINISH_REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "refusal": "refusal",
}
_REFUSAL = "refusal"


class _Message(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    content: list[dict[str, Any]] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Any = None
    usage: Counts | None = None
    type: str | None = None
    error: Any = None


class _Delta(msgspec.Struct):
    """What is new in a block, or in the message itself. Some servers have one type for all kinds, and say null for what others have."""

    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    citation: Any = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Any = None


class _Event(msgspec.Struct):
    type: str = ""
    message: _Message | None = None
    index: int | None = None
    content_block: dict[str, Any] | None = None
    delta: _Delta | None = None
    usage: Counts | None = None
    error: Any = None


_decode_message = msgspec.json.Decoder(_Message).decode
_decode_event = msgspec.json.Decoder(_Event).decode


_EVENTS = frozenset(
    ("content_block_delta", "content_block_start", "content_block_stop", "error", "message_delta", "message_start", "message_stop")
)
_DELTAS = frozenset(("citations_delta", "input_json_delta", "signature_delta", "text_delta", "thinking_delta"))


def _is_new(data: bytes) -> bool:
    """It is an event, or a delta, of a type that is not known: the fields whose names are may be anything there."""
    event = json.decode_reply(data)
    kind, delta = event.get("type"), event.get("delta")
    known = _EVENTS
    if kind == "content_block_delta" and isinstance(delta, dict):
        kind, known = delta.get("type"), _DELTAS
    return isinstance(kind, str) and kind not in known


def decode_reply(body: bytes) -> list[Event]:
    """The events of a whole message. Raises `UpstreamProtocolError`."""
    try:
        message = _decode_message(body)
    except json.MALFORMED as error:
        raise UpstreamProtocolError("the upstream sent something that is not a message") from error
    if message.error is not None:
        return [Failed(error_of(message.error))]
    if message.content is None or message.stop_reason is None:
        raise UpstreamProtocolError("the upstream's reply is not a whole message")
    decoder = StreamDecoder()
    events = decoder.start(message)
    for index, block in enumerate(message.content):
        events += [*decoder.open(block, index), *decoder.close()]
    events += decoder.finish(message.stop_reason, message.stop_sequence, message.stop_details)
    return [*events, *decoder.end()]


class _Opened(msgspec.Struct):
    """Of a block of a known type what is needed."""

    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    citations: list[Any] | None = None


def _opened(block: dict[str, Any]) -> _Opened:
    try:
        return msgspec.convert(block, _Opened)
    except msgspec.ValidationError as error:
        raise UpstreamProtocolError("the upstream sent a block that is not what its type says") from error


_TEXT_MARKS = (b'"text":"', b'"text": "')


class StreamDecoder:
    """See `dialects.base.StreamDecoder`."""

    __slots__ = ("_aside", "_block", "_calls", "_empty", "_ended", "_finished", "_index", "_pieces", "_started", "_usage")
    finished = complete = False

    def __init__(self) -> None:
        self._started = False
        self._finished = False
        self._ended = False
        self._empty = True
        self._calls = 0
        self._block: dict[str, Any] | None = None
        self._index = 0
        """That of the block."""
        self._pieces: list[str] = []
        self._aside: dict[int, _Call] = {}
        """Index of its block → a call that has not ended, although another block has begun."""
        self._usage = Counts()

    def skims(self, frame: Frame) -> bytes:
        """See `dialects.base.StreamDecoder.skims`."""
        find = (frame.data or b"").find
        if frame.event == "content_block_delta" and self._block is not None and find(b'"text_delta"') >= 0 and frame.looks_whole:
            for mark in _TEXT_MARKS:
                if find(mark) >= 0:
                    return mark if find(mark + b'"') < 0 else b""
        return b""

    def feed(self, frame: Frame) -> list[Event]:
        """See `dialects.base.StreamDecoder.feed`."""
        if not frame.data or self._ended:
            return []
        try:
            event = _decode_event(frame.data)
        except json.MALFORMED as error:
            if isinstance(error, msgspec.ValidationError) and _is_new(frame.data):
                return []
            raise UpstreamProtocolError("the upstream sent something that is not an event of a message") from error
        return self._read(event)

    def end(self) -> list[Event]:
        """See `dialects.base.StreamDecoder.end`."""
        if self._ended:
            return []
        self._ended = True
        if not self._finished:
            return [Failed(UpstreamProtocolError("the upstream's stream ended before the reply was complete"))]
        return [Done()]

    def _read(self, event: _Event) -> list[Event]:
        index = event.index or 0
        match event.type:
            case "content_block_delta":
                return self._delta(event.delta, index) if event.delta is not None else []
            case "content_block_start":
                return [*self._begun(), *self.open(event.content_block or {}, index)]
            case "content_block_stop":
                call = self._aside.pop(index, None)
                return self.close() if call is None else call.close()
            case "message_start":
                return self.start(event.message or _Message())
            case "message_delta":
                refused = event.delta is not None and event.delta.stop_reason == _REFUSAL and self._empty
                return [*self._begun(), *self._counted(event.usage, refused=refused), *self._last(event.delta)]
            case "message_stop":
                return self.end()
            case "error":
                self._ended = True
                return [Failed(error_of(event.error))]
            case _:
                return []

    # --- the message

    def start(self, message: _Message) -> list[Event]:
        """The message has begun."""
        if self._started:
            return []
        self._started = True
        refused = message.stop_reason == _REFUSAL and not message.content
        return [Started(id=message.id, model=message.model), *self._counted(message.usage, refused=refused)]

    def _begun(self) -> list[Event]:
        return [] if self._started else self.start(_Message())

    def _counted(self, usage: Counts | None, *, refused: bool) -> list[Event]:
        """Counts are cumulative, and a later event need not repeat all of them: some servers write 0 for those that they do not."""
        if usage is None:
            return []
        known = self._usage
        for name in usage.__struct_fields__:
            value = getattr(usage, name)
            if value or (value is not None and getattr(known, name) is None):
                setattr(known, name, value)
        return [UsageReported(usage=usage_of(known, refused=refused))]

    def _last(self, delta: _Delta | None) -> list[Event]:
        if delta is None or delta.stop_reason is None:
            return []
        return self.finish(delta.stop_reason, delta.stop_sequence, delta.stop_details)

    def finish(self, reason: str, sequence: str | None, details: Any) -> list[Event]:
        """The model has stopped."""
        if self._finished:
            return []
        self._finished = True
        extra = {"stop_details": details} if details is not None else {}
        finished = ChoiceFinished(reason=FINISH_REASONS.get(reason, "stop"), native=reason, stop_sequence=sequence, extra=extra)
        return [*self._close_aside(), *self.close(), finished]

    # --- its blocks

    def open(self, block: dict[str, Any], index: int) -> list[Event]:
        """A block has begun, with whatever it holds by then."""
        events = self._put_aside(index)
        if self._finished:
            return events
        self._block, self._index, self._empty = block, index, False
        self._pieces = []
        match block.get("type"):
            case "text":
                opened = _opened(block)
                if opened.text:
                    events.append(TextDelta(text=opened.text))
                events += [_citation(citation) for citation in opened.citations or ()]
            case "thinking":
                opened = _opened(block)
                events += [*self._thought(opened.thinking), *self._signed(opened.signature)]
            case "redacted_thinking":
                opened = _opened(block)
                events += self._signed(REDACTED + opened.data if opened.data else None)
            case "tool_use":
                opened = _opened(block)
                events.append(ToolCallStarted(index=self._calls, id=opened.id or f"call_{secrets.token_hex(12)}", name=opened.name or ""))
                self._calls += 1
        return events

    def _put_aside(self, index: int) -> list[Event]:
        """The open block makes way for that with `index`. A call may go on."""
        block, call = self._block, self._aside.pop(index, None)
        events = [] if call is None else call.close()
        if block is None or index == self._index or block.get("type") != "tool_use":
            return [*events, *self.close()]
        self._aside[self._index] = _Call(self._calls - 1, block, self._pieces)
        self._block = None
        return events

    def _close_aside(self) -> list[Event]:
        calls, self._aside = self._aside, {}
        return [event for call in calls.values() for event in call.close()]

    def _delta(self, delta: _Delta, index: int) -> list[Event]:
        if self._block is None:
            return []
        match delta.type:
            case "text_delta":
                return [TextDelta(text=delta.text)] if delta.text else []
            case "thinking_delta":
                return self._thought(delta.thinking)
            case "signature_delta":
                return self._signed(delta.signature)
            case "input_json_delta" if delta.partial_json:
                if index in self._aside:
                    return self._aside[index].more(delta.partial_json)
                self._pieces.append(delta.partial_json)
                if self._block.get("type") != "tool_use":
                    return []
                return [ToolCallDelta(index=self._calls - 1, arguments=delta.partial_json)]
            case "citations_delta":
                return [_citation(delta.citation)]
            case _:
                return []

    def _thought(self, text: str | None) -> list[Event]:
        if not text:
            return []
        self._pieces.append(text)
        return [ReasoningDelta(text=text)]

    def _signed(self, signature: str | None) -> list[Event]:
        """A thought that is not shown has a signature all the same, which belongs to it and to nothing before it."""
        if not signature:
            return []
        sealed = SealAttached(seal=Seal(dialect=NAME, data=signature))
        return [sealed] if self._pieces else [ReasoningDelta(text=""), sealed]

    def close(self) -> list[Event]:
        """The open block is complete."""
        block, self._block = self._block, None
        if block is None:
            return []
        kind = block.get("type")
        if kind == "tool_use":
            return _Call(self._calls - 1, block, self._pieces).close()
        if kind in ("text", "thinking", "redacted_thinking"):
            return []
        if self._pieces:
            block = {**block, "input": json.try_object("".join(self._pieces)) or {}}
        return [OpaqueReceived(part=Opaque(dialect=NAME, kind=str(kind), value=block))]


class _Call:
    """The block of a call."""

    __slots__ = ("_block", "_number", "_pieces")

    def __init__(self, number: int, block: dict[str, Any], pieces: list[str]) -> None:
        self._number = number
        self._block = block
        self._pieces = pieces

    def more(self, piece: str) -> list[Event]:
        """More of its input."""
        self._pieces.append(piece)
        return [ToolCallDelta(index=self._number, arguments=piece)]

    def close(self) -> list[Event]:
        """It is complete. Whole messages and some servers' streams give the input with the block itself."""
        if self._pieces:
            return []
        return [ToolCallDelta(index=self._number, arguments=json.encode(self._block.get("input") or {}).decode())]


def _citation(citation: Any) -> OpaqueReceived:
    return OpaqueReceived(part=Opaque(dialect=NAME, kind="citation", value=citation))
