"""What kind of error OpenAI's clients read in `type`, by status."""

from __future__ import annotations

import pytest

from fkproxy.dialects.openai_errors import encode_error, error_event
from fkproxy.model.errors import (
    ConcurrencyExceeded,
    FkproxyError,
    InternalError,
    InvalidRequest,
    KeyPaused,
    NotAuthenticated,
    UpstreamFailed,
    UpstreamOverloaded,
    UpstreamRateLimited,
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
