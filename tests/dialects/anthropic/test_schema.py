"""Schemas for tools and for answers."""

from __future__ import annotations

from typing import Any

import pytest

from fkproxy.dialects.anthropic.schema import strict_schema, tool_schema

OBJECT = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (None, {"type": "object", "properties": {}}),
        (OBJECT, OBJECT),
        ({"properties": {"a": {}}}, {"type": "object", "properties": {"a": {}}}),
        ({}, {"type": "object", "properties": {}}),
        (
            {"$ref": "#/$defs/A", "$defs": {"A": OBJECT}},
            {**OBJECT, "$defs": {"A": OBJECT}},
        ),
        (
            {"anyOf": [OBJECT, {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "null"}}, "required": ["a", "b"]}]},
            {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "null"}}, "required": ["a"]},
        ),
        (
            {"allOf": [OBJECT, {"properties": {"b": {}}, "required": ["b"]}], "description": "both"},
            {"description": "both", "type": "object", "properties": {"a": {"type": "string"}, "b": {}}, "required": ["a", "b"]},
        ),
        (
            {"oneOf": [{"$ref": "#/definitions/A"}, {"type": "object"}], "definitions": {"A": OBJECT}},
            {"definitions": {"A": OBJECT}, "type": "object", "properties": {"a": {"type": "string"}}},
        ),
    ],
)
def test_the_root_of_a_tools_schema_is_one_object(schema: Any, expected: Any) -> None:
    assert tool_schema(schema) == expected


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (OBJECT, {**OBJECT, "additionalProperties": False}),
        ({"type": "integer", "minimum": 1, "description": "n"}, {"type": "integer", "description": "n (minimum: 1)"}),
        ({"type": "string", "format": "date", "pattern": "x"}, {"type": "string", "format": "date", "description": '(pattern: "x")'}),
        ({"type": "string", "format": "byte"}, {"type": "string", "description": '(format: "byte")'}),
        (
            {"oneOf": [{"type": "string", "minLength": 1}, {"type": "null"}]},
            {"anyOf": [{"type": "string", "description": "(minLength: 1)"}, {"type": "null"}]},
        ),
        (
            {"type": "array", "items": OBJECT, "minItems": 1},
            {"type": "array", "items": {**OBJECT, "additionalProperties": False}, "minItems": 1},
        ),
        ({"type": "array", "minItems": 2}, {"type": "array", "description": "(minItems: 2)"}),
        ({"$ref": "#/$defs/A", "$defs": {"A": OBJECT}}, {"$ref": "#/$defs/A", "$defs": {"A": {**OBJECT, "additionalProperties": False}}}),
        ({"type": "string", "enum": ["a"], "nullable": True}, {"type": ["string", "null"], "enum": ["a", None]}),
        (
            {"type": "object", "additionalProperties": {"type": "string"}},
            {"type": "object", "additionalProperties": False, "description": '(additionalProperties: {"type":"string"})'},
        ),
        ({"type": ["string", "null"]}, {"type": ["string", "null"]}),
        ({"const": 1, "$schema": "https://json-schema.org/draft/2020-12/schema"}, {"const": 1}),
    ],
)
def test_what_is_compiled_says_only_what_can_be(schema: Any, expected: Any) -> None:
    assert strict_schema(schema) == expected


def test_a_bottomless_schema_ends() -> None:
    schema: Any = {"type": "object"}
    for _ in range(500):
        schema = {"type": "object", "properties": {"a": schema}}
    strict_schema(schema)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string", "nullable": True, "enum": 5}, {"type": ["string", "null"], "enum": 5}),
        ({"anyOf": [{"type": "object", "required": [{}]}], "required": [[]]}, {"type": "object", "properties": {}, "required": [[]]}),
    ],
)
def test_a_schema_that_is_none_is_left_to_the_vendor(schema: Any, expected: Any) -> None:
    assert (tool_schema(schema) if "anyOf" in schema else strict_schema(schema)) == expected
