"""What a client meant whose base URL is wrong."""

from __future__ import annotations

import pytest

from fkproxy.dialects import CLIENT_DIALECTS
from fkproxy.web.paths import Paths, matcher

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
        ("/v1beta/openai/chat/completions", "/v1/chat/completions", "openai_chat"),
        ("/v1beta/openai/models", "/v1/models", "openai_chat"),
        ("/responses", "/v1/responses", "openai_responses"),
        ("/v1/completions/completions", "/v1/completions", "openai_completions"),
        ("/v1/openai/deployments/m/chat/completions", "/openai/deployments/…/chat/completions", "openai_chat"),
        ("/openai/openai/deployments/m/completions", "/openai/deployments/…/completions", "openai_completions"),
        ("/some/proxy/openai/deployments/m/embeddings/", "/openai/deployments/…/embeddings", "openai_chat"),
        ("/openai/openai/responses", "/openai/responses", "openai_responses"),
        ("/deployments/m/embeddings", "/openai/deployments/…/embeddings", "openai_chat"),
        ("/v1/v1/messages", "/v1/messages", "anthropic"),
        ("/v1/messages/v1/messages", "/v1/messages", "anthropic"),
        ("/v1/v1/messages/count_tokens", "/v1/messages/count_tokens", "anthropic"),
        ("/v1beta/v1beta/models/m:generateContent", "/v1beta/models/…", "gemini"),
        ("/models/provider/m:generateContent", "/v1beta/models/…", "gemini"),
        ("/v1beta/provider/m:generateContent", "/v1beta/models/…", "gemini"),
        ("/v1alpha/models/m:streamGenerateContent", "/v1beta/models/…", "gemini"),
        ("/publishers/google/models/m:countTokens", "/v1beta1/publishers/google/models/…", "gemini"),
        (
            "/projects/p/locations/l/publishers/anthropic/models/provider/m:streamRawPredict",
            "/v1/projects/…/locations/…/publishers/anthropic/models/…:streamRawPredict",
            "anthropic",
        ),
        (
            "/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict",
            "/v1/projects/…/locations/…/publishers/anthropic/models/count-tokens:rawPredict",
            "anthropic",
        ),
        (
            "/vertex_ai/v1/projects/p/locations/l/publishers/google/models/m:generateContent",
            "/v1beta1/projects/…/locations/…/publishers/google/models/…",
            "gemini",
        ),
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


@pytest.mark.parametrize(
    ("served", "asked", "target"),
    [
        ("/v1/p/{project}/models/{target}", "/v1/p/a%2Fb/models/provider/m:go", "provider/m:go"),
        ("/v1/p/{project}/models/{target}", "/v1/p/a/b/models/m:go", None),
        ("/v1/p/{project}/models/{target}", "/v1/p/a/models/", None),
        ("/d/{target}/chat", "/d/provider%2Fm/chat", "provider%2Fm"),
        ("/d/{target}/chat", "/d/provider/m/chat", "provider/m"),
        ("/d/{target}/chat", "/d//chat", None),
        ("/v1.5/x", "/v125/x", None),
    ],
)
def test_what_a_path_says_in_the_place_of_its_braces(served: str, asked: str, target: str | None) -> None:
    found = matcher(served).fullmatch(asked)
    assert (found["target"] if found is not None else None) == target
