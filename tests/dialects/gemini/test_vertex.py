"""Bodies of Vertex AI's clients become those of the Gemini API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects.gemini import DIALECT
from fkproxy.dialects.gemini.vertex import rewrite
from fkproxy.model.errors import InvalidRequest

CONTENTS = [{"role": "user", "parts": [{"text": "hello"}]}]
SYSTEM = {"parts": [{"text": "be brief"}]}


@pytest.mark.parametrize(
    ("target", "said", "read"),
    [
        ("m:countTokens", {"contents": CONTENTS}, {"contents": CONTENTS}),
        (
            "gemini%2Fm%3AcountTokens",
            {"contents": CONTENTS, "systemInstruction": SYSTEM},
            {"generateContentRequest": {"contents": CONTENTS, "systemInstruction": SYSTEM, "model": "models/m"}},
        ),
        ("m:embedContent", {"content": SYSTEM}, {"content": SYSTEM}),
        (
            "m:embedContent",
            {"content": SYSTEM, "embedContentConfig": {"taskType": "RETRIEVAL_QUERY", "outputDimensionality": 8}},
            {"content": SYSTEM, "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 8},
        ),
        (
            "gemini%2Fm%3AbatchEmbedContents",
            {"requests": [{"content": SYSTEM, "embedContentConfig": {"outputDimensionality": 8}}, {"content": SYSTEM}]},
            {"requests": [{"content": SYSTEM, "outputDimensionality": 8, "model": "models/m"}, {"content": SYSTEM, "model": "models/m"}]},
        ),
    ],
)
def test_a_body_says_the_same_in_the_words_of_the_gemini_api(target: str, said: dict[str, Any], read: dict[str, Any]) -> None:
    assert json.loads(rewrite(json.dumps(said).encode(), target)) == read


@pytest.mark.parametrize("target", ["m:generateContent", "m:streamGenerateContent", "m:computeTokens", "m"])
def test_all_else_passes_as_it_is(target: str) -> None:
    assert rewrite(b"{ nothing", target) == b"{ nothing"


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("m:countTokens", b"["),
        ("m:embedContent", b'{"embedContentConfig": 1}'),
        ("m:batchEmbedContents", b'{"requests": [1]}'),
        ("m:batchEmbedContents", b'{"requests": [{"embedContentConfig": 1}]}'),
    ],
)
def test_a_body_that_is_none(target: str, body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        rewrite(body, target)


def test_every_path_of_vertex_ai_is_served() -> None:
    paths = [route.path for route in DIALECT.routes if route.rewrite is rewrite]
    assert paths == [
        f"/{version}/{where}publishers/google/models/{{target}}"
        for version in ("v1beta1", "v1")
        for where in ("", "projects/{project}/locations/{location}/")
    ]
