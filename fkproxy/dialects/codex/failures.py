"""Why a turn failed, in our words. Floor 1. Pure.

Source: `CodexErrorInfo` of the child's protocol (0.169): a word, or `{kind: {"httpStatusCode"}}` where the vendor gave a status.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fkproxy.dialects.openai_errors import decode_error, error_event
from fkproxy.dialects.statuses import MAX_MESSAGE_CHARS
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

__all__ = ["failure"]


def _rejected(code: str) -> Callable[[str], UpstreamError]:
    return lambda message: UpstreamRejected(400, message, native_code=code)


def _refused(message: str) -> UpstreamError:
    return UpstreamRefusedCredential("the child's login was refused: sign in again with `codex login`", upstream_status=401)


_WORDS: dict[str, Callable[[str], UpstreamError]] = {
    "contextWindowExceeded": _rejected("context_length_exceeded"),
    "badRequest": _rejected("invalid_request_error"),
    "cyberPolicy": _rejected("content_policy_violation"),
    "misalignmentPolicyViolation": _rejected("content_policy_violation"),
    "inferenceHookDenied": _rejected("inference_hook_denied"),
    "tooManyDenials": _rejected("too_many_denials"),
    "modelNotFound": lambda message: UpstreamModelMissing(404, message, param="model", native_code="model_not_found"),
    "usageLimitExceeded": UpstreamQuotaExhausted,
    "sessionBudgetExceeded": UpstreamQuotaExhausted,
    "rateLimitExceeded": UpstreamRateLimited,
    "serverOverloaded": UpstreamOverloaded,
    "flexUnavailable": UpstreamOverloaded,
    "policyCapacityUnavailable": UpstreamOverloaded,
    "internalServerError": lambda message: UpstreamFailed(message, upstream_status=500),
    "unauthorized": _refused,
}


def failure(info: Any, message: str, resets_in_s: float | None = None) -> FkproxyError:
    """`info` as the child said it, `message` its words, which may be the vendor's error body.

    `resets_in_s`: until the login's limits are there again, where the child knows.
    """
    quoted = _quoted(message)
    text = str(quoted.get("message") or "" if quoted is not None else message)[:MAX_MESSAGE_CHARS]
    if isinstance(info, str) and info in _WORDS:
        error = _WORDS[info](text)
        if isinstance(error, UpstreamQuotaExhausted):
            error.retry_after_s = resets_in_s
        return error
    if isinstance(info, dict):
        inner = next(iter(info.values()), None)
        status = inner.get("httpStatusCode") if isinstance(inner, dict) else None
        if status == 401:
            return _refused(text)
        if isinstance(status, int) and 400 <= status <= 599:
            return decode_error(status, {}, json.encode(quoted if quoted is not None else {"message": text}))
        return UpstreamUnavailable(text or "the child lost its connection to the vendor")
    if quoted is not None:
        return error_event(quoted).error
    return UpstreamFailed(text or "the child's turn failed")


def _quoted(message: str) -> dict[str, Any] | None:
    """The error within a vendor's body."""
    try:
        body = json.loads(message)
    except ValueError:
        return None
    error = body.get("error", body) if isinstance(body, dict) else None
    return error if isinstance(error, dict) else None
