"""A clock that only goes forward, made of the forward steps of another.

Floor 1. Pure.

A clock that steps back stops it for no longer than until the next reading, so that no step can freeze what waits for a time to come,
or stretch it.
"""

from __future__ import annotations

__all__ = ["ForwardClock"]


class ForwardClock:
    """Seconds since the first reading."""

    __slots__ = ("_seen_s", "now_s")

    def __init__(self) -> None:
        self.now_s = 0.0
        self._seen_s: float | None = None

    def read(self, now: float) -> float:
        """The seconds so far; `now` is the other clock's."""
        if self._seen_s is not None and now > self._seen_s:
            self.now_s += now - self._seen_s
        self._seen_s = now
        return self.now_s
