"""Errors in the shape OpenAI gives them, both ways. Floor 1. Pure.

Source: OpenAI API reference, "Error codes", read 2026-11: `{"error": {"message", "type", "param", "code"}}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fkproxy.dialects.retry_after import retry_after_s
from fkproxy.dialects.statuses import MAX_MESSAGE_CHARS, NO_QUOTA, REFUSED, error_of_status, value_of
from fkproxy.model.errors import (
    FkproxyError,
    UpstreamError,
    UpstreamModelMissing,
    UpstreamQuotaExhausted,
    UpstreamRefusedCredential,
    UpstreamRejected,
)
from fkproxy.model.events import Failed
from fkproxy.wire.numbers import whole_number

__all__ = ["decode_error", "encode_error", "error_event"]

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error", 504: "timeout_error"}
_QUOTA_CODES = frozenset(
    (
        *("insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "quota_exceeded", "credit_balance_exhausted"),
        *("organization_spend_limit_exceeded", "organization_usage_limit_exceeded", "project_spend_limit_exceeded"),
        "exceeded_current_quota_error",
    )
)
"""A 429 that no waiting ends: the account's money or allowance is used up (developers.openai.com/api/docs/guides/spend-limits, and
help.openai.com/en/articles/6614457, read 2026-11). The last is the `type` of Moonshot's.
"""

_STATUS_BY_WORD = {
    **dict.fromkeys(_QUOTA_CODES, 402),
    "rate_limit": 429,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "too_many_requests": 429,
    "resource_exhausted": 429,
    "overloaded": 503,
    "overloaded_error": 503,
    "server_overloaded": 503,
    "service_unavailable": 503,
    "unavailable": 503,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "permission_error": 403,
    "invalid_request_error": 400,
    "invalid_argument": 400,
    UpstreamRejected.TOO_LONG: 400,
    "not_found_error": 404,
    "usage_limit_reached": 429,
    "server_is_overloaded": 503,
    "slow_down": 503,
    # Of a response that failed, what its request is to blame for.
    **dict.fromkeys(
        (
            *("invalid_prompt", "data_residency_mismatch", "bio_policy", "misalignment_policy_violation"),
            *("invalid_image", "invalid_image_format", "invalid_base64_image", "invalid_image_url", "invalid_image_mode"),
            *("image_too_large", "image_too_small", "image_parse_error", "image_content_policy_violation", "image_file_too_large"),
            *("unsupported_image_media_type", "empty_image_file", "failed_to_download_image", "image_file_not_found"),
        ),
        400,
    ),
}
"""An error inside a 200 has no status of its own; its type or code says what it would have been."""

_GONE = re.compile(r"(?!model\b)\w+ with id '[^']*' not found", re.IGNORECASE)
"""How a 404 begins that names neither a parameter nor a code: "Conversation with id 'conv_1' not found.", and so of a prompt."""

_BAD_KEY = re.compile(r"API key (?:not valid|expired)\. Please (?:pass a valid|renew the) API key\b")
"""How a 400 of Google's begins. Behind their beginning a 400's words may be the client's own."""

_FLAGGED = re.compile(r"\binput was flagged\b|\bviolates usage guidelines\b")
"""In the words of a 403: what was said is refused, and not who says it. OpenRouter (openrouter.ai/docs/api/reference/errors-and-debugging)
and xAI, read 2026-11.
"""

_TOO_LONG_HERE = (
    r"\bmaximum (?:context|prompt|model) length\b|\bmodel's context length\b|\bexceeds the available context size\b"
    r"|\bprompt exceeds max length\b|\bexceeded model token limit\b|\brange of input length should be\b"
    r"|\binput tokens exceed the configured limit\b"
)
_TOO_LONG_RESPONSES = rf"{_TOO_LONG_HERE}|\bexceeds the context window\b"
_TOO_LONG_ELSEWHERE = r"\bexceeds the maximum number of tokens allowed\b|\bprompt is too long\b"
_TOO_LONG = re.compile(f"{_TOO_LONG_RESPONSES}|{_TOO_LONG_ELSEWHERE}", re.IGNORECASE)
"""In the words of a 400 of those that have another code for it, or none: vLLM, DeepSeek, xAI, llama.cpp, Z.ai, Moonshot, Alibaba; Google
and gateways of Claude's models, whose words are those of other dialects. Most are from the list by which Claude Code 2.1 knows them.
"""

_TOO_LONG_WORDS = re.compile(_TOO_LONG_HERE, re.IGNORECASE)
_TOO_LONG_WORDS_OF_RESPONSES = re.compile(_TOO_LONG_RESPONSES, re.IGNORECASE)
_TOO_LONG_BEGINS = "This model's maximum context length is exceeded"
"""How a client is told of it that asked an upstream of other words: programs on LiteLLM, as aider, look for these and not at the code."""

