"""Events as the elements of one JSON array."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkproxy.wire import sse
from fkproxy.wire.jsonarray import JsonArray

VALUES = st.lists(st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), st.text(max_size=8)), max_size=3), max_size=5)


COMMENT = sse.encode_comment("keep-alive")


@given(VALUES, st.booleans(), st.data())
def test_the_elements_are_the_data_wherever_the_bytes_are_cut(values: list[object], commented: bool, data: st.DataObject) -> None:
    stream = b"".join((COMMENT if commented else b"") + sse.encode_data(json.dumps(value).encode()) for value in values)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    array = JsonArray()
    pieces = [array.feed(stream[start:end]) for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert json.loads(b"".join(piece + array.pad() for piece in pieces) + array.end()) == values


def test_nothing_at_all_is_an_empty_array_whose_line_is_kept_alive() -> None:
    array = JsonArray()
    assert array.feed(COMMENT) + array.end() == b"\n[]"
    assert array.pad() + array.end() == b"\n[]"


def written(*pieces: bytes) -> object:
    array = JsonArray()
    return json.loads(b"".join(map(array.feed, pieces)) + array.end())


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\r"])
def test_a_last_event_without_its_blank_line_is_an_element(end: bytes) -> None:
    assert written(sse.encode_data(b"1") + b"data: 2" + end) == [1, 2]
    assert written(b"data: 2" + end) == [2]


@pytest.mark.parametrize("empty", [b"data:\n\n", b"data: \n\n", b"data\n\n", b"event: x\ndata:\n\n"])
def test_an_event_without_data_is_no_element(empty: bytes) -> None:
    assert written(empty, sse.encode_data(b"1"), empty, sse.encode_data(b"2") + empty) == [1, 2]
    assert written(sse.encode_data(b"1"), empty[:-2]) == [1]
    assert written(empty) == []
