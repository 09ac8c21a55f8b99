"""Counting calls."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkproxy.telemetry.tally import Histogram, Tally, Uncounted, outcome_of, percentile
from tests.telemetry.records import record


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "ok"),
        ({"status": 400, "error_code": "invalid_request"}, "client_error"),
        ({"status": 404, "error_code": "model_not_found"}, "client_error"),
        ({"status": 429, "error_code": "rate_limit_exceeded"}, "limited"),
        ({"status": 429, "error_code": "concurrency_exceeded"}, "limited"),
        ({"status": 429, "error_code": "token_budget_exceeded"}, "limited"),
        ({"status": 429, "error_code": "spend_budget_exceeded"}, "limited"),
        ({"status": 429, "error_code": "upstream_rate_limited"}, "failed"),
        ({"status": 403, "error_code": "key_paused"}, "client_error"),
        ({"status": 200, "error_code": "key_revoked"}, "client_error"),
        ({"status": 200, "error_code": "pool_inactive"}, "client_error"),
        ({"status": 502, "error_code": "bad_gateway"}, "failed"),
        ({"status": 200, "error_code": "timeout"}, "failed"),
        ({"status": 499, "client_ended": True}, "client_ended"),
        ({"status": 200, "client_ended": True}, "client_ended"),
    ],
)
def test_how_a_call_ended(fields: dict[str, Any], expected: str) -> None:
    assert outcome_of(record(**fields)) == expected


@given(st.lists(st.floats(0, 100), min_size=1, max_size=200), st.integers(1, 100))
def test_a_percentile_has_so_many_values_below_it(values: list[float], percent: int) -> None:
    found = percentile(sorted(values), percent)
    assert found in values
    assert sum(1 for value in values if value <= found) * 100 >= percent * len(values)
    assert sum(1 for value in values if value < found) * 100 < percent * len(values)


@given(st.lists(st.lists(st.floats(0, 20) | st.sampled_from([0.5, 1.0, 5.0]), max_size=100), max_size=3))
def test_a_histogram_counts_as_one_would_by_hand(batches: list[list[float]]) -> None:
    bounds = (0.5, 1.0, 5.0)
    histogram = Histogram(bounds)
    for batch in batches:
        for value in batch:
            histogram.observe(value)
        histogram.settle()
    values = [value for batch in batches for value in batch]
    expected = [(bound, sum(1 for value in values if value <= bound)) for bound in (*bounds, float("inf"))]
    assert histogram.cumulative(bounds) == expected
    assert histogram.total == pytest.approx(sum(values))


def test_a_histogram_is_up_to_date_for_who_looks_and_keeps_few_values_otherwise() -> None:
    tally = Tally()
    for number in range(1, 1000):
        tally.add(record(duration_ms=1.0))
        if number < 200 and number % 50 == 0:
            [series] = tally.series
            assert sum(series.duration_s.counts) == sum(series.overhead_s.counts) == number
    assert len(series.duration_s._observed) <= 64


def test_only_the_last_thousand_latencies_count() -> None:
    tally = Tally()
    for _ in range(1000):
        tally.add(record(duration_ms=1000.0))
    for _ in range(1000):
        tally.add(record(duration_ms=1.0))
    assert set(tally.durations_ms) == {1.0}


def test_what_is_refused_at_the_door_does_not_hide_how_slow_the_rest_is() -> None:
    tally = Tally()
    tally.add(record())
    for _ in range(50):
        tally.add(record(status=401, error_code="invalid_api_key", provider_key=None, model_id=None, duration_ms=0.1))
    assert list(tally.durations_ms) == [50.0]


def test_every_record_is_counted_once_and_not_many_wait() -> None:
    counted: list[str] = []
    uncounted = Uncounted(lambda each: counted.append(each.request_id))
    for number in range(200):
        uncounted.add(record(request_id=str(number)))
        assert number - len(counted) < 64
    uncounted.settle()
    uncounted.settle()
    assert counted == [str(number) for number in range(200)]


def test_few_calls_are_counted_before_they_are_many() -> None:
    batches: list[int] = []
    uncounted = Uncounted(lambda _: batches.append(1))
    for number in range(60):
        # 200 calls a second, then 20.
        seen = len(batches)
        uncounted.add(record(started_s=number / 200 if number < 40 else number / 20))
        assert len(batches) - seen <= 6
    assert len(batches) >= 54
