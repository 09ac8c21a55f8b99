"""Files on their way from one dialect to another."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import Peek

HELLO = "SGVsbG8="


@pytest.mark.parametrize(("kind", "expected"), [("application/pdf", "file.pdf"), ("text/plain", "file.txt"), ("text/html", "file.html")])
@pytest.mark.parametrize("upstream", ["openai_chat", "openai_responses"])
def test_a_file_without_a_name_gets_one_that_says_what_it_is(upstream: str, kind: str, expected: str) -> None:
    asked: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"inlineData": {"mimeType": kind, "data": HELLO}}]}]}
    request = DIALECTS["gemini"].decode_request(json.dumps(asked).encode(), Peek(model="m"))
    body = json.loads(DIALECTS[upstream].encode_request(request, "m").body)
    (part,) = (body.get("messages") or body["input"])[0]["content"]
    assert part.get("file", part)["filename"] == expected
