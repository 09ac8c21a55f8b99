"""Which of a host's addresses is connected to, and what becomes of the attempts at the others."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from fkproxy.adapters.http import connect
from tests.fakes.cancelling import cancelled_at_each_wait

pytestmark = pytest.mark.leaps

ADDRESSES = [(socket.AF_INET, (f"192.0.2.{number}", 443)) for number in range(3)]


class Sockets:
    """Attempts that end as they are told to. `ended`: the numbers of those that were cancelled."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *outcomes: Callable[[], Awaitable[None]]) -> None:
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.made: dict[int, socket.socket] = {}
        self._outcomes = outcomes
        monkeypatch.setattr(connect, "_attempt", self.attempt)
        monkeypatch.setattr(connect, "ATTEMPT_DELAY_S", 0.0)

    async def attempt(self, address: tuple[int, tuple[str, int]]) -> socket.socket:
        number = ADDRESSES.index(address)
        self.begun.append(number)
        try:
            await self._outcomes[number]()
        except asyncio.CancelledError:
            self.ended.append(number)
            raise
        self.made[number] = socket.socket()
        return self.made[number]

    async def first(self) -> socket.socket:
        async with asyncio.timeout(1.0):
            return await connect._race(ADDRESSES[: len(self._outcomes)])


async def never() -> None:
    await asyncio.Event().wait()


async def at_once() -> None:
    return


async def refused() -> None:
    raise ConnectionRefusedError(111, "refused")


async def unreachable() -> None:
    raise OSError(113, "unreachable")


async def test_an_address_that_does_not_answer_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    sockets = Sockets(monkeypatch, never, refused, at_once)
    with await sockets.first() as winner:
        assert winner is sockets.made[2]
        # Those that are cancelled are not waited for.
        await asyncio.sleep(0)
    assert (sockets.begun, sockets.ended) == ([0, 1, 2], [0])


async def test_where_all_fail_the_first_failure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    sockets = Sockets(monkeypatch, unreachable, refused)
    with pytest.raises(OSError, match="unreachable"):
        await sockets.first()


async def test_of_two_that_answer_one_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    go = asyncio.Event()

    async def together() -> None:
        await go.wait()

    async def last() -> None:
        go.set()
        await never()

    sockets = Sockets(monkeypatch, together, together, last)
    with await sockets.first() as winner:
        assert [made.fileno() == -1 for made in sockets.made.values()] == [made is not winner for made in sockets.made.values()]
    assert len(sockets.made) == 2


async def test_who_gives_up_leaves_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    sockets = Sockets(monkeypatch, never, at_once, at_once)

    async def race() -> None:
        (await sockets.first()).close()

    async for _ in cancelled_at_each_wait(race):
        await asyncio.sleep(0)
        assert [made.fileno() for made in sockets.made.values()] == [-1] * len(sockets.made)
