"""Errors in the shape Google gives them, both ways. Floor 1. Pure.

Source: google.rpc.Status and google.rpc.Code (cloud.google.com/apis/design/errors), ai.google.dev/gemini-api/docs/troubleshooting, read
2026-11: `{"error": {"code", "message", "status", "details"}}`, which Vertex AI sometimes wraps in an array.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fkproxy.dialects.retry_after import believed_s, retry_after_s
from fkproxy.dialects.statuses import MAX_MESSAGE_CHARS, NO_QUOTA, REFUSED, error_of_status, value_of
from fkproxy.model.errors import (
    FkproxyError,
    UpstreamError,
    UpstreamModelMissing,
    UpstreamQuotaExhausted,
    UpstreamRefusedCredential,
    UpstreamRejected,
    UpstreamUnavailable,
)

__all__ = ["decode_error", "encode_error", "error_of"]

_SPENT = re.compile(r"Your prepayment credits are depleted\b|Your (?:project|billing account) has exceeded its monthly spending cap\b")
"""How a 429 begins that is no rate: the account's money, or what may be spent of it, is used up (ai.google.dev/gemini-api/docs/billing)."""

_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_HTTP_OF_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_KEY_REASONS = "API_KEY_"
"""How the reasons of google.api.ErrorReason begin that speak of the key: invalid, expired, blocked for a service, an address, an app."""

_NOT_OURS = re.compile(r"\bto access the File\b|\bCachedContent not found\b")
"""In the words of a 403: what the request names is another account's, or is there no more, for files end after two days."""

_TOO_LONG = "exceeds the maximum number of tokens allowed"
"""In the words of a 400, by which clients know it: "The input token count (9) exceeds the maximum number of tokens allowed (8)."."""

_SECRET = re.compile(r"AIza[\w-]{20,}|ya29\.[\w.-]+|(?<=[?&]key=)[^&\s'\"]+|(?<=api_key:)[^\s'\"]+")
"""A key or a token. Google's messages about quotas and consumers name them now and then."""


def encode_error(error: FkproxyError, request_id: str) -> dict[str, Any]:
    """The reply's JSON value."""
    details: list[dict[str, Any]] = [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": error.code.upper(), "domain": "fkproxy"},
        {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": request_id},
    ]
    if error.retry_after_s is not None:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{error.retry_after_s:.3f}s"})
    status = _STATUS.get(error.status, "INTERNAL" if error.status >= 500 else "INVALID_ARGUMENT")
    message = str(error)[:MAX_MESSAGE_CHARS]
    if isinstance(error, UpstreamRejected) and error.native_code == UpstreamRejected.TOO_LONG and _TOO_LONG not in message:
        message = f"The input token count {_TOO_LONG}: {message}"
    return {"error": {"code": error.status, "message": message, "status": status, "details": details}}


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """An error reply as one of ours."""
    value = value_of(body)
    inner = value.get("error") if isinstance(value, dict) else None
    return _error(status, inner if isinstance(inner, dict) else {}, retry_after_s(headers))


def error_of(inner: dict[str, Any]) -> UpstreamError:
    """An error that came inside a 200."""
    code, word = inner.get("code"), inner.get("status")
    if isinstance(code, int) and 400 <= code <= 599:
        status = code
    else:
        status = _HTTP_OF_STATUS.get(word, 500) if isinstance(word, str) else 500
    return _error(status, inner, None)


def _error(status: int, inner: dict[str, Any], wait_s: float | None) -> UpstreamError:
    message = inner.get("message")
    words = _SECRET.sub("…", message)[:MAX_MESSAGE_CHARS] if isinstance(message, str) and message else None
    word, listed = inner.get("status"), inner.get("details")
    native = word if isinstance(word, str) else None
    details = [detail for detail in listed if isinstance(detail, dict)] if isinstance(listed, list) else []
    if status == 403 and words is not None and _NOT_OURS.search(words):
        return UpstreamRejected(status, words, native_code=native, elsewhere=True)
    if any(str(detail.get("reason")).startswith(_KEY_REASONS) for detail in details):
        return UpstreamRefusedCredential(REFUSED, upstream_status=status)
    wait_s = next((delay for detail in details if (delay := _delay_s(detail)) is not None), wait_s)
    match status:
        case 429 if any(_per_day(detail) for detail in details):
            # The RetryInfo beside it is that of the minute's quota.
            return UpstreamQuotaExhausted(NO_QUOTA, upstream_status=status, whole_account=False)
        case 429 if words is not None and _SPENT.match(words):
            return UpstreamQuotaExhausted(NO_QUOTA, upstream_status=status)
        case 404 if words is not None and "model" in words.lower():
            return UpstreamModelMissing(status, words, native_code=native)
        case 499:
            return UpstreamUnavailable(words or "the upstream did not answer in time", upstream_status=status)
        case _:
            too_long = words is not None and _TOO_LONG in words
            return error_of_status(status, words, wait_s, native_code=UpstreamRejected.TOO_LONG if too_long else native)


def _per_day(detail: dict[str, Any]) -> bool:
    """A QuotaFailure that names a quota of the day: `GenerateRequestsPerDayPerProjectPerModel-FreeTier`."""
    violations = detail.get("violations")
    named = violations if isinstance(violations, list) else []
    return any(isinstance(each, dict) and "PerDay" in str(each.get("quotaId")) for each in named)


def _delay_s(detail: dict[str, Any]) -> float | None:
    """Seconds of a RetryInfo's `retryDelay`, a duration such as `34.07s`."""
    delay = detail.get("retryDelay")
    try:
        return believed_s(float(delay.removesuffix("s"))) if isinstance(delay, str) else None
    except ValueError:
        return None
