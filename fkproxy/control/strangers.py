"""Who stands at an administrator's door with a wrong key, as the audit log remembers it. Floor 3."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from fkproxy.control.ledger import By, Ledger
from fkproxy.limits.bucket import TokenBucket
from fkproxy.storage.values import Actor

__all__ = ["Heard", "Strangers", "Told"]

Told = Literal["refuse", "slow_down"]
"""The first wrong key of a peer, and the first that it has to wait for; all others are in the access log and the metrics only."""

Heard = Callable[[str | None, Told], None]
"""Takes a network, None for an unknown one, and what happened to somebody in it."""

_AT_ONCE = 20
_PER_SECOND = 1 / 300
"""The audit log is kept for ever: whoever has many addresses adds some 300 entries a day to it, and no more."""


class Strangers:
    """A `Heard`, for all doors of a process. `now`: monotonic seconds."""

    def __init__(self, ledger: Ledger, now: Callable[[], float] = time.monotonic) -> None:
        self._ledger = ledger
        self._now = now
        self._entries = TokenBucket(_AT_ONCE, _PER_SECOND, now())

    def __call__(self, network: str | None, told: Told) -> None:
        """Leave an entry, unless there were too many."""
        if self._entries.take(self._now()).allowed:
            self._ledger.leave(By(actor=Actor(kind="system", peer=network)), f"admin.{told}", "admin", outcome="refused")
