"""What holds for every call follows from the settings, and a change gives nobody a fresh limit."""

from __future__ import annotations

import pytest

from fkproxy.gateway import CallPolicies
from fkproxy.policies import Policies
from fkproxy.settings import load


def of(policies: Policies, **settings: str) -> CallPolicies:
    return policies.of(load(environ=settings).settings)


def test_a_limit_that_stays_the_same_goes_on_counting() -> None:
    policies = Policies()
    limits = {"APP_RATE_LIMIT__TOKENS_PER_MINUTE": "100", "APP_CONCURRENCY__MAX_CALLS_PER_KEY": "2"}
    before = of(policies, **limits)
    after = of(policies, **limits, APP_TIMEOUT__SILENCE_SECS="7")
    for name in ("buckets", "meters", "turnstile", "intake"):
        assert after[name] is before[name] is not None  # type: ignore[literal-required]  # names of the fields
    assert after["timeouts"].silence_s == 7.0


@pytest.mark.parametrize(
    ("name", "setting", "first", "second"),
    [
        ("buckets", "APP_RATE_LIMIT__CAPACITY", "5", "6"),
        ("buckets", "APP_RATE_LIMIT__REFILL_PER_SECOND", "5", "6"),
        ("meters", "APP_RATE_LIMIT__TOKENS_PER_MINUTE", "5", "6"),
        ("turnstile", "APP_CONCURRENCY__MAX_CALLS_PER_KEY", "5", "6"),
        ("intake", "APP_CONCURRENCY__MAX_BODY_BYTES", "5000000", "6000000"),
    ],
)
def test_another_limit_counts_anew(name: str, setting: str, first: str, second: str) -> None:
    policies = Policies()
    before, after = of(policies, **{setting: first}), of(policies, **{setting: second})
    assert before[name] is not after[name]  # type: ignore[literal-required]  # names of the fields


def test_what_is_switched_off_is_none() -> None:
    policy = of(Policies(), APP_RATE_LIMIT__ENABLED="false")
    assert (policy["buckets"], policy["meters"], policy["turnstile"]) == (None, None, None)
