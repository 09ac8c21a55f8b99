"""Errors both ways: statuses, types, and how long to wait."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.model.errors import (
    FkproxyError,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotAllowed,
    NotAuthenticated,
    NoUpstreamAvailable,
    RateLimited,
    RequestTooLarge,
    UnknownModel,
    Unrepresentable,
    UpstreamError,
    UpstreamFailed,
    UpstreamModelMissing,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamRefusedCredential,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)

MESSAGES = DIALECTS["anthropic"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidRequest("messages", "expected an array"), "invalid_request_error"),
        (NotAuthenticated(), "authentication_error"),
        (NotAllowed("no"), "permission_error"),
        (UnknownModel("m"), "not_found_error"),
        (MethodNotAllowed("GET", ("POST",)), "invalid_request_error"),
        (RequestTooLarge(1), "request_too_large"),
        (RateLimited(1.0), "rate_limit_error"),
        (UpstreamRejected(402, "pay"), "billing_error"),
        (InternalError(), "api_error"),
        (UpstreamFailed("broken"), "api_error"),
        (NoUpstreamAvailable(), "overloaded_error"),
        (UpstreamOverloaded("busy"), "overloaded_error"),
        (UpstreamTimeout("first_byte", 3), "timeout_error"),
    ],
)
def test_the_type_follows_the_status(error: FkproxyError, kind: str) -> None:
    body = json.loads(MESSAGES.encode_error(error, "req-1"))
    assert body == {"type": "error", "error": {"type": kind, "message": str(error), "code": error.code}, "request_id": "req-1"}


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (400, "max_tokens: Field required", UpstreamRejected),
        (400, "Your credit balance is too low to access the Anthropic API.", UpstreamQuotaExhausted),
        (400, "You have reached your specified workspace API usage limits. You will regain access …", UpstreamQuotaExhausted),
        (400, "This organization has been disabled.", UpstreamRefusedCredential),
        (400, "messages.0: Input tag 'You have reached your specified API usage limits' found using 'type'", UpstreamRejected),
        (400, "messages.0: Input tag 'credit balance is too low' found using 'type'", UpstreamRejected),
        (400, "messages.0: Input tag 'This organization has been disabled' found using 'type'", UpstreamRejected),
        (401, "invalid x-api-key", UpstreamRefusedCredential),
        (402, "billing", UpstreamQuotaExhausted),
        (403, "no", UpstreamRefusedCredential),
        (404, "model: claude-1", UpstreamModelMissing),
        (404, "File not found: file_011CNha8iCJcU1wXNR6q4V8w", UpstreamRejected),
        (408, "slow", UpstreamUnavailable),
        (413, "large", UpstreamRejected),
        (500, "oops", UpstreamFailed),
        (503, "busy", UpstreamOverloaded),
        (504, "slow", UpstreamUnavailable),
        (529, "busy", UpstreamOverloaded),
    ],
)
def test_a_status_is_one_of_ours(status: int, message: str, expected: type[UpstreamError]) -> None:
    body = json.dumps({"type": "error", "error": {"type": "some_error", "message": message}}).encode()
    error = MESSAGES.decode_error(status, {}, body)
    assert type(error) is expected
    assert error.upstream_status == status
    assert error.retry == (expected is not UpstreamRejected or status == 404)
    if expected in (UpstreamRefusedCredential, UpstreamQuotaExhausted):
        assert message not in str(error)
    else:
        assert str(error) == message


def test_vertex_wraps_the_error_of_a_stream_in_an_array() -> None:
    words = "Project `p` is not allowed to use Publisher Model `m`"
    body = json.dumps([{"error": {"code": 400, "message": words, "status": "FAILED_PRECONDITION"}}]).encode()
    assert str(MESSAGES.decode_error(400, {}, body)) == words


@pytest.mark.parametrize(
    ("status", "details", "kept"),
    [
        (404, {"error_code": "thread_not_found"}, True),
        (404, {"error_code": "file_expired"}, True),
        (400, {"error_code": "thread_unsupported_request", "unsupported": ["fallbacks"]}, True),
        (404, {"error_code": "x" * 1000}, False),
        (404, {"error_code": 7}, False),
        (404, ["thread_not_found"], False),
        (404, None, False),
    ],
)
def test_what_the_vendors_clients_act_upon_reaches_them(status: int, details: Any, kept: bool) -> None:
    inner = {"type": "invalid_request_error", "message": "no", "details": details}
    error = MESSAGES.decode_error(status, {}, json.dumps({"type": "error", "error": inner}).encode())
    assert type(error) is (UpstreamRejected if kept else UpstreamModelMissing), "a thread that is lost says nothing of the model"
    told = json.loads(MESSAGES.encode_error(error, "req-1"))["error"]
    assert told.get("details") == (details if kept else None)
    assert b"error_code" not in DIALECTS["openai_chat"].encode_error(error, "req-1")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Unrepresentable("thread", "gemini"), True),
        (MESSAGES.decode_error(400, {}, b'{"error": {"message": "thread: Extra inputs are not permitted"}}'), True),
        (MESSAGES.decode_error(400, {}, b'{"error": {"message": "speed: Extra inputs are not permitted"}}'), False),
        (Unrepresentable("mcp_servers", "gemini"), False),
    ],
)
def test_who_wants_a_thread_where_there_is_none_learns_to_go_without(error: FkproxyError, told: bool) -> None:
    details = json.loads(MESSAGES.encode_error(error, "req-1"))["error"].get("details")
    assert details == ({"error_code": "thread_unsupported_request"} if told else None)


@pytest.mark.parametrize("body", [b"", b"<html>busy</html>", b"[]", b'{"error": "words"}', b'{"error": {"message": 7}}'])
def test_any_body_will_do(body: bytes) -> None:
    error = MESSAGES.decode_error(500, {}, body)
    assert str(error) == "the upstream answered 500"


DATE = {"date": "Sat, 21 Nov 2026 04:00:00 GMT"}


def limit(name: str, remaining: str, reset: str) -> dict[str, str]:
    return {f"anthropic-ratelimit-{name}-remaining": remaining, f"anthropic-ratelimit-{name}-reset": reset}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "7", **DATE, **limit("requests", "0", "2026-11-21T04:00:30Z")}, 7.0),
        ({**DATE, **limit("requests", "0", "2026-11-21T04:00:30Z")}, 30.0),
        ({**DATE, **limit("requests", "0", "2026-11-21T04:00:30Z"), **limit("output-tokens", "0", "2026-11-21T04:00:40Z")}, 40.0),
        ({**DATE, **limit("requests", "3", "2026-11-21T04:00:30Z")}, None),
        ({**DATE, **limit("requests", "0", "2026-11-21T03:59:00Z")}, 0.0),
        ({**DATE, **limit("requests", "0", "later")}, None),
        (limit("requests", "0", "2026-11-21T04:00:30Z"), None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], expected: float | None) -> None:
    assert MESSAGES.decode_error(429, headers, b"").retry_after_s == expected


def windows(**found: tuple[str, int]) -> dict[str, str]:
    """Of a subscription: its status, and when it is full again in seconds from the reply's date."""
    told: dict[str, str] = {**DATE}
    for name, (status, after_s) in found.items():
        prefix = f"anthropic-ratelimit-unified-{name.removeprefix('w')}" + ("-" if name != "w" else "")
        told |= {prefix + "status": status, prefix + "reset": str(1_795_233_600 + after_s)}
    return told


