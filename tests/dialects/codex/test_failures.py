"""Why a turn failed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects.codex.failures import failure
from fkproxy.model.errors import (
    FkproxyError,
    UpstreamFailed,
    UpstreamModelMissing,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamRefusedCredential,
    UpstreamRejected,
    UpstreamUnavailable,
)

CLOSED = "httpConnectionFailed"
UNCONNECTED = "responseStreamConnectionFailed"
CUT = "responseStreamDisconnected"
OFTEN = "responseTooManyFailedAttempts"


@pytest.mark.parametrize(
    ("info", "kind", "status", "retry", "code"),
    [
        ("contextWindowExceeded", UpstreamRejected, 400, False, "context_length_exceeded"),
        ("badRequest", UpstreamRejected, 400, False, "invalid_request_error"),
        ("cyberPolicy", UpstreamRejected, 400, False, "content_policy_violation"),
        ("misalignmentPolicyViolation", UpstreamRejected, 400, False, "content_policy_violation"),
        ("inferenceHookDenied", UpstreamRejected, 400, False, "inference_hook_denied"),
        ("tooManyDenials", UpstreamRejected, 400, False, "too_many_denials"),
        ("modelNotFound", UpstreamModelMissing, 404, True, "model_not_found"),
        ("usageLimitExceeded", UpstreamQuotaExhausted, 429, True, None),
        ("sessionBudgetExceeded", UpstreamQuotaExhausted, 429, True, None),
        ("rateLimitExceeded", UpstreamRateLimited, 429, True, None),
        ("serverOverloaded", UpstreamOverloaded, 503, True, None),
        ("flexUnavailable", UpstreamOverloaded, 503, True, None),
        ("policyCapacityUnavailable", UpstreamOverloaded, 503, True, None),
        ("internalServerError", UpstreamFailed, 502, True, None),
        ("unauthorized", UpstreamRefusedCredential, 502, True, None),
        ("threadRollbackFailed", UpstreamFailed, 502, True, None),
        ("sandboxError", UpstreamFailed, 502, True, None),
        ("other", UpstreamFailed, 502, True, None),
        ("aWordOfTomorrow", UpstreamFailed, 502, True, None),
        (None, UpstreamFailed, 502, True, None),
        ({CLOSED: {"httpStatusCode": None}}, UpstreamUnavailable, 502, True, None),
        ({UNCONNECTED: {"httpStatusCode": 503}}, UpstreamOverloaded, 503, True, None),
        ({UNCONNECTED: {"httpStatusCode": 401}}, UpstreamRefusedCredential, 502, True, None),
        ({UNCONNECTED: {"httpStatusCode": 403}}, UpstreamRefusedCredential, 502, True, None),
        ({UNCONNECTED: {"httpStatusCode": 404}}, UpstreamModelMissing, 404, True, None),
        ({UNCONNECTED: {"httpStatusCode": 422}}, UpstreamRejected, 422, False, None),
        ({CUT: {"httpStatusCode": 500}}, UpstreamFailed, 502, True, None),
        ({CUT: {}}, UpstreamUnavailable, 502, True, None),
        ({OFTEN: {"httpStatusCode": 429}}, UpstreamRateLimited, 429, True, None),
        ({OFTEN: {"httpStatusCode": 9}}, UpstreamUnavailable, 502, True, None),
        ({"activeTurnNotSteerable": {"turnKind": "review"}}, UpstreamUnavailable, 502, True, None),
        ({}, UpstreamUnavailable, 502, True, None),
        ({"x": None}, UpstreamUnavailable, 502, True, None),
    ],
)
def test_each_word_has_its_error(info: Any, kind: type[FkproxyError], status: int, retry: bool, code: str | None) -> None:
    error = failure(info, "its words")
    assert type(error) is kind
    assert (error.status, error.retry) == (status, retry)
    assert getattr(error, "native_code", None) == code
    if kind is not UpstreamRefusedCredential:
        assert str(error) == "its words"
    else:
        assert "its words" not in str(error)


@pytest.mark.parametrize("info", ["badRequest", "other", None, {OFTEN: {"httpStatusCode": 400}}])
def test_a_vendors_body_is_unwrapped(info: Any) -> None:
    error = failure(info, json.dumps({"error": {"message": "x is too large", "type": "invalid_request_error", "param": "x", "code": None}}))
    assert isinstance(error, UpstreamRejected)
    assert (error.status, str(error)) == (400, "x is too large")


@pytest.mark.parametrize(
    ("inner", "kind"),
    [
        ({"message": "wait", "code": "rate_limit_exceeded"}, UpstreamRateLimited),
        ({"message": "no", "code": "insufficient_quota"}, UpstreamQuotaExhausted),
        ({"message": "later", "type": "overloaded_error"}, UpstreamOverloaded),
        ({"message": "?"}, UpstreamFailed),
    ],
)
def test_a_vendors_own_words_tell_where_the_child_has_none(inner: dict[str, Any], kind: type[FkproxyError]) -> None:
    assert type(failure("other", json.dumps({"error": inner}))) is kind
    assert type(failure("other", json.dumps(inner))) is kind


@pytest.mark.parametrize("message", ["[1]", "7", '"text"', '{"error":"text"}', "{"])
def test_words_that_are_no_body_are_words(message: str) -> None:
    error = failure("other", message)
    assert type(error) is UpstreamFailed
    assert message.startswith("{") or str(error) == message


def test_words_have_a_bound_and_are_never_missing() -> None:
    assert len(str(failure("other", "x" * 5000))) == 1000
    assert str(failure("other", ""))
    assert str(failure({CUT: {}}, ""))
