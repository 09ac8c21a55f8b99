"""Functions without parameters on their way to OpenAI's servers."""

from __future__ import annotations

import json
from functools import reduce
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


STRING: dict[str, Any] = {"type": "string"}
DEEP = reduce(lambda inner, _: {"anyOf": [inner]}, range(100), STRING)


def closed(*needed: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(needed), "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (closed("a", a=STRING), True),
        (closed(), True),
        (closed("a", a={"type": ["string", "null"], "format": "date"}), True),
        (closed("a", a={"anyOf": [closed("b", b=STRING), {"type": "null"}]}), True),
        ({**closed("a", a={"$ref": "#/$defs/b"}), "$defs": {"b": closed("c", c={"type": "array", "items": STRING})}}, True),
        (closed("default", default=STRING), True),
        (closed("a", a=STRING, b=STRING), False),
        ({"type": "object", "properties": {}}, False),
        ({**closed("a", a=STRING), "additionalProperties": True}, False),
        (closed("a", a=closed(b=STRING)), False),
        (closed("a", a={"type": ["object", "null"], "properties": {}}), False),
        (closed("a", a={"type": "array", "items": closed(b=STRING)}), False),
        (closed("a", a={"type": "array"}), False),
        (closed("a", a={"anyOf": [closed(b=STRING)]}), False),
        ({**closed("a", a={"$ref": "#/$defs/b"}), "$defs": {"b": closed(c=STRING)}}, False),
        (closed("a", a={}), False),
        (closed("a", a={"enum": ["x"]}), False),
        (closed("a", a={"const": "x"}), False),
        ({**closed("a", a={"$ref": "#/$defs/b", "description": "d"}), "$defs": {"b": closed("c", c=STRING)}}, False),
        (closed("a", a=True), False),
        (closed("a", a={"type": "string", "format": "uri"}), False),
        (closed("a", a={"type": "string", "default": "x"}), False),
        (closed("a", a={"allOf": [STRING]}), False),
        (closed("a", a={"type": "string", "oneOf": [STRING]}), False),
        ({**closed("a", a=STRING), "required": None}, False),
        ({**closed("a", a=STRING), "required": [{}]}, False),
        (closed("a", a={"type": "string", "format": {}}), False),
        (closed("a", a=DEEP), False),
    ],
)
@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses"])
def test_a_tool_is_strict_where_its_schema_may_be(dialect: str, schema: dict[str, Any], strict: bool) -> None:
    """Other vendors enforce schemas with properties that may be left out; OpenAI answers 400, "'required' is required to be supplied"."""
    tool = {"name": "f", "input_schema": schema, "strict": True}
    body = json.dumps({"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "x"}], "tools": [tool]}).encode()
    request = DIALECTS["anthropic"].decode_request(body, Peek(model="m"))
    encoded = DIALECTS[dialect].encode_request(request, "gpt-5")
    (told,) = json.loads(encoded.body)["tools"]
    assert bool(told.get("function", told).get("strict")) is strict
    assert ([loss.field for loss in encoded.losses] == ["tools[].strict"]) is not strict


def test_a_client_of_openais_own_knows_what_is_strict() -> None:
    function = {"name": "f", "parameters": closed(a=STRING), "strict": True}
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": [{"type": "function", "function": function}]})
    request = DIALECTS["openai_chat"].decode_request(body.encode(), Peek(model="m"))
    encoded = DIALECTS["openai_responses"].encode_request(request, "gpt-5")
    assert json.loads(encoded.body)["tools"][0]["strict"] is True
    assert encoded.losses == ()
