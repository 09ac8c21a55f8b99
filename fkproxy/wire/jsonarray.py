"""A stream of events as the elements of one JSON array. Floor 0.

That is how Google's REST streams answer unless events are asked for: `[{…}\n,\n{…}\n]`.
"""

from __future__ import annotations

from fkproxy.wire.sse import SseDecoder

__all__ = ["JsonArray"]


class JsonArray:
    """Events in, elements out. What is no data, such as a comment, becomes a blank, which means nothing in JSON."""

    __slots__ = ("_begun", "_framer")

    def __init__(self) -> None:
        self._framer = SseDecoder()
        self._begun = False

    def pad(self) -> bytes:
        """What keeps the stream alive, between two elements."""
        return b"\n"

    def feed(self, data: bytes) -> bytes:
        """The bytes for some bytes of the stream."""
        if not data:
            return b""
        out: list[bytes] = []
        for frame in self._framer.feed(data):
            if frame.data:
                out += (b"," if self._begun else b"[", frame.data, b"\n")
                self._begun = True
            else:
                out.append(b"\n")
        return b"".join(out)

    def end(self) -> bytes:
        """The bytes for the end of the stream, and for an event whose blank line did not come."""
        return self.feed(b"\n\n") + (b"]" if self._begun else b"[]")
