"""Errors in the shape Anthropic gives them, both ways. Floor 1. Pure.

Source: platform.claude.com/docs/en/api/errors and …/api/rate-limits, read 2026-11:
`{"type": "error", "error": {"type", "message", "details"?: {"error_code", …}}, "request_id"}`. The vendor's own clients act upon that code:
they send a conversation again whose thread is lost.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fkproxy.dialects.retry_after import believed_s, retry_after_s, seconds_until
from fkproxy.dialects.statuses import MAX_MESSAGE_CHARS, NO_QUOTA, REFUSED, error_of_status, value_of
from fkproxy.model.errors import (
    FkproxyError,
    Unrepresentable,
    UpstreamError,
    UpstreamModelMissing,
    UpstreamQuotaExhausted,
    UpstreamRefusedCredential,
    UpstreamRejected,
)
from fkproxy.wire import json

__all__ = ["decode_error", "encode_error", "error_of"]

_MAX_DETAILS_BYTES = 1000

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

_SPENT = re.compile(r"(?:Your )?credit balance is too low\b|You have reached your (?:specified )?(?:workspace )?API usage limits\b", re.I)
_SPENT_CODES = frozenset(("contract_spend_limit_reached", "enforced_spend_limit_reached"))
_REGAINED = re.compile(r"\bYou will regain access on (\d{4}-\d\d-\d\d) at (\d\d:\d\d) UTC")
"""How a 400 begins, or what is with a 429: the money of the account behind the gateway's key, or what may be spent of it, is used up
(…/api/rate-limits, "spend limits"; anthropics/claude-code#38035). Behind their beginning a 400's words may be the client's own.
"""

_DISABLED = "This organization has been disabled"
_DISABLED_CODES = frozenset(("cmek_key_disabled", "organization_on_hold"))
"""With a 400: nothing goes through the account behind the gateway's key (anthropic 2.12, `_error_classes`)."""

_CUSTOMERS = ("linked_organization_", "user_profile_")
"""How the codes of a 402 and a 403 begin that are about the customer whom the request names in `user_profile_id` (anthropic 2.12)."""

_TOO_LONG = "prompt is too long"
"""In the words of a 400, by which clients know it: "prompt is too long: 200001 tokens > 200000 maximum"."""

_TOO_LONG_WORDS = re.compile(rf"\b{_TOO_LONG}\b|\bexceed context limit\b", re.IGNORECASE)
"""The second is of the prompt and `max_tokens` together. Vertex AI has a 413 for it, "Prompt is too long"."""

_NO_THREADS = '{"error_code":"thread_unsupported_request"}'
"""What a client is told whose conversation is to be a thread where there are none: the vendor's own tool runners always ask for one, and
send the conversation without it when they read this (anthropic-sdk-python, lib/threads).
"""

_THREAD_UNKNOWN = "thread: Extra inputs are not permitted"
"""How a 400 begins of who speaks the dialect and has no threads, as Vertex AI."""

_UNIFIED = "anthropic-ratelimit-unified-"
"""How limits of a subscription are told, which an OAuth token has: `…status` and `…reset` of all together, `…5h-status` and so on of each
window. Times are unix seconds. `overage` is what may be bought beyond them. The vendor documents none of it; Claude Code reads it
(griffinwork40/agent-afk#488, of 2.1.206; router-for-me/CLIProxyAPI#3148; manaflow-ai/subrouter#24, read 2026-11).
"""
_OVERAGE = _UNIFIED + "overage-"
_EVERY_MODELS = frozenset((_UNIFIED + "5h-", _UNIFIED + "7d-"))
"""Windows of the whole account; others, as `7d_opus`, are of some models."""
_WHOLE_ACCOUNT = _EVERY_MODELS | {_UNIFIED}

_NO_FILE = "File not found"
"""How a 404 begins that is about a file, which another account may have, and not about the model (…/build-with-claude/files)."""


def encode_error(error: FkproxyError, request_id: str) -> dict[str, Any]:
    """The reply's JSON value."""
    kind = _TYPES.get(error.status, "api_error" if error.status >= 500 else "invalid_request_error")
    message = str(error)[:MAX_MESSAGE_CHARS]
    details = error.details if isinstance(error, UpstreamRejected) else None
    if isinstance(error, Unrepresentable) and error.param == "thread":
        details = _NO_THREADS
    if isinstance(error, UpstreamRejected) and error.native_code == UpstreamRejected.TOO_LONG and not _TOO_LONG_WORDS.search(message):
        message = f"{_TOO_LONG}: {message}"
    told = {"details": json.loads(details)} if details is not None else {}
    return {"type": "error", "error": {"type": kind, "message": message, "code": error.code, **told}, "request_id": request_id}


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """An error reply as one of ours. A refused credential's words are not kept: they may quote the key."""
    value = value_of(body)
    inner = value.get("error") if isinstance(value, dict) else None
    if status == 429 and (windows := _spent_windows(headers)):
        return UpstreamQuotaExhausted(NO_QUOTA, retry_after_s=_wait_s(headers), whole_account=windows <= _WHOLE_ACCOUNT)
    fields = inner if isinstance(inner, dict) else {}
    return _error(status, fields, _wait_s(headers, str(fields.get("message"))))


def error_of(inner: Any) -> UpstreamError:
    """An error that came inside a 200."""
    fields = inner if isinstance(inner, dict) else {}
    kind = fields.get("type")
    return _error(_STATUS.get(kind, 500) if isinstance(kind, str) else 500, fields, None)


def _error(status: int, inner: dict[str, Any], wait_s: float | None) -> UpstreamError:
    message, kind = inner.get("message"), inner.get("type")
    words = message[:MAX_MESSAGE_CHARS] if isinstance(message, str) and message else None
    native = kind if isinstance(kind, str) else None
    no_threads = status == 400 and words is not None and words.startswith(_THREAD_UNKNOWN)
    details = _NO_THREADS if no_threads else _details(inner.get("details"))
    code, said = _code(inner.get("details")), words or ""
    no_file = status == 404 and said.startswith(_NO_FILE)
    if status in (400, 429) and (code in _SPENT_CODES or _SPENT.match(said)):
        return UpstreamQuotaExhausted(NO_QUOTA, retry_after_s=wait_s, upstream_status=status)
    if status == 400 and (code in _DISABLED_CODES or said.startswith(_DISABLED)):
        return UpstreamRefusedCredential(REFUSED, upstream_status=status)
    # A 404 with details is about a thread or a file.
    if status == 404 and details is None and not no_file:
        return UpstreamModelMissing(status, words or "the upstream answered 404", native_code=native)
    if _TOO_LONG_WORDS.search(said):
        native = UpstreamRejected.TOO_LONG
    if status in (402, 403) and code.startswith(_CUSTOMERS):
        return UpstreamRejected(status, words or f"the upstream answered {status}", native_code=native, details=details)
    return error_of_status(status, words, wait_s, native_code=native, details=details, elsewhere=no_file)


def _code(details: Any) -> str:
    """What an error is, for programs; empty where it does not say."""
    code = details.get("error_code") if isinstance(details, dict) else None
    return code if isinstance(code, str) else ""


def _details(given: Any) -> str | None:
    """What an error says for programs; None where there is no code in it, as there is none in most."""
    if not _code(given):
        return None
    told = json.encode(given)
    return told.decode() if len(told) <= _MAX_DETAILS_BYTES else None


def _spent_windows(headers: Mapping[str, str]) -> set[str]:
    """What the names of the headers of each spent window of a subscription begin with: those of the whole account, else of some models,
    else `_UNIFIED` if none is told by itself. Empty if none is, as where nothing is refused but what goes beyond them
    (router-for-me/CLIProxyAPI#5920, read 2026-11): the account serves other models, and shorter requests.
    """
    if headers.get(_UNIFIED + "status") != "rejected":
        return set()
    statuses = ((name, status) for name, status in headers.items() if name.startswith(_UNIFIED) and name.endswith("-status"))
    told = {name.removesuffix("status"): status for name, status in statuses}
    spent = {window for window, status in told.items() if status == "rejected"} - {_UNIFIED, _OVERAGE}
    if not spent and _EVERY_MODELS.isdisjoint(told):
        return {_UNIFIED}
    return spent & _EVERY_MODELS or spent


def _wait_s(headers: Mapping[str, str], words: str = "") -> float | None:
    """Seconds from `retry-after`, else until the last of the exhausted limits is full again, by the reply's own `date`.

    `words` tell it of a limit of money.
    """
    given = retry_after_s(headers)
    if given is not None:
        return given
    resets = [
        seconds_until(headers, datetime.fromisoformat, reset)
        for name, reset in headers.items()
        if name.startswith("anthropic-ratelimit-")
        and name.endswith("-reset")
        and headers.get(name.removesuffix("reset") + "remaining") == "0"
    ]
    usual = headers.get(_UNIFIED + "reset", "")
    resets += [seconds_until(headers, _at, headers.get(window + "reset", usual)) for window in _spent_windows(headers)]
    resets.append(seconds_until(headers, _regained_at, words))
    return max((wait_s for wait_s in map(believed_s, resets) if wait_s is not None), default=None)


def _regained_at(words: str) -> datetime:
    told = _REGAINED.search(words)
    return datetime.fromisoformat(f"{told[1]}T{told[2]}Z" if told is not None else "")


def _at(unix_s: str) -> datetime:
    return datetime.fromtimestamp(int(unix_s), UTC)
