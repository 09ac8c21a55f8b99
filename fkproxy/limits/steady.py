"""A wall clock that is believed once it has gone on for a while without a step.

Floor 1. Pure.

What is taken away for its age does not come back, and a clock may be wrong by years: before it is synchronised, or when somebody has
mistyped. So whoever asks is told the time only if the wall clock has kept step with the monotonic one, at each time of asking, for
`steady_s` seconds; a host that slept has stepped, too.
"""

from __future__ import annotations

__all__ = ["SteadyClock"]

_STEP_S = 60.0
"""Between two readings; less makes nothing too old."""


class SteadyClock:
    """To be read from the start on, and again and again. By default the wait is less than an hour, for those who live for one."""

    __slots__ = ("_ahead_s", "_since_s", "_steady_s")

    def __init__(self, steady_s: float = 3000.0) -> None:
        self._steady_s = steady_s
        self._ahead_s: float | None = None
        self._since_s = 0.0

    def read(self, now_s: float, now: float) -> float | None:
        """`now_s` (unix seconds) if that can be believed, else None; `now` is monotonic seconds."""
        ahead_s = now_s - now
        if self._ahead_s is None or abs(ahead_s - self._ahead_s) > _STEP_S:
            self._since_s = now
        self._ahead_s = ahead_s
        return now_s if now - self._since_s >= self._steady_s else None
