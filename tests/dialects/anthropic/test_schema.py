"""Schemas for tools and for answers."""

from __future__ import annotations

from typing import Any

import pytest

from fkproxy.dialects.anthropic.schema import strict_schema

OBJECT = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


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


def test_a_schema_that_is_none_is_left_to_the_vendor() -> None:
    assert strict_schema({"type": "string", "nullable": True, "enum": 5}) == {"type": ["string", "null"], "enum": 5}
