"""How providers have served of late."""

from __future__ import annotations

from typing import Any

import pytest

from fkproxy.telemetry.provider_stats import ProviderStats
from fkproxy.telemetry.record import Attempt
from tests.telemetry.records import record

START = 1_800_000_000.0


def attempt(outcome: str = "ok", status: int = 200, provider: str = "p", credential: str = "", **fields: Any) -> Attempt:
    return Attempt(provider_key=provider, credential=credential, model_id="m", outcome=outcome, status=status, **fields)


def test_a_provider_without_traffic_has_no_errors() -> None:
    figures = ProviderStats().of("p", START)
    assert (figures["request_count"], figures["success_rate"], figures["error_rate"], figures["last_seen"]) == (0, 1.0, 0.0, None)


def test_attempts_count_by_outcome_and_status_for_each_credential() -> None:
    stats = ProviderStats()
    failed = attempt("upstream_rate_limited", 429, credential="a", duration_ms=5.0)
    served = attempt(credential="b", duration_ms=100.0, ttft_ms=30.0)
    stats.observe(record(started_s=START, duration_ms=1000.0, tries=(failed, served)))
    stats.observe(record(started_s=START, tries=(attempt("upstream_rejected", 400, credential="b"),), usage=None))
    stats.observe(record(started_s=START, tries=(attempt(credential="b"),), usage=None))
    stats.observe(record(started_s=START, tries=(attempt(credential="c"),), usage=None, operation="count_tokens"))
    stats.observe(record(started_s=START, tries=()))
    whole = stats.of("p", START + 2)
    assert (whole["request_count"], whole["success_count"], whole["failure_count"]) == (5, 4, 1)
    assert (whole["success_rate"], whole["error_rate"], whole["ratio_429"], whole["ratio_401"]) == (0.8, 0.2, 0.2, 0.0)
    assert whole["errors"] == {"upstream_rate_limited": 1}
    assert (whole["total_tokens"], whole["usage_reported"], whole["usage_missing"]) == (120, 1, 1)
    assert (whole["latency_p95_ms"], whole["ttft_p50_ms"]) == (100.0, 30.0)
    first, second = stats.of_credential("p", "a", START + 2), stats.of_credential("p", "b", START + 2)
    assert (first["error_rate"], second["error_rate"]) == (1.0, 0.0)
    assert (first["total_tokens"], second["total_tokens"]) == (0, 120)
    assert stats.of_credential("p", "unknown", START)["request_count"] == 0


def test_what_the_gateway_estimated_was_not_reported() -> None:
    stats = ProviderStats()
    stats.observe(record(started_s=START, tries=(attempt(),), notes=("usage_estimated",)))
    stats.observe(record(started_s=START, tries=(attempt("client_ended"),), notes=("usage_estimated",)))
    whole = stats.of("p", START)
    assert (whole["total_tokens"], whole["usage_reported"], whole["usage_missing"]) == (240, 0, 1)


@pytest.mark.parametrize(
    ("outcome", "failed"),
    [
        ("upstream_error", 1),
        ("upstream_authentication", 1),
        ("upstream_quota_exhausted", 1),
        ("upstream_rejected", 0),
        ("upstream_model_not_found", 0),
        ("key_revoked", 0),
        ("pool_inactive", 0),
        ("client_ended", 0),
        ("abandoned", 0),
        ("internal_error", 0),
    ],
)
def test_only_what_an_upstream_does_is_its_failure(outcome: str, failed: int) -> None:
    stats = ProviderStats()
    stats.observe(record(started_s=START, tries=(attempt(outcome),), usage=None))
    figures = stats.of("p", START + 1)
    assert (figures["failure_count"], figures["error_rate"], figures["errors"]) == (failed, failed, {outcome: 1} if failed else {})


def test_the_window_forgets_and_the_totals_do_not() -> None:
    stats = ProviderStats()
    for step in range(0, 1200, 5):
        outcome, status = ("upstream_error", 500) if step < 300 else ("ok", 200)
        stats.observe(record(started_s=START + step, duration_ms=0.0, tries=(attempt(outcome, status),)))
    figures = stats.of("p", START + 1200)
    assert figures["error_rate"] == 0.0
    assert 110 <= figures["requests"] <= 120
    assert figures["failure_count"] == 60
    assert stats.of("p", START + 5000)["requests"] == 0
    assert len(next(iter(stats._upstreams.values())).slices) <= 61


@pytest.mark.parametrize("step_s", [3600.0, 3000 * 86400.0])
def test_a_clock_that_is_set_back_begins_the_window_anew(step_s: float) -> None:
    stats = ProviderStats()
    for number in range(3):
        stats.observe(record(started_s=START + step_s + number, tries=(attempt("upstream_error", 500),)))
    assert stats.of("p", START + step_s + 5)["error_rate"] == 1.0
    assert stats.of("p", START)["requests"] == 0
    for number in range(1000):
        stats.observe(record(started_s=START + number, tries=(attempt(),)))
        stats.observe(record(started_s=START + number - 0.5, tries=(attempt(),)))
    assert stats.of("p", START + 1000)["error_rate"] == 0.0
    assert 1180 <= stats.of("p", START + 1000)["requests"] <= 1200, "not those before, and none that came a little late begins it anew"
    assert stats.of("p", START + step_s + 5)["errors"] == {}


def test_a_call_that_began_before_a_step_of_the_clock_takes_nothing_away() -> None:
    stats = ProviderStats()
    for number in range(100):
        stats.observe(record(started_s=START + 30 + number, tries=(attempt("upstream_error", 500),)))
        stats.observe(record(started_s=START + number - 500, duration_ms=500_000.0, tries=(attempt(),)))
    assert stats.of("p", START + 130)["requests"] == 200
    assert stats.of("p", START + 130)["error_rate"] == 0.5
    assert len(next(iter(stats._upstreams.values())).slices) == 10
    assert stats.of("p", START + 731)["requests"] == 0
