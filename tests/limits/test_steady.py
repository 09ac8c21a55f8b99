"""A wall clock that is believed once it has gone on for a while without a step."""

from __future__ import annotations

import pytest

from fkproxy.limits.steady import SteadyClock

NOW_S = 1_800_000_000.0
YEARS_S = 3000 * 86400.0


def test_it_is_believed_when_it_has_kept_step_for_long_enough() -> None:
    clock = SteadyClock(3000.0)
    assert [clock.read(NOW_S + at, at) for at in (0.0, 600.0, 2999.0)] == [None, None, None]
    assert [clock.read(NOW_S + at, at) for at in (3000.0, 3600.0)] == [NOW_S + 3000, NOW_S + 3600]


@pytest.mark.parametrize("step_s", [YEARS_S, -YEARS_S, 61.0, -61.0])
def test_after_a_step_it_has_to_be_waited_for_again(step_s: float) -> None:
    clock = SteadyClock(3000.0)
    clock.read(NOW_S, 0.0)
    assert clock.read(NOW_S + 5000, 5000.0) == NOW_S + 5000
    assert clock.read(NOW_S + 5600 + step_s, 5600.0) is None
    assert clock.read(NOW_S + 6200, 6200.0) is None, "the way back is a step as well"
    assert clock.read(NOW_S + 9199, 9199.0) is None
    assert clock.read(NOW_S + 9200, 9200.0) == NOW_S + 9200


def test_a_clock_that_drifts_keeps_step() -> None:
    clock = SteadyClock(3000.0)
    assert [clock.read(NOW_S + at * 1.01, float(at)) is not None for at in range(0, 6000, 600)] == [False] * 5 + [True] * 5
