"""So many calls of one key at a time."""

from __future__ import annotations

import asyncio
import json

import pytest

from fkproxy.model.errors import ConcurrencyExceeded
from fkproxy.turnstile import Turnstile
from tests.fakes.pipeline import Bench, Hang
from tests.test_attempts import chat, completion

pytestmark = pytest.mark.leaps


async def test_places_go_to_those_who_wait_in_their_order() -> None:
    turnstile, order = Turnstile(1, 5.0), []
    assert turnstile.pass_at_once("a")
    assert turnstile.pass_at_once("b"), "another key has its own"

    async def wait(name: str) -> None:
        await turnstile.wait("a")
        order.append(name)

    tasks = [asyncio.create_task(wait(name)) for name in "xyz"]
    await asyncio.sleep(0)
    assert not turnstile.pass_at_once("a"), "nobody passes those who wait"
    tasks[1].cancel()
    await asyncio.sleep(0)
    for _ in range(2):
        turnstile.leave("a")
        await asyncio.sleep(0)
    assert order == ["x", "z"]
    turnstile.leave("a")
    assert turnstile.pass_at_once("a")
    assert len(turnstile._waiting) == 0


async def test_a_turn_that_comes_to_one_who_is_leaving_goes_to_the_next() -> None:
    turnstile = Turnstile(1, 5.0)
    assert turnstile.pass_at_once("a")
    leaving, staying = (asyncio.create_task(turnstile.wait("a")) for _ in range(2))
    await asyncio.sleep(0)
    turnstile.leave("a")
    leaving.cancel()
    async with asyncio.timeout(1):
        await staying
    turnstile.leave("a")
    assert turnstile.pass_at_once("a")


async def test_waiting_has_an_end() -> None:
    turnstile = Turnstile(2, 0.01)
    assert turnstile.pass_at_once("a")
    assert turnstile.pass_at_once("a")
    with pytest.raises(ConcurrencyExceeded) as caught:
        await turnstile.wait("a")
    assert caught.value.limit == 2
    assert len(turnstile._waiting) == 0
    with pytest.raises(ConcurrencyExceeded):
        await Turnstile(1, 0.0).wait("a")


async def test_so_many_wait_at_a_time_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fkproxy.turnstile._MOST_WAITING", 1)
    turnstile = Turnstile(1, 5.0)
    assert turnstile.pass_at_once("a")
    for _ in range(3):
        waits = asyncio.create_task(turnstile.wait("a"))
        await asyncio.sleep(0)
        with pytest.raises(ConcurrencyExceeded):
            await asyncio.wait_for(turnstile.wait("a"), 1)
        turnstile.leave("a")
        await waits


async def test_calls_of_one_key_wait_for_each_other() -> None:
    bench = Bench(("one", "openai_chat"))
    bench.gateway._turnstile = Turnstile(1, 5.0)
    hang = Hang()
    bench.adapters[0].replies(completion(), head=[hang])
    bench.adapters[0].replies(completion("second"))
    first = asyncio.create_task(bench.send(chat()))
    await hang.reached.wait()
    second = asyncio.create_task(bench.send(chat()))
    await asyncio.sleep(0)
    assert len(bench.adapters[0].calls) == 1
    first.cancel()
    client = await second
    assert (b"second" in client.body, client.watched) == (True, True)
    bench.gateway._turnstile = Turnstile(1, 0.0)
    assert bench.gateway._turnstile.pass_at_once("peer:None")
    client = await bench.send(chat())
    assert (client.status, json.loads(client.body)["error"]["code"]) == (429, "concurrency_exceeded")