SPENT, FREE = "rejected", "allowed"


@pytest.mark.parametrize(
    ("headers", "expected", "wait_s", "whole"),
    [
        (windows(w=(SPENT, 7200), w5h=(SPENT, 7200), w7d=(FREE, 90_000)), UpstreamQuotaExhausted, 7200.0, True),
        (windows(w=(SPENT, 7200), w5h=(SPENT, 7200), w7d=(SPENT, 90_000)), UpstreamQuotaExhausted, 90_000.0, True),
        (windows(w=(SPENT, 7200), w7d_opus=(SPENT, 7200), w5h=("allowed_warning", 60)), UpstreamQuotaExhausted, 7200.0, False),
        (windows(w=(SPENT, 7200)), UpstreamQuotaExhausted, 7200.0, True),
        ({"retry-after": "7999", **windows(w=(SPENT, 7200))}, UpstreamQuotaExhausted, 7999.0, True),
        ({**windows(w=(SPENT, 0)), "anthropic-ratelimit-unified-reset": "soon"}, UpstreamQuotaExhausted, None, True),
        ({**windows(w=(SPENT, 0)), "anthropic-ratelimit-unified-reset": "9" * 30}, UpstreamQuotaExhausted, None, True),
        (windows(w=(SPENT, 60), woverage=(SPENT, 90_000)), UpstreamQuotaExhausted, 60.0, True),
        ({**windows(w=(SPENT, 7200)), "anthropic-ratelimit-unified-5h-status": SPENT}, UpstreamQuotaExhausted, 7200.0, True),
        (windows(w=(SPENT, 90_000), w5h=(SPENT, 600), w7d_opus=(SPENT, 90_000)), UpstreamQuotaExhausted, 600.0, True),
        (windows(w=(SPENT, 90_000), w5h=(FREE, 600), w7d=(FREE, 90_000), w7d_oi=(SPENT, 90_000)), UpstreamQuotaExhausted, 90_000.0, False),
        (windows(w=(SPENT, 90_000), w5h=(FREE, 600), w7d=("allowed_warning", 60)), UpstreamRateLimited, None, None),
        ({"retry-after": "60", **windows(w=(SPENT, 7200), w7d=(FREE, 7200), woverage=(SPENT, 60))}, UpstreamRateLimited, 60.0, None),
        (windows(w=(FREE, 7200), w5h=(FREE, 7200), woverage=(SPENT, 60)), UpstreamRateLimited, None, None),
    ],
)
def test_a_subscription_that_is_spent_is_no_rate_that_is_reached(
    headers: dict[str, str], expected: type[UpstreamError], wait_s: float | None, whole: bool | None
) -> None:
    error = MESSAGES.decode_error(429, headers, b"")
    assert type(error) is expected
    assert error.retry_after_s == wait_s
    assert getattr(error, "whole_account", None) == whole


