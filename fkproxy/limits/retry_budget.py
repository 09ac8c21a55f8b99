"""How many further attempts all calls together may have under way or have lost: an outage must not be multiplied by retries.

Floor 1. Pure.

Every attempt after a call's first takes a token. One that succeeds gives it back with its first content, so failing over to an
upstream that works costs nothing, however long its replies last; one that fails does not, so where nothing works calls soon have one
attempt each. One that comes to nothing without failing (the client left) gives it back, too. Tokens come back with time, and a little
with every success. (The idea is that of the AWS SDKs' standard retry mode: docs.aws.amazon.com/sdkref, "Retry behavior".)
"""

from __future__ import annotations

from fkproxy.limits.forward import ForwardClock

__all__ = ["RetryBudget"]

_PER_SUCCESS = 0.1
_ROUNDING = 1e-6


class RetryBudget:
    """`capacity` tokens at the start and at most; 0 is no further attempts at all. `now` is monotonic seconds."""

    __slots__ = ("_clock", "_per_s", "_seen_s", "_tokens", "capacity")

    def __init__(self, capacity: int, per_s: float = 5.0) -> None:
        self.capacity = capacity
        self._per_s = per_s
        self._tokens = float(capacity)
        self._clock = ForwardClock()
        self._seen_s = 0.0

    def tune(self, capacity: int) -> None:
        """Another capacity; what is missing stays missing."""
        self._tokens = max(0.0, self._tokens + capacity - self.capacity)
        self.capacity = capacity

    def take(self, now: float) -> bool:
        """Leave for one further attempt."""
        clock_s = self._clock.read(now)
        self._add((clock_s - self._seen_s) * self._per_s)
        self._seen_s = clock_s
        if self._tokens < 1.0 - _ROUNDING:
            return False
        self._tokens -= 1.0
        return True

    def succeeded(self) -> None:
        """A call's first attempt succeeded, which has taken no token."""
        if self._tokens < self.capacity:
            self._add(_PER_SUCCESS)

    def give_back(self) -> None:
        """What a token was taken for succeeded, or came to nothing without failing."""
        self._add(1.0)

    @property
    def left(self) -> int:
        """Whole tokens at the last look."""
        return int(self._tokens + _ROUNDING)

    def _add(self, tokens: float) -> None:
        self._tokens = min(float(self.capacity), self._tokens + tokens)
