"""What a client is told when nobody served its call."""

from __future__ import annotations

import pytest

from fkproxy.model.errors import UpstreamError, UpstreamFailed, UpstreamModelMissing, UpstreamRateLimited, UpstreamTimeout
from fkproxy.refusal import nobody, told
from fkproxy.telemetry.record import Skipped

MISSING = UpstreamModelMissing(404, "there is no such model")
FAILED = UpstreamFailed("no", upstream_status=500)


def skipped(reason: str, cause: str = "", retry_after_s: float | None = 30.0, provider_key: str = "two") -> Skipped:
    return Skipped(provider_key=provider_key, credential="a", reason=reason, cause=cause, retry_after_s=retry_after_s)


@pytest.mark.parametrize(
    ("passed_over", "status", "code"),
    [
        ([("limited", "rate_limited"), ("exhausted", "quota")], 429, "upstream_rate_limited"),
        ([("requests_per_minute", ""), ("tokens_per_minute", "")], 429, "upstream_rate_limited"),
        ([("limited", "failure"), ("limited", "failure")], 503, "service_unavailable"),
        ([("limited", "failure"), ("limited", "rate_limited")], 503, "service_unavailable"),
        ([("limited", "model_missing"), ("limited", "model_missing")], 404, "upstream_model_not_found"),
        ([("limited", "model_missing"), ("circuit_open", "")], 503, "service_unavailable"),
        ([("reauth_required", "credential"), ("paused", "operator")], 503, "service_unavailable"),
        ([("busy", "")], 429, "concurrency_exceeded"),
        ([], 503, "service_unavailable"),
    ],
)
def test_an_outage_and_a_missing_model_are_not_told_as_a_limit(passed_over: list[tuple[str, str]], status: int, code: str) -> None:
    error = nobody([skipped(reason, cause) for reason, cause in passed_over])
    assert (error.status, error.code) == (status, code)


def test_who_could_not_be_asked_is_named_with_the_reason_and_the_soonest_end_of_it() -> None:
    error = nobody([skipped("limited", "failure"), skipped("circuit_open", retry_after_s=5.0, provider_key="one")])
    assert "two/a: failing, one/a: circuit open" in str(error)
    assert error.retry_after_s == 5.0


@pytest.mark.parametrize(
    ("errors", "passed_over", "status"),
    [
        ([MISSING], [], 404),
        ([MISSING, MISSING], [skipped("limited", "model_missing")], 404),
        ([MISSING], [skipped("limited", "rate_limited")], 429),
        ([MISSING], [skipped("limited", "failure")], 503),
        ([MISSING, FAILED], [], 502),
        ([FAILED], [], 502),
        ([UpstreamRateLimited("slow down")], [skipped("limited", "rate_limited")], 429),
        ([UpstreamTimeout("first_byte", 1.0), UpstreamTimeout("connect", 1.0)], [], 504),
    ],
)
def test_of_several_failures_the_most_useful_is_told(errors: list[UpstreamError], passed_over: list[Skipped], status: int) -> None:
    error = told([("one", error) for error in errors], passed_over)
    assert error is not None
    assert error.status == status


def test_nothing_is_told_of_nothing() -> None:
    assert told([], [skipped("busy")]) is None
