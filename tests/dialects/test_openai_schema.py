"""Functions without parameters on their way to OpenAI's servers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import Peek
from fkproxy.dialects.openai_schema import with_properties


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "object"}, {"type": "object", "properties": {}}),
        ({"type": "object", "properties": None}, {"type": "object", "properties": {}}),
        ({"type": "object", "properties": {"a": {}}}, {"type": "object", "properties": {"a": {}}}),
        ({}, {}),
    ],
)
def test_an_object_names_its_properties(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    assert with_properties(schema) == expected


@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses"])
def test_a_tool_of_another_dialect_is_taken(dialect: str) -> None:
    tool = {"name": "f", "input_schema": {"type": "object"}}
    body = json.dumps({"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "x"}], "tools": [tool]}).encode()
    request = DIALECTS["anthropic"].decode_request(body, Peek(model="m"))
    (encoded,) = json.loads(DIALECTS[dialect].encode_request(request, "m").body)["tools"]
    assert encoded.get("function", encoded)["parameters"] == {"type": "object", "properties": {}}
