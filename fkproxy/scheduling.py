"""Who waits for whom when the threads of this process share a processor. Floor 4.

Linux lets a thread that is woken run at once, instead of the one that woke it. The event loop wakes the server's thread for every reply,
and would stand aside for it each time, which is a fifth of a call's processor time. Under SCHED_BATCH (sched(7)) who is woken waits for its
turn. It waits for other programs, too, for milliseconds: so that is for as long as nobody else needs our processors.

Whether somebody does is told by our own threads: one that has waited for longer than all of us have run has waited for a stranger.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from pathlib import Path

__all__ = ["Scheduling"]

logger = logging.getLogger("fkproxy.scheduling")

_TASKS = Path("/proc/self/task")
_PATIENCE_S = 0.005
"""How much longer a thread may wait between two looks."""

_STAND_BACK_S = 60.0
"""How long the threads are woken as usual after they have waited for a stranger."""


class Scheduling:
    """Of all threads but the one that makes this, which is the event loop's. `look` is to be called a few times a second, by any thread."""

    def __init__(self, tasks: Path = _TASKS) -> None:
        self._tasks = tasks
        self._loop = str(os.getpid())
        self._waited_s: dict[str, float] = {}
        self._ran_s = 0.0
        self._usual_until_s = 0.0
        self._given_up = False

    def look(self) -> None:
        """See how long the threads have waited since the last look, and let them be woken as it befits. Never raises.

        Where the system does not tell, or does not let us choose, they are woken as usual.
        """
        if self._given_up:
            return
        try:
            waited_s = self._waits_s()
            now_s, ran_s = time.monotonic(), time.process_time()
            longest_s = max((all_s - self._waited_s.get(thread, all_s) for thread, all_s in waited_s.items()), default=0.0)
            if longest_s > ran_s - self._ran_s + _PATIENCE_S:
                self._usual_until_s = now_s + _STAND_BACK_S
            self._waited_s, self._ran_s = waited_s, ran_s
            policy = os.SCHED_OTHER if now_s < self._usual_until_s else os.SCHED_BATCH
            for thread in waited_s:
                _set(int(thread), policy)
        except (OSError, ValueError) as error:
            self._give_up(error)

    def _waits_s(self) -> dict[str, float]:
        """How long each thread has waited for a processor since it began. Raises `OSError` and `ValueError` where nobody tells."""
        if _figures(self._tasks / self._loop)[0] == 0:
            raise ValueError("the kernel does not count")
        found = {}
        for task in self._tasks.iterdir():
            if task.name == self._loop:
                continue
            try:
                found[task.name] = _figures(task)[1] / 1e9
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended
        return found

    def _give_up(self, error: Exception) -> None:
        self._given_up = True
        for thread in self._waited_s:
            with contextlib.suppress(OSError):
                _set(int(thread), os.SCHED_OTHER)
        logger.info("the threads are woken as usual: %s", error)


def _figures(task: Path) -> tuple[int, int]:
    """(nanoseconds that it ran, that it waited for a processor), as schedstat has them (proc(5)); both 0 where nobody counts."""
    ran, waited, _ = map(int, (task / "schedstat").read_text().split())
    return ran, waited


def _set(thread: int, policy: int) -> None:
    try:
        if os.sched_getscheduler(thread) != policy:
            os.sched_setscheduler(thread, policy, os.sched_param(0))
    except ProcessLookupError:
        return
