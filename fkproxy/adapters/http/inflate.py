"""Replies that came compressed although identity was asked for (RFC 9110 §12.5.3 lets a server do that).

Floor 2. Pure.
"""

from __future__ import annotations

import zlib

from fkproxy.model.errors import UpstreamProtocolError

__all__ = ["MAX_PIECE_BYTES", "Inflater"]

MAX_PIECE_BYTES = 256 * 1024
"""At most this much comes out of one call, however well a small piece was compressed: 1 MB of gzip may hold 1 GB of zeros."""

_GZIP = 16 + zlib.MAX_WBITS
_WINDOW_BITS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": zlib.MAX_WBITS}


class Inflater:
    """Incremental decompression with bounded output. Raises `UpstreamProtocolError` for a coding that is not supported."""

    __slots__ = ("_fed", "_undecided", "_wrapper_unknown", "_zlib")

    def __init__(self, coding: str) -> None:
        window_bits = _WINDOW_BITS.get(coding.strip().lower())
        if window_bits is None:
            raise UpstreamProtocolError("the upstream compressed its reply in a way that was not asked for and is not supported")
        self._zlib = zlib.decompressobj(window_bits)
        self._wrapper_unknown = window_bits == zlib.MAX_WBITS
        self._undecided = b""
        self._fed = False

    def feed(self, data: bytes) -> bytes:
        """At most `MAX_PIECE_BYTES` of the plain body. The rest comes with the next calls: feed b"" until it gives b""."""
        self._fed = self._fed or bool(data)
        if self._wrapper_unknown:
            data = self._undecided + data
            if len(data) < 2:
                self._undecided = data
                return b""
            self._wrapper_unknown = False
            # Some servers send "deflate" without its zlib wrapper. The wrapper is known by its check bits (RFC 1950 §2.2).
            if data[0] & 0x0F != 8 or (data[0] << 8 | data[1]) % 31:
                self._zlib = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            plain = self._zlib.decompress(self._zlib.unconsumed_tail + data, MAX_PIECE_BYTES)
        except zlib.error as error:
            raise UpstreamProtocolError("the upstream's compressed reply is damaged") from error
        if self._zlib.unused_data:
            raise UpstreamProtocolError("the upstream's compressed reply goes on after its end")
        return plain

    def finish(self) -> None:
        """The body is over. Raises `UpstreamProtocolError` if the compressed data is not. An empty body is no damage."""
        if self._fed and not self._zlib.eof:
            raise UpstreamProtocolError("the upstream's compressed reply ends too early")
