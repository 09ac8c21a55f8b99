"""Whether what comes is a stream, its first bytes say where its media type does not."""

from __future__ import annotations

import pytest

from fkproxy.model.errors import UpstreamUnavailable
from tests.fakes.pipeline import Bench, Pause, Step
from tests.test_attempts import error_of
from tests.test_gateway import CHAT, DONE, ROLE, chat, delta, events, sse
from tests.test_relay import told

pytestmark = pytest.mark.leaps


@pytest.mark.parametrize("content_type", ["Text/Event-Stream; charset=utf-8", "application/json", "application/x-ndjson", "text/plain", ""])
async def test_a_stream_is_one_whatever_its_media_type_says(content_type: str) -> None:
    bench = Bench(CHAT)
    body = sse(delta("a"), delta(finish="stop"), DONE)
    bench.adapters[0].replies(body, content_type=content_type)
    client = await bench.send(chat(stream=True))
    assert (client.status, client.body) == (200, body)


PAGES = [([b"<html>\n\n<p>", *[b"x" * 100_000] * 12], "text/html"), ([b"null"], "application/json"), ([b""], "text/plain")]


@pytest.mark.parametrize(("said", "content_type"), PAGES)
async def test_a_page_in_place_of_a_stream_is_called_what_it_is_and_goes_to_nobody(said: list[bytes], content_type: str) -> None:
    bench = Bench(CHAT)
    bench.adapters[0].replies(*said, content_type=content_type)
    client = await bench.send(chat(stream=True))
    assert (client.status, error_of(client)["message"]) == (502, "the upstream sent something that is not a chat completion")


@pytest.mark.parametrize("signs_of_life", [(), (b"\n",), (b"\r\n\r\n", Pause(2.0), b" ", Pause(2.0), b"\n")])
async def test_a_stream_that_is_called_json_is_told_as_it_comes_and_so_is_its_failure(signs_of_life: tuple[Step, ...]) -> None:
    bench = Bench(CHAT)
    said: tuple[Step, ...] = (b"d", sse(ROLE)[1:] + sse(delta("a")), Pause(11.0), sse(delta("b")), UpstreamUnavailable("cut"))
    bench.adapters[0].replies(*signs_of_life, *said)
    client = await bench.send(chat(stream=True))
    assert [event.get("choices") for event in events(client)[:-1]] == [each["choices"] for each in (ROLE, delta("a"), delta("b"))]
    assert events(client)[-1]["error"]
    assert b": keep-alive\n\n" in client.pieces
    assert told(bench) == ("bad_gateway", ["bad_gateway"])
