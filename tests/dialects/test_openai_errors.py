"""What kind of error OpenAI's clients read in `type`, by status."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects.openai_errors import decode_error, encode_error, error_event
from fkproxy.model.errors import (
    ConcurrencyExceeded,
    FkproxyError,
    InternalError,
    InvalidRequest,
    KeyPaused,
    NotAuthenticated,
    UpstreamFailed,
    UpstreamModelMissing,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamRefusedCredential,
    UpstreamRejected,
    UpstreamSpawnFailed,
    UpstreamTimeout,
)


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (InvalidRequest("n", "expected a number"), "invalid_request_error", "invalid_request"),
        (NotAuthenticated(), "authentication_error", "invalid_api_key"),
        (KeyPaused(), "permission_error", "key_paused"),
        (ConcurrencyExceeded(20), "rate_limit_error", "concurrency_exceeded"),
        (InternalError(), "server_error", "internal_error"),
        (UpstreamSpawnFailed("/usr/bin/codex", "no such file"), "server_error", "spawn_error"),
        (UpstreamTimeout("silence", 120.0), "timeout_error", "timeout"),
    ],
)
def test_the_type_follows_from_the_status(error: FkproxyError, kind: str, code: str) -> None:
    told = encode_error(error, "r")["error"]
    assert (told["type"], told["code"]) == (kind, code)
    assert "/usr/bin" not in told["message"]


@pytest.mark.parametrize(
    ("fields", "kind", "elsewhere"),
    [
        ({"message": "Conversation with id 'conv_1' not found.", "param": None, "code": None}, UpstreamRejected, True),
        ({"message": "Prompt with id 'pmpt_1' not found."}, UpstreamRejected, True),
        ({"message": "Item with id 'rs_1' not found. Items are not persisted when …", "param": "input"}, UpstreamRejected, False),
        ({"message": "Model with id 'm' not found"}, UpstreamModelMissing, True),
        ({"message": "The model `m` does not exist", "code": "model_not_found"}, UpstreamModelMissing, True),
        ({}, UpstreamModelMissing, True),
    ],
)
def test_what_a_404_is_about(fields: dict[str, str | None], kind: type[FkproxyError], elsewhere: bool) -> None:
    error = decode_error(404, {}, json.dumps({"error": fields}).encode())
    assert (type(error), error.retry) == (kind, elsewhere)


GONE = "The model `m` has been decommissioned and is no longer supported. Please refer to https://console.groq.com/docs/deprecations …"
NO_ACCESS = "Project `proj_secret` does not have access to model `m`"


@pytest.mark.parametrize(
    ("status", "fields", "told"),
    [
        (400, {"message": "The requested model 'm' does not exist.", "param": "model", "code": "model_not_found"}, "The requested model"),
        (400, {"message": GONE, "code": "model_decommissioned"}, "The model `m` has been"),
        (400, {"message": "The requested model is not supported.", "code": "model_not_supported"}, "The requested model is"),
        (400, {"object": "error", "message": "Invalid model: m", "type": "invalid_model", "code": "1500"}, "Invalid model"),
        (400, {"message": "Model Not Exist", "type": "invalid_request_error", "code": "invalid_request_error"}, "Model Not Exist"),
        (400, {"message": "m is not a valid model ID", "code": 400}, "m is not"),
        (403, {"message": NO_ACCESS, "type": "invalid_request_error", "code": "model_not_found"}, "the gateway's account"),
    ],
)
def test_a_model_that_is_not_there_is_known_by_code_and_words_too(status: int, fields: dict[str, Any], told: str) -> None:
    error = decode_error(status, {}, json.dumps({"error": fields} if "object" not in fields else fields).encode())
    assert (type(error), error.status, error.retry) == (UpstreamModelMissing, 404, True)
    assert str(error).startswith(told)


def test_a_400_that_only_speaks_of_a_model_is_the_requests() -> None:
    for message in (
        "Invalid value: 'm' is not a valid model ID for images",
        "Unsupported value: this model",
        "The Model Not Exist tool failed",
    ):
        assert type(decode_error(400, {}, json.dumps({"error": {"message": message}}).encode())) is UpstreamRejected


@pytest.mark.parametrize(
    "code",
    [
        *("insufficient_quota", "billing_hard_limit_reached", "credit_balance_exhausted", "organization_usage_limit_exceeded"),
        *("organization_spend_limit_exceeded", "project_spend_limit_exceeded"),
    ],
)
def test_money_that_is_spent_is_no_rate_that_is_reached(code: str) -> None:
    inner = {"message": "no", "type": "billing_error", "code": code}
    assert type(decode_error(429, {}, json.dumps({"error": inner}).encode())) is UpstreamQuotaExhausted
    assert type(error_event(inner).error) is UpstreamQuotaExhausted


def test_an_account_of_moonshots_without_a_balance_is_spent() -> None:
    words = "Your account org-2a <ak-fc> is suspended due to insufficient balance, please recharge your account"
    error = decode_error(429, {}, json.dumps({"error": {"message": words, "type": "exceeded_current_quota_error"}}).encode())
    assert type(error) is UpstreamQuotaExhausted
    assert "org-2a" not in str(error)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (429, UpstreamRateLimited),
        ("429", UpstreamRateLimited),
        ("Overloaded", UpstreamOverloaded),
        ("\u00b2", UpstreamFailed),
        ("9" * 5000, UpstreamFailed),
    ],
)
def test_an_error_within_a_reply_says_by_its_code_what_it_is(code: object, kind: type[FkproxyError]) -> None:
    assert type(error_event({"code": code, "message": "x"}).error) is kind


FLAGGED = 'meta-llama/llama-guard requires moderation on OpenRouter. Your input was flagged for "violence". No credits were charged.'
GUIDELINES = "Content violates usage guidelines. Team: t, API key ID: k, Model: grok-4, Failed check: SAFETY_CHECK_TYPE_BIO"
NO_TOOLS = "No endpoints found that support tool use. To learn more about provider routing, visit: https://openrouter.ai/docs"

TOO_LARGE = "Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Requested 36278. The input or …"


@pytest.mark.parametrize(
    ("status", "reply", "words", "retry"),
    [
        (429, {"error": {"message": TOO_LARGE, "type": "tokens", "code": "rate_limit_exceeded"}}, TOO_LARGE, True),
        (413, {"error": {"message": TOO_LARGE, "type": "tokens", "code": "rate_limit_exceeded"}}, TOO_LARGE, True),
        (403, {"error": {"code": 403, "message": FLAGGED, "metadata": {"reasons": ["violence"], "flagged_input": "x"}}}, FLAGGED, False),
        (403, {"code": "The caller does not have permission to execute the operation", "error": GUIDELINES}, GUIDELINES, False),
        (404, {"error": {"code": 404, "message": NO_TOOLS}}, NO_TOOLS, True),
        (498, {"error": {"code": "capacity_exceeded", "message": "Flex tier capacity exceeded"}}, "Flex tier capacity exceeded", True),
    ],
)
def test_what_is_refused_for_what_it_says_or_wants_is_the_requests_doing(
    status: int, reply: dict[str, Any], words: str, retry: bool
) -> None:
    error = decode_error(status, {}, json.dumps(reply).encode())
    assert type(error) is UpstreamRejected
    assert (error.status, str(error), error.retry) == (status, words, retry)


@pytest.mark.parametrize(
    ("status", "words", "kind", "told"),
    [
        (400, 'Invalid JSON payload received. Unknown name "store": Cannot find field.', UpstreamRejected, "Invalid JSON payload"),
        (400, "API key not valid. Please pass a valid API key.", UpstreamRefusedCredential, "the upstream refused"),
        (400, "API key expired. Please renew the API key.", UpstreamRefusedCredential, "the upstream refused"),
        (429, "You exceeded your current quota.", UpstreamRateLimited, "You exceeded your current quota."),
    ],
)
def test_an_error_that_google_wraps_in_an_array_is_told_in_its_words(status: int, words: str, kind: type[FkproxyError], told: str) -> None:
    reply = [{"error": {"code": status, "message": words, "status": "INVALID_ARGUMENT"}}]
    error = decode_error(status, {}, json.dumps(reply).encode())
    assert type(error) is kind
    assert str(error).startswith(told)


def test_words_of_a_clients_own_that_a_400_quotes_say_nothing_about_the_credential() -> None:
    words = "Invalid value: 'Please pass a valid API key'. Supported values are: 'system', 'assistant', 'user'."
    error = decode_error(400, {}, json.dumps({"error": {"message": words, "param": "messages[0].role", "code": "invalid_value"}}).encode())
    assert type(error) is UpstreamRejected


def test_a_403_that_says_nothing_of_the_request_is_about_the_credential() -> None:
    error = decode_error(403, {}, b'{"error": {"message": "Country, region, or territory not supported"}}')
    assert type(error) is UpstreamRefusedCredential
