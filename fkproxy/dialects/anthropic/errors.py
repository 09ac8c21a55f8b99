"""Errors in the shape Anthropic gives them, both ways. Floor 1. Pure.

Source: platform.claude.com/docs/en/api/errors and …/api/rate-limits, read 2026-11:
`{"type": "error", "error": {"type", "message"}, "request_id"}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fkproxy.dialects.retry_after import believed_s, retry_after_s, seconds_until
from fkproxy.model.errors import (
    FkproxyError,
    UpstreamError,
    UpstreamFailed,
    UpstreamModelMissing,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamRefusedCredential,
    UpstreamRejected,
    UpstreamUnavailable,
)
from fkproxy.wire import json

__all__ = ["decode_error", "encode_error", "error_of"]

_MAX_MESSAGE_CHARS = 1000

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_STATUS = {name: status for status, name in _TYPES.items()} | {"api_error": 500}
"""An error inside a 200 has no status of its own: its type says what it would have been. The overloaded one's own is 529."""

_NO_CREDIT = "credit balance is too low"
"""In the words of a 400: the account behind the gateway's key is at fault, not the request."""


def encode_error(error: FkproxyError, request_id: str) -> dict[str, Any]:
    """The reply's JSON value."""
    kind = _TYPES.get(error.status, "api_error" if error.status >= 500 else "invalid_request_error")
    message = str(error)[:_MAX_MESSAGE_CHARS]
    return {"type": "error", "error": {"type": kind, "message": message, "code": error.code}, "request_id": request_id}


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """An error reply as one of ours. A refused credential's words are not kept: they may quote the key."""
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    inner = value.get("error") if isinstance(value, dict) else None
    return _error(status, inner if isinstance(inner, dict) else {}, _wait_s(headers))


def error_of(inner: Any) -> UpstreamError:
    """An error that came inside a 200."""
    fields = inner if isinstance(inner, dict) else {}
    kind = fields.get("type")
    return _error(_STATUS.get(kind, 500) if isinstance(kind, str) else 500, fields, None)


def _error(status: int, inner: dict[str, Any], wait_s: float | None) -> UpstreamError:
    message, kind = inner.get("message"), inner.get("type")
    words = message[:_MAX_MESSAGE_CHARS] if isinstance(message, str) and message else None
    if status == 402 or (status == 400 and words is not None and _NO_CREDIT in words):
        return UpstreamQuotaExhausted(
            "the quota of the gateway's account at the upstream is used up", retry_after_s=wait_s, upstream_status=status
        )
    if status in (401, 403):
        return UpstreamRefusedCredential("the upstream refused the gateway's credential", upstream_status=status)
    match status:
        case 429:
            return UpstreamRateLimited(words or "the upstream's rate limit is reached", retry_after_s=wait_s)
        case 503 | 529:
            return UpstreamOverloaded(words or "the upstream is overloaded", retry_after_s=wait_s, upstream_status=status)
        case 408 | 504:
            return UpstreamUnavailable(words or "the upstream did not answer in time", upstream_status=status)
        case 404:
            return UpstreamModelMissing(status, words or "the upstream answered 404", native_code=kind if isinstance(kind, str) else None)
        case _ if 400 <= status < 500:
            return UpstreamRejected(status, words or f"the upstream answered {status}", native_code=kind if isinstance(kind, str) else None)
        case _:
            return UpstreamFailed(words or f"the upstream answered {status}", upstream_status=status)


def _wait_s(headers: Mapping[str, str]) -> float | None:
    """Seconds from `retry-after`, else until the last of the exhausted limits is full again, by the reply's own `date`."""
    given = retry_after_s(headers)
    if given is not None:
        return given
    resets = (
        believed_s(seconds_until(headers, datetime.fromisoformat, reset))
        for name, reset in headers.items()
        if name.startswith("anthropic-ratelimit-")
        and name.endswith("-reset")
        and headers.get(name.removesuffix("reset") + "remaining") == "0"
    )
    return max((wait_s for wait_s in resets if wait_s is not None), default=None)
