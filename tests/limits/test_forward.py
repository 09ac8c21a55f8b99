"""A clock that only goes forward."""

from __future__ import annotations

from fkproxy.limits.forward import ForwardClock


def test_steps_back_stand_still_and_steps_forward_count() -> None:
    clock = ForwardClock()
    assert [clock.read(at) for at in (1000.0, 1001.5, 3.0, 4.0, 4.0, 1e9)] == [0.0, 1.5, 1.5, 2.5, 2.5, 1e9 - 4 + 2.5]
