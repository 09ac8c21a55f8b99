"""Requests of Gemini's clients on their way to a server of the same dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects.gemini import DIALECT
from fkproxy.model.errors import InvalidRequest

CONTENT = {"parts": [{"text": "x"}]}


def forwarded(method: str, body: bytes, model: str = "m") -> bytes:
    return DIALECT.forward_request(body, DIALECT.peek(body, f"alias:{method}", ""), model)


@pytest.mark.parametrize(
    ("method", "said", "told"),
    [
        ("embedContent", {"model": "models/alias", "content": CONTENT}, {"model": "models/m", "content": CONTENT}),
        ("embedContent", {"content": CONTENT}, {"content": CONTENT}),
        (
            "batchEmbedContents",
            {"requests": [{"model": "models/alias", "content": CONTENT}, {"content": CONTENT}]},
            {"requests": [{"model": "models/m", "content": CONTENT}, {"content": CONTENT}]},
        ),
        (
            "batchEmbedContents",
            {"requests": {"model": "models/alias", "content": CONTENT}},
            {"requests": {"model": "models/m", "content": CONTENT}},
        ),
        (
            "countTokens",
            {"generateContentRequest": {"model": "models/alias", "contents": [CONTENT]}},
            {"generateContentRequest": {"model": "models/m", "contents": [CONTENT]}},
        ),
        ("countTokens", {"generate_content_request": {"model": "models/alias"}}, {"generate_content_request": {"model": "models/m"}}),
        ("countTokens", {"contents": [CONTENT], "generateContentRequest": None}, {"contents": [CONTENT], "generateContentRequest": None}),
    ],
)
def test_a_question_names_the_model_as_the_upstream_calls_it(method: str, said: dict[str, Any], told: dict[str, Any]) -> None:
    body = json.dumps(said).encode()
    assert json.loads(forwarded(method, body)) == told
    assert forwarded(method, body, "alias") is body


@pytest.mark.parametrize("method", ["generateContent", "streamGenerateContent"])
def test_a_chat_passes_as_it_is(method: str) -> None:
    body = b'{"model": "models/alias", "requests": 1, "contents": []}'
    assert forwarded(method, body) is body


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("embedContent", b"["),
        ("batchEmbedContents", b'{"requests": [1]}'),
        ("batchEmbedContents", b'{"requests": ' + b"[" * 5000 + b"]" * 5000 + b"}"),
        ("countTokens", b'{"generateContentRequest": 1}'),
    ],
)
def test_a_question_that_is_none(method: str, body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        forwarded(method, body)
