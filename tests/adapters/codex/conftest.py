"""Both event loops, and nothing that is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from tests.adapters.codex.playing import Clock, pipes, until


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test runs on both."""
    return {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def tidy() -> AsyncIterator[None]:
    """No task and no descriptor is left of what a test did and ended."""
    before = pipes()
    yield
    await until(lambda: len(asyncio.all_tasks()) == 1)
    await until(lambda: pipes() <= before)


@pytest.fixture
def clock() -> Clock:
    return Clock()
