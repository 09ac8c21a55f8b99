"""Refusals whose words do not come as they should: the status tells what to do."""

from __future__ import annotations

import json

import pytest

from fkproxy.model.errors import UpstreamProtocolError, UpstreamUnavailable
from tests.fakes.pipeline import Bench, Pause, Step
from tests.test_gateway import CHAT, chat, completion

CLAUDE = ("claude", "anthropic")
SPARE = ("spare", "openai_chat")
WORDS = json.dumps({"error": {"message": "no", "type": "invalid_request_error", "code": None}}).encode()
CUT, DAMAGED = UpstreamUnavailable("cut"), UpstreamProtocolError("damaged")


@pytest.mark.parametrize(
    "said",
    [
        (WORDS, CUT),
        (WORDS[:9], CUT),
        (CUT,),
        (DAMAGED,),
        (WORDS, Pause(200.0)),
        (Pause(200.0),),
        [each for _ in range(99) for each in (b" ", Pause(0.5))],
    ],
)
@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (400, "upstream_rejected", 400),
        (401, "upstream_authentication", 502),
        (429, "upstream_rate_limited", 429),
        (503, "upstream_overloaded", 503),
    ],
)
@pytest.mark.parametrize("upstream", [CHAT, CLAUDE])
async def test_what_a_status_says_holds_however_its_words_come(
    upstream: tuple[str, str], status: int, code: str, told: int, said: list[Step]
) -> None:
    bench = Bench(upstream)
    bench.adapters[0].replies(*said, status=status, retry_after="7")
    client = await bench.send(chat())
    assert (client.status, bench.record.error_code, bench.record.upstream_status) == (told, code, status)
    assert bench.record.duration_ms <= 5000
    assert bench.adapters[0].exchanges[0].closed


async def test_words_that_came_before_the_end_broke_off_are_told() -> None:
    bench = Bench(CHAT)
    bench.adapters[0].replies(WORDS, CUT, status=400)
    assert json.loads((await bench.send(chat())).body)["error"]["message"] == "no"


async def test_a_refusal_without_end_keeps_nobody_from_the_next_upstream_for_long() -> None:
    bench = Bench(CHAT, SPARE)
    bench.adapters[0].replies(b"busy", Pause(1000.0), status=503)
    bench.adapters[1].replies(completion())
    client = await bench.send(chat())
    assert (client.status, [attempt.outcome for attempt in bench.record.tries]) == (200, ["upstream_overloaded", "ok"])
    assert bench.record.duration_ms <= 5000


async def test_of_a_refusal_that_is_too_long_there_is_the_beginning() -> None:
    bench = Bench(CHAT)
    bench.adapters[0].replies(*[b"<p>" * 100_000] * 9, status=503)
    assert (await bench.send(chat())).status == 503
    assert len(bench.adapters[0].exchanges[0]._body) == 5


@pytest.mark.parametrize("status", [400, 429])
async def test_a_count_of_tokens_is_refused_alike(status: int) -> None:
    bench = Bench(CLAUDE)
    bench.adapters[0].replies(WORDS[:9], CUT, status=status)
    body = json.dumps({"model": "claude-opus-4-5", "messages": [{"role": "user", "content": "x"}]}).encode()
    client = await bench.send(body, "anthropic", operation="count_tokens")
    assert client.status == status
