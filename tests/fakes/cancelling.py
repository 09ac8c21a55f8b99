"""Work that is cancelled wherever it can be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from functools import partial
from typing import Any

__all__ = ["cancelled_at_each_wait"]


async def cancelled_at_each_wait(make: Callable[[], Awaitable[Any]], times: int = 1) -> AsyncIterator[None]:
    """Does what `make` gives again and again, cancelled at its first wait, at its second one, and so on until it comes through.

    Both as it begins to wait, and when what it waits for has come and it has not gone on yet. `times`: it is cancelled at so many waits in
    a row. What is left of it is to be looked at after each.
    """
    for late in (False, True):
        first, over = 0, False
        while not over:
            work = _Cancelled(make(), range(first, first + times), late)
            task = asyncio.ensure_future(_awaited(work))
            await asyncio.wait((task,))
            over = work.waits <= first
            if over or not task.cancelled():
                # What nobody cancelled comes through, and what was cancelled does not fail.
                task.result()
            yield
            first += 1


async def _awaited(work: Awaitable[Any]) -> Any:
    return await work


class _Cancelled:
    """Awaits `work`, and cancels its own task at those of its waits. `waits`: how many there were."""

    def __init__(self, work: Awaitable[Any], at: range, late: bool) -> None:
        self.waits = 0
        self._work = work
        self._at = at
        self._late = late

    def __await__(self) -> Generator[Any, Any, Any]:
        task = asyncio.current_task()
        assert task is not None
        steps = self._work.__await__()
        step: Callable[[], Any] = partial(next, steps)
        while True:
            try:
                awaited = step()
            except StopIteration as end:
                return end.value
            if self.waits in self._at:
                if self._late and awaited is not None:
                    # Called before the task's own.
                    awaited.add_done_callback(lambda _: task.cancel())
                else:
                    task.cancel()
            self.waits += 1
            try:
                yield awaited
            except BaseException as error:  # noqa: BLE001 - it is the work's to take
                step = partial(steps.throw, error)
            else:
                step = partial(next, steps)
