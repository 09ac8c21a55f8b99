"""An event loop whose clock nobody has to wait for."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any

__all__ = ["LeapingLoop"]

_HANGS_AFTER_S = 20.0
"""Of real time, in which a thread may still call."""


class LeapingLoop(asyncio.SelectorEventLoop):
    """Its time stands still while anybody has anything to do, and leaps to the next timer when nobody has.

    What happens when, and in which order, is then a matter of the program alone, however slow the machine is; and no wait takes any time.
    Not for tests with sockets, processes or threads: nobody would wait for these, but where there is no timer, and there for a bound only.
    """

    def __init__(self) -> None:
        self._now_s = 1000.0
        super().__init__(_Leaps(self))

    def time(self) -> float:
        return self._now_s

    def leap(self, seconds: float) -> None:
        """So much later."""
        self._now_s += seconds


class _Leaps(selectors.DefaultSelector):
    def __init__(self, loop: LeapingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            found = super().select(_HANGS_AFTER_S)
            if not found:
                raise RuntimeError("nobody has anything to do, and there is no timer: this would never end")
            return found
        found = super().select(0)
        if not found:
            self._loop.leap(max(0.0, timeout))
        return found
