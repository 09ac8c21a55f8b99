"""Every metric, fed and read back as a scraper would."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fkproxy.limits.standing import CAUSES
from fkproxy.telemetry.metrics import SKIP_REASONS, Metrics, Sources, StoreRow, UpstreamRow
from fkproxy.telemetry.record import Attempt
from tests.telemetry.records import record


def samples(metrics: Metrics, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    """Samples of one name by their labels, sorted."""
    text = metrics.prometheus()[0].decode()
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def labelled(metrics: Metrics, name: str, **labels: str) -> float:
    """The one sample of a name that has these labels among its own."""
    found = [value for key, value in samples(metrics, name).items() if labels.items() <= dict(key).items()]
    assert len(found) == 1, (name, labels, samples(metrics, name))
    return found[0]


GOOD: dict[str, Any] = {}
FAILED = {
    "status": 502,
    "error_code": "upstream_error",
    "upstream_status": 500,
    "usage": None,
    "tries": (Attempt(provider_key="p1", outcome="upstream_error"),),
}
BROKE = {"error_code": "bad_gateway", "stream": True, "usage": None}
REFUSED = {
    "status": 401,
    "error_code": "invalid_api_key",
    "auth": "refused",
    "provider_key": None,
    "model_id": None,
    "tries": (),
    "usage": None,
}
LIMITED = {"status": 429, "error_code": "rate_limit_exceeded", "provider_key": None, "model_id": None, "tries": (), "usage": None}
GONE = {"status": 499, "client_ended": True, "usage": None, "ttft_ms": None}
BLOCKED = {"status": 502, "error_code": "upstream_authentication", "upstream_status": 403, "usage": None}
TAKEN_OVER = {"tries": (Attempt(provider_key="p1", outcome="upstream_authentication", status=403), Attempt(provider_key="p2", status=200))}
UNCOUNTED = {"usage": None}
ESTIMATED = {"notes": ("usage_estimated",)}
COUNT = {"usage": None, "operation": "count_tokens", "route": "/v1/messages/count_tokens", "ttft_ms": None, "finish_reason": None}
EMBEDDINGS = {"operation": "embeddings", "route": "/v1/embeddings"}


@pytest.mark.parametrize(
    ("fields", "name", "labels", "expected"),
    [
        (GOOD, "requests_total", {}, 1),
        (FAILED, "requests_failed_total", {}, 1),
        (BROKE, "requests_failed_total", {}, 1),
        (REFUSED, "requests_failed_total", {}, 0),
        (GOOD, "request_success_rate", {}, 100),
        (FAILED, "request_success_rate", {}, 0),
        (GOOD, "request_latency_ms", {}, 50),
        (GOOD, "request_latency_p50_ms", {}, 50),
        (GOOD, "request_latency_p95_ms", {}, 50),
        (GOOD, "request_latency_p99_ms", {}, 50),
        (BLOCKED, "waf_blocks_total", {}, 1),
        (BLOCKED, "waf_block_rate", {}, 100),
        (TAKEN_OVER, "waf_blocks_total", {}, 1),
        (GOOD, "fkproxy_requests_total", {"outcome": "ok", "status": "200", "provider_key": "p1", "model_id": "model-1"}, 1),
        (FAILED, "fkproxy_requests_total", {"outcome": "failed", "status": "502"}, 1),
        (BROKE, "fkproxy_requests_total", {"outcome": "failed", "status": "200"}, 1),
        (REFUSED, "fkproxy_requests_total", {"outcome": "client_error", "provider_key": "none"}, 1),
        (LIMITED, "fkproxy_requests_total", {"outcome": "limited"}, 1),
        (GONE, "fkproxy_requests_total", {"outcome": "client_ended"}, 1),
        (FAILED, "fkproxy_errors_total", {"code": "upstream_error", "provider_key": "p1"}, 1),
        (GOOD, "fkproxy_finishes_total", {"provider_key": "p1", "reason": "stop"}, 1),
        (FAILED, "fkproxy_attempts_total", {"provider_key": "p1", "outcome": "upstream_error"}, 1),
        (GOOD, "fkproxy_attempts_total", {"provider_key": "p1", "outcome": "ok"}, 1),
        (LIMITED, "fkproxy_rate_limited_total", {}, 1),
        (REFUSED, "fkproxy_refused_keys_total", {}, 1),
        (GONE, "fkproxy_client_disconnects_total", {}, 1),
        (GOOD, "fkproxy_tokens_total", {"kind": "input"}, 100),
        (GOOD, "fkproxy_tokens_total", {"kind": "output"}, 20),
        (GOOD, "fkproxy_tokens_total", {"kind": "cached_input"}, 60),
        (GOOD, "fkproxy_tokens_total", {"kind": "reasoning"}, 5),
        (UNCOUNTED, "fkproxy_usage_missing_total", {"provider_key": "p1"}, 1),
        (ESTIMATED, "fkproxy_usage_missing_total", {"provider_key": "p1"}, 1),
        (ESTIMATED, "fkproxy_tokens_total", {"kind": "input"}, 100),
        (ESTIMATED, "fkproxy_decisions_total", {"decision": "usage_estimated"}, 1),
        ({**UNCOUNTED, **EMBEDDINGS}, "fkproxy_usage_missing_total", {"provider_key": "p1"}, 1),
        (GOOD, "fkproxy_request_duration_seconds_sum", {"outcome": "ok"}, 0.05),
        (GOOD, "fkproxy_request_duration_seconds_bucket", {"le": "0.04"}, 0),
        (GOOD, "fkproxy_request_duration_seconds_bucket", {"le": "0.08"}, 1),
        (GOOD, "fkproxy_time_to_first_token_seconds_sum", {}, 0.03),
        (GOOD, "fkproxy_overhead_seconds_sum", {}, 0.01),
        ({"duration_ms": 2850.0, "waited_ms": 2800.0}, "fkproxy_overhead_seconds_sum", {}, 0.01),
        ({"losses": ("messages[3].name",)}, "fkproxy_losses_total", {"field": "messages[].name", "dialect": "openai_chat"}, 1),
        (GOOD, "gen_ai_server_request_duration_seconds_count", {"gen_ai_request_model": "model-1", "gen_ai_operation_name": "chat"}, 1),
        (COUNT, "gen_ai_server_request_duration_seconds_count", {"gen_ai_operation_name": "count_tokens"}, 1),
        (EMBEDDINGS, "gen_ai_client_token_usage_sum", {"gen_ai_operation_name": "embeddings", "gen_ai_token_type": "input"}, 100),
        (GOOD, "gen_ai_server_time_to_first_token_seconds_count", {"gen_ai_provider_name": "p1"}, 1),
        (GOOD, "gen_ai_client_token_usage_sum", {"gen_ai_token_type": "input"}, 100),
        (GOOD, "gen_ai_client_token_usage_sum", {"gen_ai_token_type": "output"}, 20),
        (GOOD, "fkproxy_build_info", {"version": "1.2.3"}, 1),
    ],
)
def test_a_record_shows_where_it_must(fields: dict[str, Any], name: str, labels: dict[str, str], expected: float) -> None:
    metrics = Metrics("1.2.3")
    metrics.observe(record(**fields))
    assert labelled(metrics, name, **labels) == pytest.approx(expected)


def test_what_is_asked_for_when_somebody_looks() -> None:
    sources = Sources(
        credential_cache=lambda: (3, 1),
        upstream_connections=lambda: {"idle": 2, "busy": 5},
        upstreams=lambda: (UpstreamRow(provider_key="p1", breaker="open", refused=True), UpstreamRow(provider_key="p2")),
        log_lines_dropped=lambda: 9,
        in_flight=lambda: (7, 4),
        streams_limit=lambda: 1000,
        handovers_failed=lambda: 2,
        store=lambda: StoreRow(away_s=12.0, waiting_records=3, waiting_bytes=400, dropped=5),
    )
    metrics = Metrics("1.2.3", sources)
    metrics.count_breaker_transition("p1", "open")
    assert labelled(metrics, "cache_hits_total") == 3
    assert labelled(metrics, "cache_misses_total") == 1
    assert labelled(metrics, "cache_hit_rate") == 75
    assert labelled(metrics, "fkproxy_upstream_connections", state="busy") == 5
    assert labelled(metrics, "fkproxy_breaker_state", provider_key="p1", state="open") == 1
    assert labelled(metrics, "fkproxy_breaker_state", provider_key="p1", state="closed") == 0
    assert labelled(metrics, "fkproxy_breaker_transitions_total", provider_key="p1", to="open") == 1
    assert labelled(metrics, "fkproxy_log_lines_dropped_total") == 9
    assert labelled(metrics, "fkproxy_requests_in_flight") == 7
    assert labelled(metrics, "fkproxy_streams_open") == 4
    assert labelled(metrics, "fkproxy_streams_limit") == 1000
    assert labelled(metrics, "fkproxy_credential_refused", provider_key="p1") == 1
    assert labelled(metrics, "fkproxy_credential_refused", provider_key="p2") == 0
    assert labelled(metrics, "fkproxy_handovers_failed_total") == 2
    assert (labelled(metrics, "fkproxy_store_up"), labelled(metrics, "fkproxy_store_away_seconds")) == (0, 12)
    assert labelled(metrics, "fkproxy_journal_waiting_records") == 3
    assert labelled(metrics, "fkproxy_journal_waiting_bytes") == 400
    assert labelled(metrics, "fkproxy_journal_dropped_total") == 5


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("fkproxy_errors_total", {"code": "internal_error", "provider_key": "none"}),
        ("fkproxy_errors_total", {"code": "internal_error", "provider_key": "p1"}),
        ("fkproxy_errors_total", {"code": "concurrency_exceeded", "provider_key": "none"}),
        ("fkproxy_errors_total", {"code": "upstream_error", "provider_key": "p1"}),
        ("fkproxy_attempts_total", {"outcome": "upstream_authentication", "provider_key": "p1"}),
        ("fkproxy_attempts_total", {"outcome": "ok", "provider_key": "p1"}),
        ("fkproxy_finishes_total", {"reason": "content_filter", "provider_key": "p1"}),
        ("fkproxy_usage_missing_total", {"provider_key": "p1"}),
        ("fkproxy_breaker_transitions_total", {"to": "open", "provider_key": "p1"}),
        ("fkproxy_rate_limited_total", {}),
        ("fkproxy_refused_keys_total", {}),
    ],
)
def test_the_first_event_is_an_increase(name: str, labels: dict[str, str]) -> None:
    metrics = Metrics("1.2.3", Sources(upstreams=lambda: (UpstreamRow(provider_key="p1"),)))
    assert labelled(metrics, name, **labels) == 0
    metrics.observe(record(**FAILED, finish_reason="content_filter"))
    labelled(metrics, name, **labels)


def test_a_count_of_tokens_misses_no_usage() -> None:
    metrics = Metrics("1.2.3", Sources(upstreams=lambda: (UpstreamRow(provider_key="p1"),)))
    metrics.observe(record(**COUNT))
    assert labelled(metrics, "fkproxy_usage_missing_total", provider_key="p1") == 0


def test_an_administrator_without_a_key_is_counted_where_keys_are_and_is_no_call() -> None:
    metrics = Metrics("1.2.3")
    metrics.observe(record(**REFUSED))
    metrics.count_refused_administrator()
    assert (labelled(metrics, "fkproxy_refused_keys_total"), metrics.json()["total_requests"]) == (2, 1)


def test_the_json_has_the_names_that_old_scripts_read() -> None:
    metrics = Metrics("1.2.3")
    for fields in (GOOD, GOOD, FAILED, BROKE):
        metrics.observe(record(**fields))
    shown = metrics.json()
    names = "cache_hits cache_misses cache_hit_rate waf_blocks waf_block_rate total_requests failed_requests success_rate avg_latency_ms"
    assert set(names.split()) | {f"p{percent}_latency_ms" for percent in (50, 95, 99)} <= shown.keys()
    assert (shown["total_requests"], shown["failed_requests"], shown["success_rate"]) == (4, 2, 50.0)
    assert (shown["streams_total"], shown["streams_failed"]) == (1, 1)
    assert shown["errors"] == {"bad_gateway": 1, "upstream_error": 1}
    assert shown["tokens"]["input"] == 200


def test_an_idle_gateway_raises_no_alert() -> None:
    shown = Metrics("1.2.3").json()
    assert (shown["total_requests"], shown["success_rate"], shown["p99_latency_ms"]) == (0, 100.0, 0.0)


def test_names_that_callers_invent_become_no_labels() -> None:
    metrics = Metrics("1.2.3")
    for number in range(2000):
        metrics.observe(record(model_id=f"invented-{number}", status=502, upstream_status=404, error_code="upstream_rejected"))
    assert len(samples(metrics, "fkproxy_requests_total")) == 1
    for number in range(2000):
        metrics.observe(record(model_id=f"real-{number}", losses=(f"field{number}",)))
    assert len(samples(metrics, "fkproxy_requests_total")) <= 205
    assert len(samples(metrics, "fkproxy_losses_total")) <= 205


def test_nothing_of_the_client_is_shown() -> None:
    metrics = Metrics("1.2.3")
    metrics.observe(record(user_agent="canary", peer="canary", key_id="canary", request_id="canary", model_requested="canary"))
    assert b"canary" not in metrics.prometheus()[0]
    assert "canary" not in str(metrics.json())


def test_a_scraper_is_told_the_format() -> None:
    assert Metrics("1.2.3").prometheus()[1] == "text/plain; version=0.0.4; charset=utf-8"


def test_every_reason_to_pass_over_an_upstream_is_counted_from_the_start_and_no_other() -> None:
    states = {rule.state for rule in CAUSES.values()} | {"paused"}
    assert set(SKIP_REASONS) == states | {"busy", "circuit_open", "requests_per_minute", "tokens_per_minute"}
    metrics = Metrics("1", Sources(upstreams=lambda: [UpstreamRow(provider_key="p1", state="active", breaker="closed")]))
    assert samples(metrics, "fkproxy_skipped_total") == {(("provider_key", "p1"), ("reason", reason)): 0 for reason in SKIP_REASONS}