_NO_MODEL_CODES = frozenset(("model_not_found", "model_not_supported", "model_decommissioned", "invalid_model"))
_NO_MODEL = re.compile(r"^Model Not Exist$|^\S+ is not a valid model ID$")
"""How a model that is not there is told by others than with a 404: codes of OpenAI's 400 and 403, Copilot's, Groq's, and Mistral's `type`;
words of DeepSeek's 400 and OpenRouter's. Read in reports of their users, 2026-11.
"""

_NOT_OFFERED = "No endpoints found that support"
"""How a 404 of OpenRouter begins that is about tools, images or a parameter; the model is there."""

_TOO_LARGE = "Request too large for "
"""How a 429 of OpenAI's and a 413 of Groq's begin, for a request that is beyond what the account may use in a minute: no waiting helps it,
and others are served.
"""

_NO_ROOM = 498
"""Groq's, for a request that asks for its flex tier (console.groq.com/docs/flex-processing, read 2026-11); others are served."""


def encode_error(error: FkproxyError, request_id: str, *, of_responses: bool = False) -> dict[str, Any]:
    """The reply's JSON value. `of_responses`: the client speaks Responses, whose own words for a conversation too long are other ones."""
    kind = _TYPES.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
    native = error.native_code if isinstance(error, UpstreamRejected) else None
    message = str(error)[:MAX_MESSAGE_CHARS]
    known = _TOO_LONG_WORDS_OF_RESPONSES if of_responses else _TOO_LONG_WORDS
    if native == UpstreamRejected.TOO_LONG and not known.search(message):
        message = f"{_TOO_LONG_BEGINS}: {message}"
    return {"error": {"message": message, "type": kind, "param": error.param, "code": native or error.code, "request_id": request_id}}


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """An error reply as one of ours. A refused credential's words are not kept: they may quote the key."""
    value = value_of(body)
    inner = value.get("error", value) if isinstance(value, dict) else value
    return _error(status, inner, retry_after_s(headers))


def error_event(inner: Any) -> Failed:
    """An error that came inside a 200."""
    status = 502
    if isinstance(inner, dict):
        for word in (inner.get("status"), inner.get("code"), inner.get("type")):
            found = _STATUS_BY_WORD.get(word.lower(), whole_number(word)) if isinstance(word, str) else word
            if isinstance(found, int) and 400 <= found <= 599:
                status = found
                break
    return Failed(_error(status, inner, None))


def _error(status: int, inner: Any, wait_s: float | None) -> UpstreamError:
    message, param, code = _words(inner)
    refused_key = code == "invalid_api_key" or (message is not None and _BAD_KEY.match(message) is not None)
    kind = inner.get("type") if isinstance(inner, dict) else None
    no_model = not _NO_MODEL_CODES.isdisjoint((code, str(kind))) or (message is not None and _NO_MODEL.search(message) is not None)
    match status:
        case 429 if not _QUOTA_CODES.isdisjoint((code, str(kind))):
            return UpstreamQuotaExhausted(NO_QUOTA, retry_after_s=wait_s, upstream_status=status)
        case 403 if message is not None and _FLAGGED.search(message):
            return UpstreamRejected(status, message, param=param, native_code=code)
        case 413 | 429 if message is not None and message.startswith(_TOO_LARGE):
            return UpstreamRejected(status, message, param=param, native_code=code, elsewhere=True)
        case 404 if message is not None and message.startswith(_NOT_OFFERED):
            return UpstreamRejected(status, message, param=param, native_code=code, elsewhere=True)
        case 404 if param is None and code is None and message is not None and _GONE.match(message):
            return UpstreamRejected(status, message, elsewhere=True)
        case _ if status == _NO_ROOM:
            return UpstreamRejected(status, message or "the upstream has no room for now", param=param, native_code=code, elsewhere=True)
        case 404 if param in (None, "model"):
            return UpstreamModelMissing(status, message or "the upstream answered 404", param=param, native_code=code)
        case 400 if no_model:
            return UpstreamModelMissing(404, message or "the upstream does not have the model", param=param, native_code=code)
        case 403 if no_model:
            # Its words name the account's project.
            return UpstreamModelMissing(404, "the gateway's account at the upstream may not use the model", param=param, native_code=code)
        case 400 if refused_key:
            return UpstreamRefusedCredential(REFUSED, upstream_status=status)
        case _:
            native = UpstreamRejected.TOO_LONG if message is not None and _TOO_LONG.search(message) else code
            return error_of_status(status, message, wait_s, param=param, native_code=native)


def _words(inner: Any) -> tuple[str | None, str | None, str | None]:
    """(message, param, code) as far as they are there."""
    if isinstance(inner, str):
        return inner[:MAX_MESSAGE_CHARS], None, None
    if not isinstance(inner, dict):
        return None, None, None
    message = inner.get("message") or inner.get("detail")
    param, code = inner.get("param"), inner.get("code")
    return (
        message[:MAX_MESSAGE_CHARS] if isinstance(message, str) else None,
        param if isinstance(param, str) else None,
        code[:100] if isinstance(code, str) else None,
    )
