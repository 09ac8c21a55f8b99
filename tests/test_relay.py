"""Streams that do not come as they should, told from both ends."""

from __future__ import annotations

import pytest

from tests.fakes.pipeline import Bench
from tests.test_gateway import CHAT, DONE, ROLE, chat, delta, events, sse

ERROR = {"error": {"message": "overloaded", "type": "server_error", "code": 503}}


def told(bench: Bench) -> tuple[str | None, list[str]]:
    """What is written down of the failure: in the call's record, and for each attempt."""
    return bench.record.error_code, [attempt.outcome for attempt in bench.record.tries]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\r"])
async def test_an_error_without_its_blank_line_comes_once_and_in_a_frame_of_its_own(end: bytes) -> None:
    bench = Bench(CHAT)
    bench.adapters[0].streams(sse(ROLE, delta("a")), sse(ERROR)[:-2] + end)
    client = await bench.send(chat(stream=True))
    assert events(client) == [ROLE, delta("a"), ERROR]
    assert client.body.startswith(sse(ROLE, delta("a"), ERROR)[:-2])
    assert client.body.endswith(b"\n\n")
    assert told(bench) == ("upstream_overloaded", ["upstream_overloaded"])


@pytest.mark.parametrize("end", [b"", b"\n"])
async def test_what_follows_on_a_last_frame_without_its_blank_line_is_a_frame_of_its_own(end: bytes) -> None:
    bench = Bench(CHAT)
    bench.adapters[0].streams(sse(ROLE, delta("a")), sse(delta("b"))[:-2] + end)
    client = await bench.send(chat(stream=True))
    *content, error = client.body.removesuffix(b"\n\n").split(b"\n\n")
    assert b"\n\n".join(content) + b"\n\n" == sse(ROLE, delta("a"), delta("b"))
    assert error.startswith(b'data: {"error":')
    assert told(bench) == ("upstream_protocol_error", ["upstream_protocol_error"])


async def test_a_last_frame_without_its_blank_line_is_delivered() -> None:
    bench = Bench(CHAT)
    body = sse(ROLE, delta("a"), delta(finish="stop"), DONE)
    bench.adapters[0].streams(body[:-2])
    client = await bench.send(chat(stream=True))
    assert client.body == body
    assert told(bench) == (None, ["ok"])
