"""An outage is not multiplied, and failing over costs nothing."""

from __future__ import annotations

from fkproxy.limits.retry_budget import RetryBudget


def test_failing_over_to_an_upstream_that_works_never_runs_out() -> None:
    budget = RetryBudget(10, per_s=0.001)
    for _ in range(1000):
        assert budget.take(0.0)
        budget.give_back()
    assert budget.left == 10


def test_where_nothing_works_calls_soon_have_one_attempt() -> None:
    budget = RetryBudget(10, per_s=1.0)
    assert sum(budget.take(0.0) for _ in range(100)) == 10
    assert budget.left == 0
    assert sum(budget.take(3.0) for _ in range(100)) == 3, "one comes back every second"
    for _ in range(10):
        budget.succeeded()
    assert budget.take(3.0)
    assert sum(budget.take(1e6) for _ in range(100)) == 10, "never more than there were"


def test_none_at_all() -> None:
    budget = RetryBudget(0)
    assert not budget.take(0.0)
    budget.succeeded()
    assert not budget.take(1e6)


def test_a_clock_that_steps_back_gives_nothing_away() -> None:
    budget = RetryBudget(1, per_s=1.0)
    assert budget.take(100.0)
    assert not budget.take(50.0)
    assert not budget.take(50.5)
    assert budget.take(51.1)


def test_another_capacity_leaves_missing_what_is_missing() -> None:
    budget = RetryBudget(10, per_s=0.0)
    for _ in range(4):
        assert budget.take(0.0)
    budget.tune(20)
    assert budget.left == 16
    budget.tune(2)
    assert budget.left == 0
