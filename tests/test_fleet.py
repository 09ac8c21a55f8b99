"""The way of a call through many upstreams: what is remembered of it, what it costs, what counts for a stand-in."""

from __future__ import annotations

from tests.fakes.pipeline import Bench
from tests.test_attempts import ONE, TWO, chat, completion


async def test_names_of_models_that_callers_make_up_are_not_kept() -> None:
    bench = Bench(ONE, TWO, ("three/a", "openai_chat"), ("three/b", "openai_chat"))
    for number in range(50):
        bench.adapters[0].replies(completion())
        assert (await bench.send(chat(f"made-up-{number}"))).status == 200
    assert len(bench.gateway.fleet.selector._last) == 2
    client = await bench.send(chat("long" * 1000))
    assert (client.status, bench.record.error_code, len(client.body) < 500) == (404, "model_not_found", True)
