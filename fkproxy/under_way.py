"""Calls under way with keys of pools, and their end from outside. Floor 3.

A call lasts as long as its key would be let in: what is looked up is the very secret that it came with. It is ended by cancelling its task;
the pipeline tells the client (`gateway.py`).
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable

from fkproxy.access import KeyRing
from fkproxy.call import Call

__all__ = ["UnderWay"]

_LOOK_EVERY_S = 1.0


class UnderWay:
    """`now_s` gives unix seconds."""

    def __init__(self, keys: KeyRing, now_s: Callable[[], float]) -> None:
        self._keys = keys
        self._now_s = now_s
        self._looked_s = now_s()
        self.calls: dict[Call, asyncio.Task[object]] = {}
        """Each with the task that serves it; who puts one in takes it out."""

    def counts(self) -> Counter[str | None]:
        """How many there are, by the key's id."""
        return Counter(call.caller.key_id for call in self.calls)

    def end(self) -> None:
        """End those whose key would not be let in now."""
        now_s = self._looked_s = self._now_s()
        for call, task in self.calls.items():
            refusal = None if call.over or call.ended is not None else self._keys.ended(call.caller, now_s)
            if refusal is not None:
                call.ended = refusal
                task.cancel()

    def look(self) -> None:
        """The same, if a key has expired since the last look."""
        ends_s = self._keys.ends_s
        if ends_s and bisect_right(ends_s, self._now_s()) != bisect_right(ends_s, self._looked_s):
            self.end()

    async def watch(self) -> None:
        """Look once a second, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            self.look()
