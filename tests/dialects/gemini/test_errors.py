"""Errors as Google words them, both ways. No key ever leaves in a message."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects.gemini.errors import decode_error, encode_error, error_of
from fkproxy.model.errors import (
    FkproxyError,
    InvalidRequest,
    NotAllowed,
    NotAuthenticated,
    NoUpstreamAvailable,
    RateLimited,
    RequestTooLarge,
    UnknownModel,
    UpstreamFailed,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamRefusedCredential,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)

KEY = "AIzaSyA" + "0" * 32


def body(code: int, message: str = "m", **fields: Any) -> bytes:
    return json.dumps({"error": {"code": code, "message": message, **fields}}).encode()


@pytest.mark.parametrize(
    ("status", "reply", "kind"),
    [
        (400, body(400), UpstreamRejected),
        (404, body(404), UpstreamRejected),
        (413, b"<html>", UpstreamRejected),
        (400, body(400, details=[{"reason": "API_KEY_INVALID"}]), UpstreamRefusedCredential),
        (400, body(400, details=[{"reason": "API_KEY_EXPIRED"}]), UpstreamRefusedCredential),
        (401, body(401), UpstreamRefusedCredential),
        (403, b"", UpstreamRefusedCredential),
        (429, body(429), UpstreamRateLimited),
        (500, body(500), UpstreamFailed),
        (502, b"<html>", UpstreamFailed),
        (503, body(503), UpstreamOverloaded),
        (503, b"[" + body(503) + b"]", UpstreamOverloaded),
        (529, b"[]", UpstreamOverloaded),
        (504, body(504), UpstreamUnavailable),
        (400, body(400, details=5), UpstreamRejected),
        (400, body(400, details=[None, "x", {"reason": 1}]), UpstreamRejected),
        (500, b'{"error": "text"}', UpstreamFailed),
        (500, b"\xff", UpstreamFailed),
    ],
)
def test_an_error_by_its_status(status: int, reply: bytes, kind: type[FkproxyError]) -> None:
    error = decode_error(status, {}, reply)
    assert type(error) is kind
    assert error.upstream_status == status
    assert "<" not in str(error)


@pytest.mark.parametrize(
    ("delay", "header", "expected"),
    [
        ("34.07s", None, 34.07),
        ("34.07s", "5", 34.07),
        ("0s", None, 0.0),
        ("-3s", None, None),
        (None, "7", 7.0),
        ("infs", None, None),
        ("soon", "2.5", 2.5),
        (7, None, None),
        (None, None, None),
    ],
)
def test_how_long_to_wait(delay: Any, header: str | None, expected: float | None) -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}] if delay is not None else []
    error = decode_error(429, {"retry-after": header} if header is not None else {}, body(429, details=details))
    assert error.retry_after_s == expected


@pytest.mark.parametrize(
    "message",
    [
        f"Quota exceeded for consumer 'api_key:{KEY}'.",
        f"see https://example.test/v1?alt=sse&key={KEY}&x=1",
        "see https://example.test/v1?key=0123secret",
        f"API key {KEY} not valid",
        "token ya29.0123secret-x.y is expired",
    ],
)
@pytest.mark.parametrize("status", [400, 401, 429, 500, 503, 504])
def test_no_key_is_repeated(message: str, status: int) -> None:
    told = str(decode_error(status, {}, body(status, message)))
    assert KEY not in told
    assert "secret" not in told


def test_the_vendors_words_reach_the_caller() -> None:
    error = decode_error(400, {}, body(400, "contents is not specified", status="INVALID_ARGUMENT"))
    assert isinstance(error, UpstreamRejected)
    assert (error.status, str(error), error.native_code) == (400, "contents is not specified", "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    "words",
    [
        "Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to manage your project and billing.",
        "Your project has exceeded its monthly spending cap. Please go to AI Studio at https://ai.studio/spend to manage your project …",
        "Your billing account has exceeded its monthly spending cap. Please go to AI Studio at https://ai.studio/billing to manage …",
    ],
)
def test_money_that_is_spent_is_no_rate_that_is_reached(words: str) -> None:
    error = decode_error(429, {}, body(429, words, status="RESOURCE_EXHAUSTED"))
    assert isinstance(error, UpstreamQuotaExhausted)
    assert error.whole_account


@pytest.mark.parametrize(
    "words", ["You do not have permission to access the File 0kpm or it may not exist.", "CachedContent not found (or permission denied)"]
)
def test_what_another_account_has_or_nobody_any_more_says_nothing_about_the_credential(words: str) -> None:
    error = decode_error(403, {}, body(403, words, status="PERMISSION_DENIED"))
    assert isinstance(error, UpstreamRejected)
    assert (error.status, str(error), error.native_code, error.retry) == (403, words, "PERMISSION_DENIED", True)


@pytest.mark.parametrize(
    ("inner", "kind"),
    [
        ({"code": 429}, UpstreamRateLimited),
        ({"status": "UNAVAILABLE"}, UpstreamOverloaded),
        ({"code": 14, "status": "UNAVAILABLE"}, UpstreamOverloaded),
        ({"code": "x", "status": "NEW"}, UpstreamFailed),
        ({}, UpstreamFailed),
    ],
)
def test_an_error_inside_a_reply(inner: dict[str, Any], kind: type[FkproxyError]) -> None:
    assert type(error_of(inner)) is kind


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidRequest("contents", "expected an array"), "INVALID_ARGUMENT"),
        (NotAuthenticated(), "UNAUTHENTICATED"),
        (NotAllowed("no"), "PERMISSION_DENIED"),
        (UnknownModel("m"), "NOT_FOUND"),
        (RequestTooLarge(1), "INVALID_ARGUMENT"),
        (RateLimited(1.5), "RESOURCE_EXHAUSTED"),
        (NoUpstreamAvailable(), "UNAVAILABLE"),
        (UpstreamTimeout("total", 1.0), "DEADLINE_EXCEEDED"),
        (UpstreamFailed("m"), "UNAVAILABLE"),
        (UpstreamRejected(422, "m"), "INVALID_ARGUMENT"),
        (FkproxyError("m"), "INTERNAL"),
    ],
)
def test_our_errors_in_googles_shape(error: FkproxyError, status: str) -> None:
    told = encode_error(error, "request-1")["error"]
    assert (told["code"], told["status"], told["message"]) == (error.status, status, str(error))
    assert {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "request-1"} in told["details"]
    delays = [detail["retryDelay"] for detail in told["details"] if "retryDelay" in detail]
    assert delays == ([f"{error.retry_after_s:.3f}s"] if error.retry_after_s is not None else [])
