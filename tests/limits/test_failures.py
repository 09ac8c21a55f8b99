"""Guessing keys gets slower and slower, for whoever guesses and nobody else."""

from __future__ import annotations

from fkproxy.limits.failures import FailedAttempts


def fail(attempts: FailedAttempts, times: int, now: float = 1000.0, peer: str = "a", longest_s: float | None = None) -> float:
    for _ in range(times):
        attempts.failed(peer, now, longest_s)
    return attempts.wait_s(peer, now)


def test_a_few_mistakes_cost_nothing() -> None:
    assert fail(FailedAttempts(), 5) == 0.0


def test_then_each_one_costs_twice_as_much_up_to_the_longest_wait() -> None:
    assert [fail(FailedAttempts(), times) for times in (6, 7, 8, 12, 17, 100)] == [1.0, 2.0, 4.0, 64.0, 1800.0, 1800.0]


def test_others_do_not_wait() -> None:
    attempts = FailedAttempts()
    fail(attempts, 20)
    assert attempts.wait_s("b", 1000.0) == 0.0


def test_the_wait_passes() -> None:
    attempts = FailedAttempts()
    fail(attempts, 8)
    assert (attempts.wait_s("a", 1003.0), attempts.wait_s("a", 1004.0)) == (1.0, 0.0)


def test_the_right_key_wipes_the_slate() -> None:
    attempts = FailedAttempts()
    fail(attempts, 8)
    attempts.succeeded("a")
    assert (attempts.wait_s("a", 1000.0), fail(attempts, 1), len(attempts)) == (0.0, 0.0, 1)


def test_so_does_a_long_time_without_a_try() -> None:
    attempts = FailedAttempts()
    fail(attempts, 8)
    assert fail(attempts, 1, now=1000.0 + 4.0 + 1800.5) == 0.0


def test_a_peer_may_have_a_shorter_longest_wait() -> None:
    assert fail(FailedAttempts(), 100, longest_s=1.0) == 1.0


def test_memory_has_a_bound() -> None:
    attempts = FailedAttempts()
    for number in range(10_000):
        attempts.failed(str(number), 1000.0)
    assert len(attempts) == 4096
