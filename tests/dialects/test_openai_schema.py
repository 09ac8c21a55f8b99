"""Functions without parameters on their way to OpenAI's servers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import Peek
from fkproxy.dialects.openai_schema import function_parameters


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "object"}, {"type": "object", "properties": {}}),
        ({"type": "object", "properties": None}, {"type": "object", "properties": {}}),
        ({"type": "object", "properties": {"a": {}}}, {"type": "object", "properties": {"a": {}}}),
        ({}, {"type": "object", "properties": {}}),
    ],
)
def test_an_object_names_its_properties(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    assert function_parameters(schema, [], unions=True) == expected


LIST, FILLED = {"type": "array"}, {"type": "array", "items": {}}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (LIST, FILLED),
        ({"type": ["array", "null"]}, {"type": ["array", "null"], "items": {}}),
        ({"type": "array", "items": None}, FILLED),
        ({"type": "array", "items": LIST}, {"type": "array", "items": FILLED}),
        ({"type": "array", "items": False, "prefixItems": [LIST]}, {"type": "array", "items": False, "prefixItems": [FILLED]}),
        ({"anyOf": [LIST, {"type": "null"}]}, {"anyOf": [FILLED, {"type": "null"}]}),
        ({"type": "object", "additionalProperties": LIST}, {"type": "object", "additionalProperties": FILLED}),
        ({"type": "object", "properties": {"type": LIST}}, {"type": "object", "properties": {"type": FILLED}}),
        ({"const": LIST, "enum": [LIST], "default": LIST, "examples": [LIST]},) * 2,
        (True, True),
    ],
)
def test_a_list_says_of_what_it_is_one_however_deep_it_stands(schema: Any, expected: Any) -> None:
    whole, told = ({"type": "object", "properties": {"a": inner}, "$defs": {"b": inner}} for inner in (schema, expected))
    assert json.dumps(function_parameters(whole, [], unions=True)) == json.dumps(told)


def test_what_is_deeper_than_any_real_schema_is_left_as_it_is() -> None:
    deep: dict[str, Any] = LIST
    for _ in range(900):
        deep = {"anyOf": [deep]}
    assert function_parameters(deep, [], unions=True) == deep


@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses"])
def test_a_tool_of_another_dialect_is_taken(dialect: str) -> None:
    tool = {"name": "f", "input_schema": {"type": "object", "properties": {"a": LIST}}}
    body = json.dumps({"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "x"}], "tools": [tool]}).encode()
    request = DIALECTS["anthropic"].decode_request(body, Peek(model="m"))
    (encoded,) = json.loads(DIALECTS[dialect].encode_request(request, "m").body)["tools"]
    assert encoded.get("function", encoded)["parameters"] == {"type": "object", "properties": {"a": FILLED}}
