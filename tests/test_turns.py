"""Who waits for a turn and does not get through is in nobody's way."""

from __future__ import annotations

import asyncio

import pytest

from fkproxy.turns import until_turn

pytestmark = pytest.mark.leaps


class Told:
    """A turn, and what becomes of it."""

    def __init__(self) -> None:
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.said: list[str] = []

    async def wait(self, max_wait_s: float = 30.0) -> None:
        await until_turn(self.turn, max_wait_s, forget=lambda: self.said.append("forget"), leave=lambda: self.said.append("leave"))


async def test_who_gets_through_keeps_the_turn() -> None:
    told = Told()
    waiting = asyncio.create_task(told.wait())
    await asyncio.sleep(0)
    told.turn.set_result(None)
    await waiting
    assert told.said == []


async def test_who_waits_too_long_is_forgotten() -> None:
    told = Told()
    with pytest.raises(TimeoutError):
        await told.wait(0.01)
    assert told.said == ["forget"]


async def test_who_leaves_is_forgotten() -> None:
    told = Told()
    waiting = asyncio.create_task(told.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert told.said == ["forget"]


async def test_a_turn_that_comes_together_with_the_end_of_who_waits_is_given_back() -> None:
    told = Told()
    waiting = asyncio.create_task(told.wait())
    await asyncio.sleep(0)
    told.turn.set_result(None)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert told.said == ["leave"]
