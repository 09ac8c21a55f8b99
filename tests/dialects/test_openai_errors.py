"""What kind of error OpenAI's clients read in `type`, by status."""

from __future__ import annotations

import pytest

from fkproxy.dialects.openai_errors import encode_error
from fkproxy.model.errors import (
    ConcurrencyExceeded,
    FkproxyError,
    InternalError,
    InvalidRequest,
    KeyPaused,
    NotAuthenticated,
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
