"""What a client meant whose base URL is wrong."""

from __future__ import annotations

import time

import pytest

from fkproxy.dialects import CLIENT_DIALECTS
from fkproxy.web.paths import Paths

PATHS = Paths(CLIENT_DIALECTS)


@pytest.mark.parametrize(
    ("asked", "path", "dialect"),
    [
        ("/chat/completions", "/v1/chat/completions", "openai_chat"),
        ("//chat/completions/", "/v1/chat/completions", "openai_chat"),
        ("/v1/v1/chat/completions", "/v1/chat/completions", "openai_chat"),
        ("/V1/chat/completions", "/v1/chat/completions", "openai_chat"),
        ("/v1/chat/completions/chat/completions", "/v1/chat/completions", "openai_chat"),
        ("/some/proxy/v1/chat/completions", "/v1/chat/completions", "openai_chat"),
        ("/responses", "/v1/responses", "openai_responses"),
        ("/v1/completions/completions", "/v1/completions", "openai_completions"),
        ("/v1/v1/messages", "/v1/messages", "anthropic"),
        ("/v1/messages/v1/messages", "/v1/messages", "anthropic"),
        ("/v1/v1/messages/count_tokens", "/v1/messages/count_tokens", "anthropic"),
        ("/v1beta/v1beta/models/m:generateContent", "/v1beta/models/…", "gemini"),
        ("/v1alpha/models/m:streamGenerateContent", "/v1beta/models/…", "gemini"),
    ],
)
def test_a_base_url_that_has_too_much_or_too_little(asked: str, path: str, dialect: str) -> None:
    meant = PATHS.meant(asked)[0]
    assert (meant.path, meant.dialect.name) == (path, dialect)


@pytest.mark.parametrize("asked", ["/", "/v1", "/v1/threads/t/messages", "/v1/messages/batches", "/v1/files", "/v1/v1/models/m:predict"])
def test_what_is_not_served_under_any_base_url(asked: str) -> None:
    assert PATHS.meant(asked) == []


def test_who_has_a_base_url_of_kilobytes_meant_nothing() -> None:
    assert PATHS.meant("/some" * 400 + "/v1/messages")
    assert PATHS.meant("/some" * 410 + "/v1/messages") == []


def test_a_long_path_is_looked_at_once() -> None:
    began_s = time.perf_counter()
    for piece in ("/", "/v1", "/models/", "/chat/completions", "/models/m:"):
        assert PATHS.meant(piece * 10_000 + "!") == []
    assert time.perf_counter() - began_s < 5
