"""Server-sent events: bytes in, frames out, at whatever boundaries the bytes arrive.

Floor 0. Pure.

Framed here and nowhere else. Lines end with CR LF, LF or CR and with nothing else (WHATWG HTML §9.2.5, read 2026-11): a raw U+2028
inside a JSON string is text. A field's colon may or may not be followed by one space. Several `data` lines join with LF.
"""

from __future__ import annotations

import re

import msgspec

from fkproxy.model.errors import UpstreamProtocolError

__all__ = ["MAX_FRAME_BYTES", "Frame", "SseDecoder", "TextPattern", "encode_comment", "encode_data", "encode_event"]

MAX_FRAME_BYTES = 64 * 1024 * 1024
"""A frame larger than this is refused: a generated image is some megabytes of base64, a runaway line has no end."""

_LARGE_BYTES = 4096
"""An event that has grown over this is put together once its line ends, and not with each piece that comes: an image has hundreds."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BACKSLASH = ord("\\")
_MAX_LESSONS = 16
"""One after the other, until one was of use: a server that writes every piece in another way is not worth more."""
_LINE_END = re.compile(rb"\r\n|\n|\r")
_FRAME_END = re.compile(rb"\n\n|\r\n\r\n|\r\n\n|\r\n\r|\n\r\n?|\r\r\n?")
"""Two line ends, each of any kind; twice as fast as a repeated group."""


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One event. `raw` is its bytes with the blank line that ended it; `data` is None for a frame of comments only."""

    raw: bytes
    data: bytes | None
    event: str | None = None

    @property
    def looks_whole(self) -> bool:
        """The data begin and end as a JSON object does."""
        return self.data is not None and self.data.startswith(b"{") and self.data.endswith(b"}")


class SseDecoder:
    """Feed bytes, get frames. `tail()` gives what is left when the stream has ended."""

    __slots__ = ("_max_frame_bytes", "_more", "_more_bytes", "_started", "rest")

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self.rest = b""
        """The beginning of an event whose end has not come."""
        self._more: list[bytes] = []
        """What has come behind a large one without a line's end."""
        self._more_bytes = 0
        self._started = False
        self._max_frame_bytes = max_frame_bytes

    def feed(self, chunk: bytes) -> list[Frame]:
        """Frames completed by `chunk`. Raises `UpstreamProtocolError` when a frame grows over the limit."""
        data = chunk
        if self.rest:
            if len(self.rest) > _LARGE_BYTES and chunk.find(b"\n") < 0 and chunk.find(b"\r") < 0 and not self.rest.endswith(b"\r"):
                self._more.append(chunk)
                self._more_bytes += len(chunk)
                if len(self.rest) + self._more_bytes > self._max_frame_bytes:
                    raise self._too_large()
                return []
            data = self._joined(chunk) if self._more else self.rest + chunk
        # Slices are compared here: `startswith` reads its arguments as a format says, three times the cost.
        if self._started and data[:5] == b"data:" and data.find(b"\n") == len(data) - 2 and data[-1:] == b"\n" and data.find(b"\r") < 0:
            # One whole event with only a data line: what a stream mostly comes as.
            self.rest = b""
            return [Frame(data, data[6:-2] if data[5:6] == b" " else data[5:-2])]
        if not self._started:
            # "One leading U+FEFF BYTE ORDER MARK character must be ignored if any are present" (§9.2.6), in however many pieces it comes.
            if len(data) < len(_BYTE_ORDER_MARK) and _BYTE_ORDER_MARK.startswith(data):
                self.rest = data
                return []
            self._started = True
            data = data.removeprefix(_BYTE_ORDER_MARK)
        frames: list[Frame] = []
        if data.find(b"\r") < 0:
            # The everyday case: LF only, so a plain split is exact.
            pieces = data.split(b"\n\n")
            rest = pieces.pop()
            for piece in pieces:
                if piece:
                    frames.append(_frame(piece, piece + b"\n\n"))
        else:
            rest = self._feed_any(data, frames)
        if len(rest) > self._max_frame_bytes:
            raise self._too_large()
        self.rest = rest
        return frames

    def _too_large(self) -> UpstreamProtocolError:
        return UpstreamProtocolError(f"an event of the upstream's stream is larger than {self._max_frame_bytes} bytes")

    def _joined(self, chunk: bytes = b"") -> bytes:
        data = b"".join((self.rest, *self._more, chunk))
        self._more.clear()
        self._more_bytes = 0
        return data

    def _feed_any(self, data: bytes, frames: list[Frame]) -> bytes:
        start = 0
        for match in _FRAME_END.finditer(data):
            end = match.end()
            # A CR at the very end may be half of a CR LF: wait for the next byte.
            if end == len(data) and data.endswith(b"\r"):
                break
            piece = data[start : match.start()]
            if piece:
                frames.append(_frame(piece, data[start:end]))
            start = end
        return data[start:]

    def tail(self) -> list[Frame]:
        """The unterminated rest as a frame, if it has data, or is JSON without being called so, as Google's errors are. Some servers forget
        the last blank line: its `raw` is given one.
        """
        rest, self.rest = self._joined(), b""
        if not rest.strip():
            return []
        frame = _frame(rest, rest + (b"\n" if rest.endswith(b"\n") else b"\n\n"))
        return [frame] if frame.data is not None or rest.startswith((b"{", b"[")) else []


class TextPattern:
    """How the last piece of a stream's text was written: most of those that follow differ in the text alone.

    What has the same bytes before its text and behind it, and no quotation mark within, is such a piece again.
    """

    __slots__ = ("_before", "_behind", "_lessons")

    def __init__(self) -> None:
        self._before = self._behind = b""
        self._lessons = _MAX_LESSONS

    def learn(self, event: bytes, mark: bytes) -> None:
        """`event` is a piece of text, which begins behind the first `mark`."""
        if not self._lessons:
            return
        self._lessons -= 1
        begin = event.find(mark) + len(mark)
        end = event.find(b'"', begin)
        if begin >= len(mark) and end > begin and event[end - 1] != _BACKSLASH:
            self._before, self._behind = event[:begin], event[end:]

    def fits(self, chunk: bytes) -> bool:
        """`chunk` is one more."""
        before, behind = self._before, self._behind
        begin, end = len(before), len(chunk) - len(behind)
        if 0 < begin < end == chunk.find(b'"', begin) and chunk[:begin] == before and chunk[end:] == behind:
            self._lessons = _MAX_LESSONS
            return True
        return False


def _frame(piece: bytes, raw: bytes) -> Frame:
    lf_only = piece.find(b"\r") < 0
    if lf_only and piece[:5] == b"data:" and piece.find(b"\n") < 0:
        return Frame(raw, piece[6:] if piece[5:6] == b" " else piece[5:])
    data: list[bytes] = []
    event: str | None = None
    for line in piece.split(b"\n") if lf_only else _LINE_END.split(piece):
        name, _, value = line.partition(b":")
        if value.startswith(b" "):
            value = value[1:]
        if name == b"data":
            data.append(value)
        elif name == b"event":
            event = value.decode("utf-8", "replace")
    return Frame(raw, b"\n".join(data) if data else None, event)


def encode_data(data: bytes) -> bytes:
    """One event with only a data line. `data` must hold no line end (JSON never does)."""
    return b"data: " + data + b"\n\n"


def encode_event(event: str, data: bytes) -> bytes:
    """One named event."""
    return b"event: " + event.encode() + b"\ndata: " + data + b"\n\n"


def encode_comment(text: str) -> bytes:
    """A comment: keeps a connection alive, and every parser must ignore it."""
    return b": " + text.encode() + b"\n\n"
