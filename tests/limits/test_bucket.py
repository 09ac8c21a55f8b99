"""Token buckets on a fake clock."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fkproxy.limits.bucket import Buckets, TokenBucket


def drain(buckets: Buckets, key: str, now: float) -> int:
    """Requests that pass before the first refusal."""
    passed = 0
    while buckets.take(key, now).allowed:
        passed += 1
    return passed


def test_a_new_key_may_send_its_whole_capacity_at_once_and_no_more() -> None:
    assert drain(Buckets(7, 1.0), "a", 100.0) == 7


def test_keys_do_not_share_tokens() -> None:
    buckets = Buckets(3, 1.0)
    drain(buckets, "a", 0.0)
    assert buckets.take("b", 0.0).allowed


def test_the_verdict_counts_down_and_says_when_the_bucket_is_full() -> None:
    bucket = TokenBucket(4, 2.0, 50.0)
    seen = [bucket.take(50.0) for _ in range(5)]
    assert [(v.allowed, v.limit, v.remaining, v.reset_after_s, v.retry_after_s) for v in seen] == [
        (True, 4, 3, 0.5, 0.0),
        (True, 4, 2, 1.0, 0.0),
        (True, 4, 1, 1.5, 0.0),
        (True, 4, 0, 2.0, 0.0),
        (False, 4, 0, 2.0, 0.5),
    ]


def test_a_refused_request_costs_nothing() -> None:
    bucket = TokenBucket(1, 1.0, 0.0)
    bucket.take(0.0)
    assert [bucket.take(0.5).retry_after_s for _ in range(3)] == [0.5, 0.5, 0.5]


def test_refill_keeps_fractions() -> None:
    bucket = TokenBucket(2, 0.3, 0.0)
    bucket.take(0.0)
    bucket.take(0.0)
    assert [bucket.take(float(second)).allowed for second in range(1, 8)] == [False, False, False, True, False, False, True]


@pytest.mark.parametrize("rate", [0.001, 0.3, 1.0, 7.0, 333.3])
@pytest.mark.parametrize("start", [0.0, 12_345.678, 9_000_000.123])
def test_waiting_exactly_retry_after_is_enough(rate: float, start: float) -> None:
    bucket, now = TokenBucket(2, rate, start), start
    bucket.take(now)
    bucket.take(now)
    for _ in range(20):
        now += bucket.take(now).retry_after_s
        assert bucket.take(now).allowed


def test_a_clock_that_steps_back_gives_nothing_and_takes_nothing() -> None:
    bucket = TokenBucket(2, 1.0, 1000.0)
    bucket.take(1000.0)
    bucket.take(1000.0)
    refused = bucket.take(10.0)
    assert (refused.allowed, refused.retry_after_s) == (False, 1.0)
    assert bucket.take(11.0).allowed


@pytest.mark.parametrize(("capacity", "rate", "entries"), [(0, 1.0, 10), (1, 0.0, 10), (1, -1.0, 10), (1, 1.0, 0)])
def test_limits_that_would_lock_everyone_out_are_refused(capacity: int, rate: float, entries: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        Buckets(capacity, rate, entries)


def test_memory_is_bounded_by_max_entries() -> None:
    buckets = Buckets(5, 1.0, max_entries=50)
    for number in range(5_000):
        buckets.take(f"key-{number}", number * 1e-6)
        assert len(buckets) <= 50


def test_full_buckets_are_forgotten_before_spent_ones_used_longer_ago() -> None:
    buckets = Buckets(10, 1.0, max_entries=3)
    drain(buckets, "spent", 0.0)
    buckets.take("light-1", 0.0)
    buckets.take("light-2", 0.0)
    buckets.take("new", 2.0)
    assert not [buckets.take("spent", 2.0).allowed for _ in range(3)][-1]
    assert len(buckets) == 2


@pytest.mark.parametrize("requests_per_key", [1, 5, 9])
def test_rotating_keys_do_not_reset_a_spent_bucket(requests_per_key: int) -> None:
    buckets = Buckets(10, 0.001, max_entries=100)
    drain(buckets, "abuser", 0.0)
    for number in range(1_000):
        for _ in range(requests_per_key):
            buckets.take(f"rotated-{number}", 0.0)
    assert not buckets.take("abuser", 0.0).allowed


class Reference:
    """Exact arithmetic, no eviction."""

    def __init__(self, capacity: int, rate: Fraction, now: Fraction) -> None:
        self.capacity, self.rate, self.tokens, self.at = capacity, rate, Fraction(capacity), now

    def take(self, now: Fraction) -> bool:
        self.tokens = min(Fraction(self.capacity), self.tokens + max(Fraction(0), now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class BucketMachine(RuleBasedStateMachine):
    """Times are multiples of 1/64 s and rates of 1/8, which floats hold exactly: the model and the bucket must agree on every request."""

    @initialize(capacity=st.integers(1, 6), eighths=st.integers(1, 32))
    def start(self, capacity: int, eighths: int) -> None:
        self.rate = Fraction(eighths, 8)
        self.capacity = capacity
        self.buckets = Buckets(capacity, float(self.rate), max_entries=64)
        self.now = Fraction(1000)
        self.models: dict[str, Reference] = {}

    @rule(ticks=st.integers(-640, 640))
    def clock_moves(self, ticks: int) -> None:
        self.now += Fraction(ticks, 64)

    @rule(key=st.sampled_from("abc"))
    def take(self, key: str) -> None:
        model = self.models.setdefault(key, Reference(self.capacity, self.rate, self.now))
        expected = model.take(self.now)
        verdict = self.buckets.take(key, float(self.now))
        assert verdict.allowed == expected
        assert verdict.remaining == math.floor(model.tokens)
        assert verdict.reset_after_s == pytest.approx(float((self.capacity - model.tokens) / self.rate))
        assert verdict.retry_after_s == (0.0 if expected else pytest.approx(float((1 - model.tokens) / self.rate)))

    @invariant()
    def no_more_entries_than_keys(self) -> None:
        if hasattr(self, "buckets"):
            assert len(self.buckets) == len(self.models)


TestBucketAgreesWithTheModel = BucketMachine.TestCase
TestBucketAgreesWithTheModel.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
