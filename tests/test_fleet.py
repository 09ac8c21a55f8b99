"""The way of a call through many upstreams: what is remembered of it, what it costs, what counts for a stand-in."""

from __future__ import annotations

from typing import Any

from fkproxy.attempts import RetryPolicy
from fkproxy.telemetry.record import Skipped
from fkproxy.upstream import Upstream
from tests.fakes.pipeline import Bench
from tests.test_attempts import ONE, TWO, chat, completion, failing


async def test_names_of_models_that_callers_make_up_are_not_kept() -> None:
    bench = Bench(ONE, TWO, ("three/a", "openai_chat"), ("three/b", "openai_chat"))
    for number in range(50):
        bench.adapters[0].replies(completion())
        assert (await bench.send(chat(f"made-up-{number}"))).status == 200
    assert len(bench.gateway.fleet.selector._last) == 2
    client = await bench.send(chat("long" * 1000))
    assert (client.status, bench.record.error_code, len(client.body) < 500) == (404, "model_not_found", True)


async def test_two_hundred_upstreams_that_are_held_are_looked_at_a_few_times_each() -> None:
    bench = Bench(*((f"p{number}", "openai_chat") for number in range(200)))
    looks = 0

    class Counted(Upstream):
        def obstacle(self, *args: Any, **kwargs: Any) -> Skipped | None:
            nonlocal looks
            looks += 1
            return super().obstacle(*args, **kwargs)

    for upstream in bench.gateway.fleet.upstreams:
        upstream.__class__ = Counted
        upstream.standing.failed("m", 0, "rate_limited", 60.0, bench.clock.now_s)
    client = await bench.send(chat())
    assert (client.status, len(bench.record.skipped)) == (429, 200)
    assert looks <= 4 * 200


async def test_who_was_passed_over_is_told_as_it_is_now() -> None:
    bench = Bench(ONE, TWO, retries=RetryPolicy(max_wait_s=5.0))
    one, two = bench.gateway.fleet.upstreams
    one.standing.failed("m", 0, "rate_limited", 2.0, bench.clock.now_s)
    two.standing.failed("m", 0, "rate_limited", 60.0, bench.clock.now_s)
    failing(bench.adapters[0], 429, retry_after="90")
    client = await bench.send(chat())
    assert (client.status, bench.record.waited_ms >= 2000) == (429, True)
    assert 56 <= float(client.headers["retry-after"]) <= 58