def test_a_subscription_that_is_spent_is_no_other_failure() -> None:
    assert type(MESSAGES.decode_error(529, windows(w=(SPENT, 7200)), b"")) is UpstreamOverloaded


REGAIN = "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."


@pytest.mark.parametrize(
    ("status", "code", "message", "expected", "wait_s"),
    [
        (400, None, REGAIN, UpstreamQuotaExhausted, 9 * 86_400 + 20 * 3600),
        (429, "enforced_spend_limit_reached", REGAIN.replace("specified ", ""), UpstreamQuotaExhausted, 9 * 86_400 + 20 * 3600),
        (400, None, REGAIN.replace("2026-12-01", "2026-13-01"), UpstreamQuotaExhausted, None),
        (429, "contract_spend_limit_reached", "no", UpstreamQuotaExhausted, None),
        (429, "ramp_limit_exceeded", "no", UpstreamRateLimited, None),
        (400, "organization_on_hold", "no", UpstreamRefusedCredential, None),
        (400, "cmek_key_disabled", "no", UpstreamRefusedCredential, None),
        (403, "user_profile_not_billable", "no", UpstreamRejected, None),
        (403, "user_profile_billing_not_authorized", "no", UpstreamRejected, None),
        (402, "linked_organization_spend_limit_reached", "no", UpstreamRejected, None),
        (402, "linked_organization_billing_unavailable", "no", UpstreamRejected, None),
    ],
)
def test_whose_the_fault_is_is_told_by_a_code(
    status: int, code: str | None, message: str, expected: type[UpstreamError], wait_s: float | None
) -> None:
    inner = {"type": "some_error", "message": message, "details": None if code is None else {"error_code": code}}
    error = MESSAGES.decode_error(status, DATE, json.dumps({"type": "error", "error": inner}).encode())
    assert (type(error), error.upstream_status, error.retry_after_s) == (expected, status, wait_s)
    assert error.retry == (expected is not UpstreamRejected)
    told = json.loads(MESSAGES.encode_error(error, "req-1"))["error"]
    assert ("details" in told) == (expected is UpstreamRejected), "who named the customer learns of it, nobody of the gateway's account"
