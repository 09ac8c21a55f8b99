"""Framing of server-sent events."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkproxy.model.errors import UpstreamProtocolError
from fkproxy.wire.sse import SseDecoder, TextPattern, encode_comment, encode_data, encode_event

Told = tuple[str | None, bytes | None]

CASES: list[tuple[bytes, list[Told]]] = [
    (b"data: a\n\n", [(None, b"a")]),
    (b"data:a\n\n", [(None, b"a")]),
    (b"data:  a\n\n", [(None, b" a")]),
    (b"data\n\n", [(None, b"")]),
    (b"data:\n\n", [(None, b"")]),
    (b"data: a\r\n\r\n", [(None, b"a")]),
    (b"data: a\r\rdata: b\r\r", [(None, b"a"), (None, b"b")]),
    (b"data: a\n\r\ndata: b\r\n\n", [(None, b"a"), (None, b"b")]),
    (b"data: a\r\n\rdata: b\n\rdata: c\r\r\n", [(None, b"a"), (None, b"b"), (None, b"c")]),
    (b"data: a\ndata: b\n\n", [(None, b"a\nb")]),
    (b"data: a\r\ndata: b\r\n\r\n", [(None, b"a\nb")]),
    (b"event: x\ndata: a\n\n", [("x", b"a")]),
    (b"id: 7\nretry: 5\ndata: a\n\n", [(None, b"a")]),
    (b": comment\n\n", [(None, None)]),
    (b": comment\ndata: a\n\n", [(None, b"a")]),
    (b"\n\n\n\ndata: a\n\n", [(None, b"a")]),
    (b"\xef\xbb\xbfdata: a\n\n", [(None, b"a")]),
    ('data: {"t":"a\u2028b\u2029c\u0085d\x0be\x0c"}\n\n'.encode(), [(None, '{"t":"a\u2028b\u2029c\u0085d\x0be\x0c"}'.encode())]),
    (b"data: a\n\ndata: b\n\ndata: c\n\n", [(None, b"a"), (None, b"b"), (None, b"c")]),
    (b"unknown: field\n\n", [(None, None)]),
    (b"", []),
]


def told(pieces: list[bytes]) -> list[Told]:
    decoder = SseDecoder()
    frames = [frame for piece in pieces for frame in decoder.feed(piece)]
    return [(frame.event, frame.data) for frame in frames + decoder.tail()]


@pytest.mark.parametrize(("stream", "expected"), CASES)
def test_frames_are_found_whole_byte_by_byte_and_with_more_behind(stream: bytes, expected: list[Told]) -> None:
    assert told([stream]) == expected
    assert told([stream[index : index + 1] for index in range(len(stream))]) == expected
    assert told([stream + b"data: more"]) == [*expected, (None, b"more")]
    if not stream.startswith(b"\xef"):
        assert told([b": before\n\n", stream]) == [(None, None), *expected]


def read_plainly(stream: bytes) -> list[Told]:
    """What has data in `stream`, read line by line as WHATWG HTML §9.2.6 tells it, with nothing clever: the judge of the decoder."""
    *lines, rest = re.split(rb"\r\n|\n|\r", stream.removeprefix(b"\xef\xbb\xbf"))
    found: list[Told] = []
    data: list[bytes] = []
    event: str | None = None
    for line in [*lines, rest, b""]:
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
        elif name == b"event":
            event = value.removeprefix(b" ").decode()
        elif not line:
            if data:
                found.append((event, b"\n".join(data)))
            data, event = [], None
    return found


LINES = "data: a|data:b|data|data:  c|event: x|event:y|: comment|:|id: 7|||data: \u2028".encode().split(b"|")
ENDS = (b"\n", b"\r", b"\r\n")


@given(st.booleans(), st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from(ENDS)), max_size=14), st.data())
def test_line_ends_may_be_mixed_in_every_way(mark: bool, lines: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    stream = (b"\xef\xbb\xbf" if mark else b"") + b"".join(line + end for line, end in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert [frame for frame in told(pieces) if frame[1] is not None] == read_plainly(stream)


@given(st.lists(st.sampled_from(CASES), max_size=5), st.data())
def test_frames_are_the_same_wherever_the_bytes_are_cut(cases: list[tuple[bytes, list[Told]]], data: st.DataObject) -> None:
    stream = b"".join(case[0].removeprefix(b"\xef\xbb\xbf") for case in cases)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert told(pieces) == told([stream])


@given(st.binary(max_size=400), st.data())
def test_what_was_framed_is_every_byte_that_came(stream: bytes, data: st.DataObject) -> None:
    stream = stream.replace(b"\xef\xbb\xbf", b"").replace(b"\n", b"")
    whole = b"".join(b"data: " + line + b"\n\n" for line in stream.split(b"\r") if line.strip())
    cut = data.draw(st.integers(0, len(whole)))
    decoder = SseDecoder()
    frames = [*decoder.feed(whole[:cut]), *decoder.feed(whole[cut:]), *decoder.tail()]
    assert b"".join(frame.raw for frame in frames) == whole


def test_an_unterminated_last_frame_is_read_if_it_has_data() -> None:
    assert told([b"data: a\n\ndata: b"]) == [(None, b"a"), (None, b"b")]
    assert told([b"data: a\n\n: only a comment"]) == [(None, b"a")]
    assert told([b"data: a\n\n\n  \n"]) == [(None, b"a")]


def test_a_frame_without_an_end_is_refused_at_the_limit() -> None:
    decoder = SseDecoder(max_frame_bytes=100)
    assert decoder.feed(b"data: " + b"x" * 90) == []
    with pytest.raises(UpstreamProtocolError, match="100 bytes"):
        decoder.feed(b"x" * 20)


def test_the_limit_is_for_one_frame_not_for_the_stream() -> None:
    decoder = SseDecoder(max_frame_bytes=100)
    assert sum(len(decoder.feed(b"data: " + b"x" * 80 + b"\n\n")) for _ in range(50)) == 50


@given(st.binary(max_size=50).filter(lambda data: not set(data) & set(b"\r\n")), st.text("abc_", min_size=1))
def test_what_is_encoded_is_decoded(data: bytes, event: str) -> None:
    stream = encode_data(data) + encode_comment("keep-alive") + encode_event(event, data)
    assert told([stream]) == [(None, data), (None, None), (event, data)]


def piece(text: str, *, name: str = "a") -> bytes:
    return encode_data(json.dumps({"name": name, "content": text, "end": None}).encode())


MARK = b'"content": "'


@given(st.text(), st.text())
def test_what_fits_a_pattern_differs_in_its_text_alone(first: str, second: str) -> None:
    pattern = TextPattern()
    pattern.learn(piece(first), MARK)
    simple = all(text and '"' not in text for text in (first, second))
    # A backslash before the text's end may belong to a quotation mark: nothing is learned from that.
    assert pattern.fits(piece(second)) == (simple and not first.endswith("\\"))


@pytest.mark.parametrize(
    "other",
    [
        b"",
        piece(""),
        piece("c", name="b"),
        piece('say "c"'),
        piece("c")[:-1],
        piece("c")[1:],
        piece("c") + piece("d"),
        piece("c") + encode_comment("c"),
        encode_comment("c"),
        piece("c").replace(b"null", b'"stop"'),
        piece("c").replace(b'"end"', b'"more": 1, "end"'),
    ],
)
def test_what_says_anything_else_fits_no_pattern(other: bytes) -> None:
    pattern = TextPattern()
    assert not pattern.fits(piece("a"))
    pattern.learn(piece("a"), MARK)
    assert pattern.fits(piece("b"))
    assert not pattern.fits(other)


def test_what_cannot_be_learned_from_leaves_the_pattern_as_it_was() -> None:
    pattern = TextPattern()
    pattern.learn(piece("a"), MARK)
    for other in (piece('"'), piece('b"'), piece(""), encode_comment("c"), b'data: {"content": "never ends'):
        pattern.learn(other, MARK)
        assert pattern.fits(piece("c"))


def test_a_stream_whose_pieces_all_look_different_is_given_up() -> None:
    pattern = TextPattern()
    for number in range(100):
        pattern.learn(piece("a", name=f"{number}"), MARK)
    assert not pattern.fits(piece("b", name="99"))
    assert pattern.fits(piece("b", name="15"))


def test_a_stream_whose_pieces_change_their_look_now_and_then_is_not() -> None:
    pattern = TextPattern()
    for second in range(100):
        pattern.learn(piece("a", name=f"{second}"), MARK)
        assert pattern.fits(piece("b", name=f"{second}"))


def test_the_rest_is_what_has_no_end_yet() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"data: a\n\ndata: b")
    assert decoder.rest == b"data: b"
    assert decoder.feed(b"\n\n")
    assert decoder.rest == b""


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b""])
def test_a_large_frame_is_put_together_once(end: bytes) -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"event: x" + (end[: len(end) // 2] or b"\n") + b"data: " + b"a" * 5000) == []
    begun = decoder.rest
    for _ in range(100):
        assert decoder.feed(b"a" * 1000) == []
        assert decoder.rest is begun, "what has come is not copied"
    frames = [*decoder.feed(end + b"data: b"), *decoder.tail()]
    assert [(frame.event, frame.data) for frame in frames] == (
        [("x", b"a" * 105_000), (None, b"b")] if end else [("x", b"a" * 105_000 + b"data: b")]
    )


def test_a_large_frame_that_has_come_in_pieces_is_refused_at_the_limit() -> None:
    decoder = SseDecoder(max_frame_bytes=10_000)
    for _ in range(2):
        assert decoder.feed(b"data: " + b"x" * 4994) == []
        assert decoder.feed(b"x" * 4000) == []
        assert len(decoder.feed(b"\n\n")) == 1
    assert decoder.feed(b"data: " + b"x" * 4994) == []
    assert decoder.feed(b"x" * 5000) == []
    with pytest.raises(UpstreamProtocolError, match="10000 bytes"):
        decoder.feed(b"x")


@given(st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from(ENDS)), max_size=9), st.integers(0, 9), st.data())
def test_what_is_large_is_framed_as_what_is_small(lines: list[tuple[bytes, bytes]], at: int, data: st.DataObject) -> None:
    large = (b"data: " + b"l" * 5000, data.draw(st.sampled_from((*ENDS, b""))))
    stream = b"".join(line + end for line, end in [*lines[:at], large, *lines[at:]])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert [frame for frame in told(pieces) if frame[1] is not None] == read_plainly(stream)
