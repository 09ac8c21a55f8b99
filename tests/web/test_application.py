"""What is made when it is first asked for."""

from __future__ import annotations

import asyncio
import errno

import pytest

from fkproxy.web.application import Once


async def test_what_could_not_be_made_is_made_for_who_asks_next() -> None:
    made: list[int] = []

    def make() -> int:
        made.append(len(made))
        if len(made) == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return len(made)

    once = Once(make)
    for answer in await asyncio.gather(once(), once(), return_exceptions=True):
        assert isinstance(answer, OSError), "who waited for the same hears the same"
    assert await asyncio.gather(once(), once()) == [2, 2]
    assert await once() == 2
    assert made == [0, 1]


async def test_who_hangs_up_does_not_take_it_from_who_waits_too() -> None:
    once = Once(lambda: "made")
    first, second = asyncio.ensure_future(once()), asyncio.ensure_future(once())
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second == "made"
