"""What all tests share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
from hypothesis import HealthCheck, settings

from tests.fakes.loops import LeapingLoop

# How long an example takes, or the making of one, says something about the machine and its neighbours, not about the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """`leaps` marks tests whose time is that of a `LeapingLoop`."""
    return {"loop": LeapingLoop if item.get_closest_marker("leaps") else asyncio.SelectorEventLoop}
