"""Bodies that came compressed (RFC 9110 §8.4): replies, although identity was asked for, and requests of clients that save their uplink.

Floor 0. Pure.
"""

from __future__ import annotations

import zlib

from fkproxy.model.errors import InvalidRequest, RequestTooLarge, UnsupportedCoding

__all__ = ["MAX_PIECE_BYTES", "Damaged", "Inflater", "coding_of", "inflate_request", "request_inflater"]

MAX_PIECE_BYTES = 256 * 1024
"""At most this much comes out of one call, however well a small piece was compressed: 1 MB of gzip may hold 1 GB of zeros."""

_GZIP = 16 + zlib.MAX_WBITS
_WINDOW_BITS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": zlib.MAX_WBITS}

_MEMBER = b"\x1f\x8b"
"""What a member of gzip begins with (RFC 1952 §2.3.1)."""

_OFFERED = ("gzip", "deflate")
"""`x-gzip` is another name of gzip to a recipient (RFC 9110 §8.4.1.3)."""

_FED_BYTES = 16 * 1024
"""A body that is there as a whole is fed in such pieces: what of one does not come out at once, or is of its next member, is copied."""


class Damaged(ValueError):
    """A compressed body is not what its coding says. In words that go on from "the compressed body"."""


def coding_of(header: str) -> str | None:
    """The coding that a Content-Encoding names; None where the body is as it is. "identity" should not be named there, and is."""
    coding = header.strip().lower()
    return coding if coding not in ("", "identity") else None


def request_inflater(header: bytes) -> Inflater | None:
    """What a client's body is read with, by its Content-Encoding. Raises `UnsupportedCoding`."""
    coding = coding_of(header.decode("latin-1"))
    try:
        return Inflater(coding) if coding is not None else None
    except LookupError as error:
        raise UnsupportedCoding(coding or "", _OFFERED) from error


def inflate_request(inflater: Inflater, body: bytes, limit_bytes: int) -> bytes:
    """A client's whole body, plain. The limit is that of what comes out. Raises `RequestTooLarge` and `InvalidRequest`."""
    pieces: list[bytes] = []
    size_bytes = 0
    try:
        for start in range(0, len(body), _FED_BYTES):
            piece = inflater.feed(body[start : start + _FED_BYTES])
            while piece:
                size_bytes += len(piece)
                if size_bytes > limit_bytes:
                    raise RequestTooLarge(limit_bytes)
                pieces.append(piece)
                piece = inflater.feed(b"")
        inflater.finish()
    except Damaged as error:
        raise InvalidRequest(None, f"the compressed request body {error}") from error
    return b"".join(pieces)


class Inflater:
    """Incremental decompression with bounded output. Raises `LookupError` for a coding that cannot be read."""

    __slots__ = ("_fed", "_members", "_rest", "_undecided", "_wrapper_unknown", "_zlib")

    def __init__(self, coding: str) -> None:
        window_bits = _WINDOW_BITS[coding]
        self._zlib = zlib.decompressobj(window_bits)
        self._wrapper_unknown = window_bits == zlib.MAX_WBITS
        self._members = window_bits == _GZIP
        self._undecided = self._rest = b""
        self._fed = False

    def feed(self, data: bytes) -> bytes:
        """At most `MAX_PIECE_BYTES` of the plain body. The rest comes with the next calls: feed b"" until it gives b"".

        Raises `Damaged`.
        """
        self._fed = self._fed or bool(data)
        if self._wrapper_unknown:
            data = self._undecided + data
            if len(data) < 2:
                self._undecided = data
                return b""
            self._wrapper_unknown = False
            # Some send "deflate" without its zlib wrapper. The wrapper is known by its check bits (RFC 1950 §2.2).
            if data[0] & 0x0F != 8 or (data[0] << 8 | data[1]) % 31:
                self._zlib = zlib.decompressobj(-zlib.MAX_WBITS)
        data = self._rest + data
        while True:
            if self._zlib.eof and data:
                self._next_member(data)
            try:
                plain = self._zlib.decompress(data, MAX_PIECE_BYTES)
            except zlib.error as error:
                raise Damaged("is damaged") from error
            ended = self._zlib.eof
            data = self._rest = self._zlib.unused_data if ended else self._zlib.unconsumed_tail
            if plain or not (ended and data):
                return plain

    def _next_member(self, data: bytes) -> None:
        """What gzip packs may be several such bodies in a row (RFC 1952 §2.2), each with its own beginning, of which `data` has a part."""
        if not self._members or not _MEMBER.startswith(data[:2]):
            raise Damaged("goes on after its end")
        self._zlib = zlib.decompressobj(_GZIP)

    def finish(self) -> None:
        """The body is over. Raises `Damaged` if the compressed data is not. An empty body is no damage."""
        if self._fed and not self._zlib.eof:
            raise Damaged("ends too early")
