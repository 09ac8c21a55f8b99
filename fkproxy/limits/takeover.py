"""A model that steps back for another while too many of its calls fail, and comes back by itself.

Floor 1. Pure.

Over the last `window_s` seconds: once `min_calls` calls were made and the share of failed ones is above `error_ratio`, the other model
takes over. While it has, one call every `probe_s` still goes to the model itself (with the other one behind it, so that no client
pays for the question); `successes` of those in a row give it back, with a clean window. Calls that began before the last change say
nothing about the time after it: many slow ones under way would otherwise give the model back at once.
"""

from __future__ import annotations

from fkproxy.limits.forward import ForwardClock

__all__ = ["Takeover"]

_SLICES = 10


class Takeover:
    """One model's. `now` is monotonic seconds."""

    __slots__ = (
        "_at",
        "_calls",
        "_changed_s",
        "_clock",
        "_error_ratio",
        "_failed",
        "_min_calls",
        "_probe_s",
        "_probed_s",
        "_slice_s",
        "_streak",
        "_successes",
        "active",
    )

    def __init__(
        self, *, error_ratio: float, window_s: float = 600.0, min_calls: int = 20, probe_s: float = 30.0, successes: int = 3
    ) -> None:
        self._error_ratio = error_ratio
        self._slice_s = window_s / _SLICES
        self._min_calls = min_calls
        self._probe_s = probe_s
        self._successes = successes
        self._clock = ForwardClock()
        self._calls = [0] * _SLICES
        self._failed = [0] * _SLICES
        self._at = 0
        self._probed_s = 0.0
        self._streak = 0
        self._changed_s = float("-inf")
        self.active = False

    def steps_back(self, now: float) -> bool:
        """True if this call goes to the other model first."""
        if not self.active:
            return False
        clock_s = self._clock.read(now)
        if clock_s - self._probed_s < self._probe_s:
            return True
        self._probed_s = clock_s
        return False

    def report(self, failed: bool, now: float, lasted_s: float = 0.0) -> bool:
        """How a call at the model itself ended, `lasted_s` after it began; True if that changed who serves."""
        clock_s = self._clock.read(now)
        if clock_s - lasted_s < self._changed_s:
            return False
        if self.active:
            self._streak = 0 if failed else self._streak + 1
            if self._streak < self._successes:
                return False
            self.active, self._changed_s = False, clock_s
            self._calls, self._failed = [0] * _SLICES, [0] * _SLICES
            return True
        self._turn(int(clock_s / self._slice_s))
        here = self._at % _SLICES
        self._calls[here] += 1
        self._failed[here] += failed
        if not failed or sum(self._calls) < self._min_calls or self.error_ratio <= self._error_ratio:
            return False
        self.active, self._streak, self._probed_s, self._changed_s = True, 0, clock_s, clock_s
        return True

    @property
    def error_ratio(self) -> float:
        """Of the calls in the window; 0.0 without any."""
        calls = sum(self._calls)
        return sum(self._failed) / calls if calls else 0.0

    def _turn(self, at: int) -> None:
        for passed in range(self._at + 1, min(at, self._at + _SLICES) + 1):
            self._calls[passed % _SLICES] = self._failed[passed % _SLICES] = 0
        self._at = max(at, self._at)
