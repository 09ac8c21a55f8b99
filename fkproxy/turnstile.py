"""So many calls of one key at a time; the next ones wait, first come, first served. Floor 3."""

from __future__ import annotations

import asyncio

from fkproxy.limits.fair_queue import FairQueue
from fkproxy.limits.slots import Slots
from fkproxy.model.errors import ConcurrencyExceeded
from fkproxy.turns import until_turn

__all__ = ["Turnstile"]

_MOST_WAITING = 1000
_WHAT = "calls of this key are under way"


class Turnstile:
    """`limit` calls of a key pass at once, further ones wait for `max_wait_s` seconds at most."""

    def __init__(self, limit: int, max_wait_s: float) -> None:
        self._slots = Slots(0, limit)
        self.max_wait_s = max_wait_s
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue()

    @property
    def limit(self) -> int:
        """How many at once. A new one lets in who may pass now; calls beyond it go on until they are over."""
        return self._slots.limit_per_key

    @limit.setter
    def limit(self, limit: int) -> None:
        self._slots.limit_per_key = limit
        for key, _ in self._waiting.heads():
            while key in self._waiting and self._slots.acquire(key):
                self.leave(key)

    def pass_at_once(self, key: str) -> bool:
        """True if `key` is through, and has to leave again."""
        return key not in self._waiting and self._slots.acquire(key)

    async def wait(self, key: str) -> None:
        """Until `key` is through. Raises `ConcurrencyExceeded` when that takes too long, or too many wait already."""
        if len(self._waiting) >= _MOST_WAITING or self.max_wait_s <= 0:
            raise ConcurrencyExceeded(self._slots.limit_per_key, what=_WHAT)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put(key, turn)
        try:
            await until_turn(turn, self.max_wait_s, forget=lambda: self._waiting.remove(key, turn), leave=lambda: self.leave(key))
        except TimeoutError:
            raise ConcurrencyExceeded(self._slots.limit_per_key, what=_WHAT) from None

    def leave(self, key: str) -> None:
        """A call of `key` is over: its place goes to the next one, unless there are fewer by now."""
        while key in self._waiting and self._slots.held(key) <= self._slots.limit_per_key:
            turn = self._waiting.pop_of(key)
            if not turn.done():
                turn.set_result(None)
                return
        self._slots.release(key)
