"""Tokens a minute: taken by estimate before a call, put right after it.

Floor 1. Pure.

A bucket of `per_minute` tokens that refills continuously. A call reserves what it may use, so that many at once cannot pass the limit
together; afterwards the difference to what it did use is given back, or owed. A call that may use more than a whole minute's worth
passes when the bucket is full: refused, it would never pass.
"""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["TokenMeter", "TokenMeters"]


class TokenMeter:
    """One bucket. `now` is monotonic seconds; a clock that steps back refills nothing and costs nothing."""

    __slots__ = ("_at_s", "_level", "_per_s", "per_minute")

    def __init__(self, per_minute: int) -> None:
        if per_minute < 1:
            raise ValueError(f"a limit of tokens must be at least 1, not {per_minute}")
        self.per_minute = per_minute
        self._per_s = per_minute / 60.0
        self._level = float(per_minute)
        self._at_s = float("inf")

    def wait_s(self, tokens: int, now: float) -> float:
        """Seconds until a call for so many tokens may pass; 0.0 now."""
        if now > self._at_s:
            level = self._level + (now - self._at_s) * self._per_s
            self._level = level if level < self.per_minute else float(self.per_minute)
        self._at_s = now
        missing = (tokens if tokens < self.per_minute else self.per_minute) - self._level
        return missing / self._per_s if missing > 1e-6 else 0.0

    def reserve(self, tokens: int, now: float) -> float:
        """As `wait_s`; when it is 0.0 the tokens are taken."""
        wait_s = self.wait_s(tokens, now)
        if wait_s == 0.0:
            self._level -= tokens
        return wait_s

    def take(self, tokens: int) -> None:
        """Take tokens for which `wait_s` has just said 0.0."""
        self._level -= tokens

    def settle(self, reserved: int, used: int | None) -> None:
        """The call is over. `used` None: nobody knows, so the estimate stands."""
        if used is not None:
            level = self._level + reserved - used
            self._level = level if level < self.per_minute else float(self.per_minute)


class TokenMeters:
    """A meter for each key, all alike; the least recently used go first above `max_entries`."""

    __slots__ = ("_max_entries", "_meters", "_per_minute")

    def __init__(self, per_minute: int, max_entries: int = 10_000) -> None:
        TokenMeter(per_minute)
        self._per_minute = per_minute
        self._max_entries = max_entries
        self._meters: OrderedDict[str, TokenMeter] = OrderedDict()

    def of(self, key: str) -> TokenMeter:
        """The key's meter."""
        meter = self._meters.get(key)
        if meter is None:
            if len(self._meters) >= self._max_entries:
                self._meters.popitem(last=False)
            meter = self._meters[key] = TokenMeter(self._per_minute)
        else:
            self._meters.move_to_end(key)
        return meter
