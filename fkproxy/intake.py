"""Room for the bodies of requests: so many bytes of all calls together; the next ones wait, unread. Floor 3."""

from __future__ import annotations

import asyncio

from fkproxy.limits.fair_queue import FairQueue
from fkproxy.model.errors import ConcurrencyExceeded
from fkproxy.turns import until_turn

__all__ = ["FREE_BYTES", "Hold", "Intake"]

FREE_BYTES = 64 * 1024
"""Smaller bodies are not counted: as many as there are connections are less than a few large ones."""

_SHARE = 2
"""One key has at most this part of the room: others get in beside its bodies, whether they come or not."""

_WHAT = "bytes of request bodies are under way"


class Hold:
    """A call's room. What is given back twice was given back once."""

    __slots__ = ("_intake", "_key", "_size_bytes")

    def __init__(self, intake: Intake, key: str, size_bytes: int) -> None:
        self._intake = intake
        self._key = key
        self._size_bytes = size_bytes

    def shrink(self, size_bytes: int) -> None:
        """So much is needed after all, and no more."""
        if size_bytes <= FREE_BYTES:
            size_bytes = 0
        if size_bytes < self._size_bytes:
            freed_bytes, self._size_bytes = self._size_bytes - size_bytes, size_bytes
            self._intake.free(self._key, freed_bytes)

    def leave(self) -> None:
        """The body is not needed any more."""
        self.shrink(0)


class Intake:
    """`most_bytes` at once, a part of that for one key; who has nothing yet gets in however large it is: as soon as nothing else is there.

    Further ones wait for `max_wait_s` seconds at most, keys in turn. Who has to wait for others keeps those behind it waiting, or many
    small ones would keep it waiting for ever; who has to wait for its own key's does not.
    """

    def __init__(self, most_bytes: int, max_wait_s: float) -> None:
        self._most_bytes = most_bytes
        self._max_wait_s = max_wait_s
        self._held_bytes = 0
        self._by_key: dict[str, int] = {}
        self._waiting: FairQueue[tuple[int, asyncio.Future[None]]] = FairQueue()

    async def enter(self, key: str, size_bytes: int) -> Hold:
        """Room for so much. Raises `ConcurrencyExceeded` when that takes too long."""
        hold = Hold(self, key, size_bytes)
        if not self._waiting and self._fits_key(key, size_bytes) and self._fits(size_bytes):
            self._take(key, size_bytes)
            return hold
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (size_bytes, turn)
        self._waiting.put(key, place)
        self._let_in()
        try:
            await until_turn(turn, self._max_wait_s, forget=lambda: self._forget(key, place), leave=hold.leave)
        except TimeoutError:
            limit_bytes = self._most_bytes if self._fits_key(key, size_bytes) else self._most_bytes // _SHARE
            raise ConcurrencyExceeded(limit_bytes, what=_WHAT) from None
        return hold

    def free(self, key: str, size_bytes: int) -> None:
        """So much of what `key` has is not needed any more."""
        self._held_bytes -= size_bytes
        self._by_key[key] -= size_bytes
        if not self._by_key[key]:
            del self._by_key[key]
        self._let_in()

    def _fits_key(self, key: str, size_bytes: int) -> bool:
        held_bytes = self._by_key.get(key, 0)
        return not held_bytes or held_bytes + size_bytes <= self._most_bytes // _SHARE

    def _fits(self, size_bytes: int) -> bool:
        return not self._held_bytes or self._held_bytes + size_bytes <= self._most_bytes

    def _take(self, key: str, size_bytes: int) -> None:
        self._held_bytes += size_bytes
        self._by_key[key] = self._by_key.get(key, 0) + size_bytes

    def _let_in(self) -> None:
        """All who may, each key's first one in turn."""
        able = True
        while able:
            able = False
            for key, (size_bytes, turn) in self._waiting.heads():
                if not self._fits_key(key, size_bytes):
                    continue
                if not self._fits(size_bytes):
                    return
                able = True
                self._waiting.pop_of(key)
                if not turn.done():
                    self._take(key, size_bytes)
                    turn.set_result(None)

    def _forget(self, key: str, place: tuple[int, asyncio.Future[None]]) -> None:
        self._waiting.remove(key, place)
        self._let_in()
