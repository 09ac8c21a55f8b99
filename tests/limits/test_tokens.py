"""Tokens a minute."""

from __future__ import annotations

import pytest

from fkproxy.limits.tokens import TokenMeter, TokenMeters


def test_calls_together_cannot_pass_the_limit() -> None:
    meter = TokenMeter(600)
    assert [meter.reserve(200, 0.0) for _ in range(4)] == [0.0, 0.0, 0.0, pytest.approx(20.0)]
    assert meter.reserve(200, 19.9) > 0
    assert meter.reserve(200, 20.0) == 0.0


def test_what_was_not_used_comes_back_and_what_was_used_besides_is_owed() -> None:
    meter = TokenMeter(600)
    meter.reserve(600, 0.0)
    meter.settle(600, 100)
    assert meter.reserve(500, 0.0) == 0.0
    meter.settle(500, 800)
    assert meter.wait_s(60, 0.0) == pytest.approx(36.0)
    meter.settle(100, None)
    assert meter.wait_s(60, 0.0) == pytest.approx(36.0), "an unknown use leaves the estimate"
    assert meter.wait_s(600, 0.0) == pytest.approx(90.0)
    assert meter.wait_s(600, 90.0) == 0.0


def test_a_call_larger_than_a_minutes_worth_passes_when_the_bucket_is_full() -> None:
    meter = TokenMeter(60)
    assert meter.reserve(1000, 0.0) == 0.0
    assert meter.reserve(1, 0.0) == pytest.approx(941.0)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        TokenMeters(0)


def test_each_key_has_its_own_and_there_are_not_too_many() -> None:
    meters = TokenMeters(60, max_entries=2)
    meters.of("a").reserve(60, 0.0)
    assert meters.of("b").reserve(60, 0.0) == 0.0
    assert meters.of("a").reserve(60, 0.0) > 0
    meters.of("c")
    assert meters.of("a").reserve(60, 0.0) > 0, "the least recently used went"
    assert len(meters._meters) == 2
