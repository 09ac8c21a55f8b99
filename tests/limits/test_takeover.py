"""Another model stands in, and steps back."""

from __future__ import annotations

from fkproxy.limits.takeover import Takeover


def test_it_needs_enough_calls_and_a_share_above_the_threshold() -> None:
    takeover = Takeover(error_ratio=0.5, min_calls=4)
    assert not any(takeover.report(True, 0.0) for _ in range(3))
    assert takeover.report(True, 0.0)
    assert takeover.active
    half = Takeover(error_ratio=0.5, min_calls=4)
    for failed in (False, True) * 10:
        half.report(failed, 0.0)
    assert not half.active, "half is not more than half"


def test_old_calls_do_not_count() -> None:
    takeover = Takeover(error_ratio=0.5, window_s=100.0, min_calls=4)
    for _ in range(3):
        takeover.report(True, 0.0)
    takeover.report(False, 95.0)
    assert takeover.error_ratio == 0.75
    assert not takeover.report(True, 250.0)
    assert takeover.error_ratio == 1.0
    assert not takeover.active, "one call in the window"


def test_while_it_stands_in_one_call_in_a_while_asks_and_good_answers_give_it_back() -> None:
    takeover = Takeover(error_ratio=0.1, min_calls=1, probe_s=30.0, successes=2)
    assert not takeover.steps_back(0.0)
    assert takeover.report(True, 0.0)
    assert [takeover.steps_back(at) for at in (1.0, 29.0, 30.0, 31.0, 60.0)] == [True, True, False, True, False]
    assert not takeover.report(False, 60.0)
    assert not takeover.report(True, 61.0), "a failure begins the count again"
    assert not takeover.report(False, 90.0)
    assert takeover.report(False, 120.0)
    assert not takeover.active
    assert takeover.error_ratio == 0.0
    assert not takeover.steps_back(120.0)


def test_calls_that_began_before_a_change_say_nothing_about_the_time_after_it() -> None:
    takeover = Takeover(error_ratio=0.05, min_calls=2, probe_s=30.0, successes=2)
    takeover.report(False, 100.0, 20.0)
    takeover.report(True, 101.0, 20.0)
    assert takeover.active
    for _ in range(5):
        assert not takeover.report(False, 105.0, 10.0), "slow ones from before"
    assert takeover.active
    takeover.report(False, 140.0, 1.0)
    assert takeover.report(False, 180.0, 1.0)
    for _ in range(5):
        takeover.report(True, 181.0, 60.0)
    assert not takeover.active
