"""Ids of calls that a conversation has already, in replies to clients of other dialects. Floor 1. Pure.

Some servers number the calls of each reply anew (`call_0`). Claude Code takes a call whose id it has seen for that one and does not run it,
and what is kept by an id for a later turn would be another call's.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection

import msgspec

from fkproxy.dialects.base import StreamDecoder
from fkproxy.model.events import Event, ToolCallStarted
from fkproxy.model.parts import ToolCall
from fkproxy.model.request import ChatRequest
from fkproxy.wire.sse import Frame

__all__ = ["NewIds", "call_ids", "with_new_ids"]


def call_ids(request: ChatRequest) -> set[str]:
    """Those of all calls so far."""
    found: set[str] = set()
    for message in request.messages:
        if message.role == "assistant":
            for part in message.parts:
                if type(part) is ToolCall:
                    found.add(part.id)
    return found


def with_new_ids(events: list[Event], known: Collection[str]) -> list[Event]:
    """The events, with another id for each call whose own is `known`."""
    return [_new(event) if type(event) is ToolCallStarted and event.id in known else event for event in events]


def _new(event: ToolCallStarted) -> ToolCallStarted:
    return msgspec.structs.replace(event, id=f"call_{secrets.token_hex(12)}")


class NewIds:
    """See `dialects.base.StreamDecoder`. `with_new_ids` of what `decoder` tells."""

    __slots__ = ("_decoder", "_known", "skims")

    def __init__(self, decoder: StreamDecoder, known: Collection[str]) -> None:
        self._decoder = decoder
        self._known = known
        self.skims = decoder.skims

    @property
    def finished(self) -> bool:
        """See `dialects.base.StreamDecoder.finished`."""
        return self._decoder.finished

    @property
    def complete(self) -> bool:
        """See `dialects.base.StreamDecoder.complete`."""
        return self._decoder.complete

    def feed(self, frame: Frame) -> list[Event]:
        """See `dialects.base.StreamDecoder.feed`."""
        return with_new_ids(self._decoder.feed(frame), self._known)

    def end(self) -> list[Event]:
        """See `dialects.base.StreamDecoder.end`."""
        return with_new_ids(self._decoder.end(), self._known)
