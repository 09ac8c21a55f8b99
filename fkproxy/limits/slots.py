"""Slots: how many things may be under way at once, in all and for one key.

Floor 1. Pure.
"""

from __future__ import annotations

__all__ = ["Slots"]


class Slots:
    """Counts what is under way. A limit of 0 is no limit. Only keys that hold a slot are remembered."""

    __slots__ = ("_held", "_total", "limit", "limit_per_key")

    def __init__(self, limit: int = 0, limit_per_key: int = 0) -> None:
        if limit < 0 or limit_per_key < 0:
            raise ValueError(f"a limit must be 0 (none) or more, not {min(limit, limit_per_key)}")
        self.limit = limit
        self.limit_per_key = limit_per_key
        self._total = 0
        self._held: dict[str, int] = {}

    @property
    def total(self) -> int:
        """Slots held by all keys."""
        return self._total

    @property
    def keys(self) -> int:
        """Keys that hold a slot."""
        return len(self._held)

    def held(self, key: str) -> int:
        """Slots held by `key`."""
        return self._held.get(key, 0)

    def acquire(self, key: str) -> bool:
        """True if `key` got a slot, which it must release; False if the total or the key is at its limit."""
        held = self._held.get(key, 0)
        if (self.limit and self._total >= self.limit) or (self.limit_per_key and held >= self.limit_per_key):
            return False
        self._held[key] = held + 1
        self._total += 1
        return True

    def release(self, key: str) -> None:
        """Give a slot back. A key that holds none changes nothing, so that a second release cannot lift the limit."""
        held = self._held.get(key, 0)
        if held == 0:
            return
        self._total -= 1
        if held == 1:
            del self._held[key]
        else:
            self._held[key] = held - 1
