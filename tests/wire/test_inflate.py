"""Compressed bodies: what comes out, how much of it, and what is no body of its coding."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest

from fkproxy.model.errors import FkproxyError, InvalidRequest, RequestTooLarge, UnsupportedCoding
from fkproxy.wire.inflate import MAX_PIECE_BYTES, Damaged, Inflater, coding_of, inflate_request, request_inflater

PLAIN = bytes(range(256)) * 1000 + bytes(2 * MAX_PIECE_BYTES)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKERS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("gzip", lambda data: b"".join(gzip.compress(part) for part in (data[:1000], b"", b"", data[1000:-1000], data[-1000:], b""))),
    ("gzip", lambda data: gzip.compress(b"") + gzip.compress(data)),
]


@pytest.mark.parametrize(("coding", "pack"), PACKERS)
@pytest.mark.parametrize("size_bytes", [1, 5, 10_000])
def test_a_body_is_the_same_however_its_bytes_arrive(coding: str, pack: Callable[[bytes], bytes], size_bytes: int) -> None:
    packed, inflater, plain = pack(PLAIN), Inflater(coding), b""
    for start in range(0, len(packed), size_bytes):
        piece = inflater.feed(packed[start : start + size_bytes])
        while piece:
            plain += piece
            piece = inflater.feed(b"")
    inflater.finish()
    assert plain == PLAIN


def test_what_comes_out_at_once_has_a_bound() -> None:
    inflater = Inflater("gzip")
    assert len(inflater.feed(gzip.compress(bytes(100 * MAX_PIECE_BYTES)))) == MAX_PIECE_BYTES


def test_no_body_at_all_is_no_damage() -> None:
    Inflater("gzip").finish()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{}", "is damaged"),
        (gzip.compress(b"x") + b"more", "goes on after its end"),
        (gzip.compress(b"x") + bytes(8), "goes on after its end"),
        (gzip.compress(b"x") * 2 + b"more", "goes on after its end"),
        (gzip.compress(b"x") + gzip.compress(b"x")[:-1], "ends too early"),
        (gzip.compress(b"x") + b"\x1f", "ends too early"),
        (gzip.compress(b"x") + gzip.compress(PLAIN)[:-8] + bytes(8), "is damaged"),
        (gzip.compress(b"x")[:-1], "ends too early"),
    ],
)
def test_what_is_no_body_of_its_coding_is_told(data: bytes, words: str) -> None:
    def read(inflater: Inflater, size_bytes: int) -> None:
        for start in range(0, len(data), size_bytes):
            piece = inflater.feed(data[start : start + size_bytes])
            while piece:
                piece = inflater.feed(b"")
        inflater.finish()

    for size_bytes in (1, len(data)):
        with pytest.raises(Damaged, match=words):
            read(Inflater("gzip"), size_bytes)


def test_what_follows_a_body_that_is_one_is_no_part_of_it() -> None:
    inflater = Inflater("deflate")
    assert inflater.feed(zlib.compress(b"x") * 2) == b"x"
    with pytest.raises(Damaged, match="goes on after its end"):
        inflater.feed(b"")


@pytest.mark.parametrize(("header", "coding"), [(" GZIP", "gzip"), ("identity", None), ("", None), ("gzip, br", "gzip, br")])
def test_a_coding_is_known_however_it_is_spelled(header: str, coding: str | None) -> None:
    assert coding_of(header) == coding


@pytest.mark.parametrize(("coding", "pack"), PACKERS)
def test_a_request_may_be_compressed(coding: str, pack: Callable[[bytes], bytes]) -> None:
    inflater = request_inflater(coding.encode())
    assert inflater is not None
    assert inflate_request(inflater, pack(PLAIN), len(PLAIN)) == PLAIN


def test_a_request_that_says_that_it_is_as_it_is_needs_nothing() -> None:
    assert request_inflater(b"identity") is None


@pytest.mark.parametrize("header", [b"zstd", b"br", b"gzip, gzip", b"\xff"])
def test_a_coding_that_nobody_reads_is_told_with_those_that_are_read(header: bytes) -> None:
    with pytest.raises(UnsupportedCoding, match="gzip or deflate") as refused:
        request_inflater(header)
    assert refused.value.status == 415


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (gzip.compress(bytes(1001)), RequestTooLarge),
        (gzip.compress(bytes(2**24)), RequestTooLarge),
        (gzip.compress(bytes(501)) * 2, RequestTooLarge),
        (b'{"model":"m"}', InvalidRequest),
    ],
)
def test_a_request_is_refused_that_is_too_large_or_none(body: bytes, kind: type[FkproxyError]) -> None:
    inflater = request_inflater(b"gzip")
    assert inflater is not None
    with pytest.raises(kind):
        inflate_request(inflater, body, 1000)
