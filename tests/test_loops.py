"""The loops that tests run on."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.fakes import loops
from tests.fakes.loops import LeapingLoop


def test_who_waits_for_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "_HANGS_AFTER_S", 0.0)
    with asyncio.Runner(loop_factory=LeapingLoop) as runner, pytest.raises(RuntimeError, match="never end"):
        runner.run(asyncio.Event().wait())


def test_who_waits_for_a_thread_is_not() -> None:
    async def wait() -> None:
        loop, told = asyncio.get_running_loop(), asyncio.Event()
        thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(told.set))
        thread.start()
        await told.wait()
        thread.join()

    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        runner.run(wait())
