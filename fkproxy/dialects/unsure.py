"""The decoder of a reply of which not every frame can be read. Floor 1. Pure."""

from __future__ import annotations

from fkproxy.dialects.base import StreamDecoder
from fkproxy.model.errors import UpstreamProtocolError
from fkproxy.model.events import ChoiceFinished, Done, Event, Failed, UsageReported
from fkproxy.wire import json
from fkproxy.wire.sse import Frame

__all__ = ["Unsure"]


class Unsure:
    """See `dialects.base.StreamDecoder`. It still tells failures and the end, and counts nothing."""

    __slots__ = ("_decoder", "missed")
    complete = False

    def __init__(self, decoder: StreamDecoder) -> None:
        self._decoder = decoder
        self.missed: Frame | None = None
        """The frame that could not be read, while it is the last one."""

    @property
    def finished(self) -> bool:
        """See `dialects.base.StreamDecoder.finished`."""
        return self._decoder.finished

    def skims(self, frame: Frame) -> bytes:
        """See `dialects.base.StreamDecoder.skims`."""
        mark = self._decoder.skims(frame)
        if mark:
            self.missed = None
        return mark

    def feed(self, frame: Frame) -> list[Event]:
        """See `dialects.base.StreamDecoder.feed`."""
        events = self._decoder.feed(frame)
        if frame.data:
            self.missed = None
        return [self._known(event) for event in events if type(event) is not UsageReported and type(event) is not ChoiceFinished]

    def _known(self, event: Event) -> Event:
        # The upstream says that this is the end: what we miss before it may be what we could not read.
        return Done() if type(event) is Failed and type(event.error) is UpstreamProtocolError else event

    def end(self) -> list[Event]:
        """See `dialects.base.StreamDecoder.end`. A last frame that others may be able to read may have told the end."""
        if self.missed is not None and json.try_object((self.missed.data or b"").decode("utf-8", "replace")) is not None:
            return []
        return [event for event in self._decoder.end() if type(event) is Failed]
