"""Events, the next of which begins before it is there."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkproxy.wire.late_event import LateEvent
from fkproxy.wire.sse import SseDecoder

CLIENTS = {
    "genai-js 0.24": re.compile(r"^data\: (.*)(?:\n\n|\r\r|\r\n\r\n)"),
    "google-genai-sdk 1": re.compile(r"^\s*data: (.*)(?:\n\n|\r\r|\r\n\r\n)"),
}
"""What each takes off the front of what it has; what is left in the end is an error to both."""


def read_by(event: re.Pattern[str], stream: bytes) -> tuple[list[object], str]:
    left, seen = stream.decode(), []
    while match := event.match(left):
        seen.append(json.loads(match[1]))
        left = left[match.end() :]
    return seen, left.strip()


@given(st.lists(st.sampled_from([b"", b'data: "data: x"\n\n', b"data: 2\r\n\r\n", b"data:3\n\ndata: 4\n\n"]), max_size=8))
def test_what_keeps_the_stream_alive_hides_nothing(steps: list[bytes]) -> None:
    """A step of nothing is one in which the stream is kept alive."""
    late = LateEvent()
    stream = b"".join(late.feed(step) if step else late.pad() for step in (*steps, b"data: 5\n\n")) + late.end()
    wanted = [frame.data for frame in SseDecoder().feed(b"".join(steps) + b"data: 5\n\n")]
    assert [(frame.data or b"").strip() for frame in SseDecoder().feed(stream)] == wanted


@pytest.mark.parametrize("client", CLIENTS)
def test_clients_read_on_that_look_for_data_alone(client: str) -> None:
    late = LateEvent()
    stream = late.pad() + late.pad() + late.feed(b"data: 1\n\n") + late.feed(b"data: 2\r\n\r\n") + late.pad() + late.feed(b"data: 3\n\n")
    assert read_by(CLIENTS[client], stream) == ([1, 2, 3], "")
    assert read_by(CLIENTS[client], stream + late.pad()) == ([1, 2, 3], "data:")


def test_what_has_no_data_waits_with_it() -> None:
    late = LateEvent()
    assert [late.feed(b": x\n\n"), late.pad(), late.feed(b""), late.feed(b": x\n\n"), late.pad()] == [b": x\n\n", b"data: ", b"", b"", b" "]
    assert late.feed(b": data: x\n\nevent: data:\rdata: 1\n\n") + late.feed(b": x\n\n") == b" 1\n\n: x\n\n"
