"""Waiting for one's turn, which somebody else gives. Floor 3."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["until_turn"]


async def until_turn(turn: asyncio.Future[None], max_wait_s: float, *, forget: Callable[[], None], leave: Callable[[], None]) -> None:
    """Until `turn` is set. Raises `TimeoutError` after `max_wait_s` seconds.

    Whoever does not get through is not in the way of others: `forget` takes out who waits no more, and `leave` gives back a turn that
    came together with the end of whoever waited for it.
    """
    through = False
    try:
        async with asyncio.timeout(max_wait_s):
            await turn
        through = True
    finally:
        if not turn.done() or turn.cancelled():
            forget()
        elif not through:
            leave()
