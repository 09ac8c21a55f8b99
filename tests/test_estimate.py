"""Tokens, roughly."""

from __future__ import annotations

import json

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import Peek
from fkproxy.estimate import estimate_tokens


def estimated(*messages: object, **fields: object) -> int:
    body = json.dumps({"model": "m", "messages": messages, **fields}).encode()
    return estimate_tokens(DIALECTS["openai_chat"].decode_request(body, Peek(model="m")))


def user(content: object) -> dict[str, object]:
    return {"role": "user", "content": content}


@pytest.mark.parametrize(("text", "tokens"), [("", 4), ("abcd", 5), ("abcde", 6), ("é" * 4, 6), ("x" * 4000, 1004)])
def test_four_bytes_of_text_are_a_token(text: str, tokens: int) -> None:
    assert estimated(user(text)) == tokens


def test_images_tools_calls_and_results_count_too() -> None:
    plain = estimated(user("x" * 8))
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    assert estimated(user([{"type": "text", "text": "x" * 8}, image])) == plain + 258
    tool = {"type": "function", "function": {"name": "f" * 100, "parameters": {"type": "object"}}}
    assert estimated(user("x" * 8), tools=[tool]) > plain + 25
    call = {
        "role": "assistant",
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": "%s"}' % ("x" * 400)}}],
    }
    result = {"role": "tool", "tool_call_id": "1", "content": "y" * 400}
    assert estimated(user("x" * 8), call, result) > plain + 200
