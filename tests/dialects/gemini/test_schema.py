"""JSON Schema for Gemini: only its keywords, nothing forbidden that was allowed."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st

from fkproxy.dialects.gemini.schema import KEYWORDS, clean_parameters, clean_schema
from fkproxy.model.errors import InvalidRequest

ANY = {
    "anyOf": [
        *({"type": kind} for kind in ("STRING", "NUMBER", "BOOLEAN", "OBJECT")),
        {"type": "ARRAY", "items": {"type": "STRING"}},
    ]
}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string", "format": "uri", "minLength": 1}, {"type": "STRING", "minLength": 1}),
        ({"type": "string", "format": "date-time"}, {"type": "STRING", "format": "date-time"}),
        ({"type": "integer", "format": "int64", "exclusiveMinimum": 0}, {"type": "INTEGER", "format": "int64", "minimum": 1}),
        ({"type": "number", "exclusiveMaximum": 1.5, "multipleOf": 0.5}, {"type": "NUMBER", "maximum": 1.5}),
        ({"type": ["string", "null"]}, {"type": "STRING", "nullable": True}),
        ({"type": ["string", "integer"]}, {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]}),
        ({"const": "a"}, {"type": "STRING", "enum": ["a"]}),
        ({"const": 5}, {"type": "INTEGER", "description": "One of: 5."}),
        ({"enum": ["a", None]}, {"type": "STRING", "enum": ["a"], "nullable": True}),
        ({"enum": ["a", "a", ""]}, {"type": "STRING", "enum": ["a"]}),
        ({"type": "integer", "enum": [1, 2], "description": "n"}, {"type": "INTEGER", "description": "n One of: 1, 2."}),
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, {"type": "STRING", "nullable": True}),
        ({"anyOf": [{"type": "string"}, {"type": "boolean"}]}, {"anyOf": [{"type": "STRING"}, {"type": "BOOLEAN"}]}),
        ({"allOf": [{"type": "object", "properties": {"a": {"type": "string"}}},
                    {"properties": {"b": {"type": "number"}}, "required": ["b"]}]},
         {"type": "OBJECT", "properties": {"b": {"type": "NUMBER"}, "a": {"type": "STRING"}}, "required": ["b"]}),
        ({"type": "array"}, {"type": "ARRAY", "items": ANY}),
        ({"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}]},
         {"type": "ARRAY", "items": {"anyOf": [{"type": "STRING"}, {"type": "NUMBER"}]}}),
        ({"type": "object", "additionalProperties": {"type": "string"}, "patternProperties": {}}, {"type": "OBJECT"}),
        ({"type": "object", "properties": {"a": True, "b": {}}, "required": ["a", "gone"]},
         {"type": "OBJECT", "properties": {"a": ANY, "b": ANY}, "required": ["a"]}),
        ({"properties": {"type": {"type": "string"}, "$ref": {"type": "number"}, "properties": {"type": "boolean"}}},
         {"type": "OBJECT", "properties": {"type": {"type": "STRING"}, "$ref": {"type": "NUMBER"}, "properties": {"type": "BOOLEAN"}}}),
        ({"$ref": "#/definitions/a", "definitions": {"a": {"type": "string"}}, "description": "d"}, {"description": "d", "type": "STRING"}),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "number"}}}, {"type": "NUMBER"}),
        ({"$ref": "#/$defs/a%3Cb%3E", "$defs": {"a<b>": {"type": "string"}}}, {"type": "STRING"}),
        ({"$ref": "#/$defs/a/anyOf/1", "$defs": {"a": {"anyOf": [{}, {"type": "number"}]}}}, {"type": "NUMBER"}),
        ({"$ref": "elsewhere.json#/x"}, {"type": "OBJECT"}),
        ({"description": "d", "default": 1, "anyOf": [{"type": "string"}, {"type": "integer", "description": "i"}, {"type": "null"}]},
         {"anyOf": [{"type": "STRING", "description": "d", "nullable": True}, {"type": "INTEGER", "description": "i"}]}),
        ({"anyOf": [{"type": "string"}, {"anyOf": [{"type": "integer"}, {"type": "boolean"}]}]},
         {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}, {"type": "BOOLEAN"}]}),
        ({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"],
          "anyOf": [{"properties": {"b": {"type": "number"}}}]},
         {"type": "OBJECT", "properties": {"a": {"type": "STRING"}, "b": {"type": "NUMBER"}}, "required": ["a"]}),
        ({"type": "integer", "anyOf": [{"minimum": 5}, {"maximum": 2}]},
         {"anyOf": [{"type": "INTEGER", "minimum": 5}, {"type": "INTEGER", "maximum": 2}]}),
        ({"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}, {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}),
    ],
)  # fmt: skip
def test_what_has_an_equivalent_is_rewritten(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    before = copy.deepcopy(schema)
    assert clean_schema(schema) == expected
    assert schema == before
    types.Schema.model_validate(expected)


def test_a_schema_that_contains_itself_ends() -> None:
    node = {"type": "object", "properties": {"value": {"type": "string"}, "next": {"$ref": "#/$defs/node"}}}
    cleaned = clean_schema({"$ref": "#/$defs/node", "$defs": {"node": node}})
    assert cleaned["properties"]["value"] == {"type": "STRING"}
    assert cleaned["properties"]["next"]["type"] == "OBJECT"
    assert clean_schema({"$ref": "#"})["type"] == "OBJECT"
    assert clean_schema({"allOf": [{"$ref": "#"}]})
    wrapped = {name: {"allOf": [{"$ref": "#/$defs/node"}]} for name in ("left", "right")}
    definitions = {"node": {"type": "object", "properties": wrapped}}
    assert len(json.dumps(clean_schema({"$ref": "#/$defs/node", "$defs": definitions}))) < 1000


def test_references_that_double_at_every_step_are_refused_in_time() -> None:
    definitions = {
        f"d{level}": {"type": "object", "properties": {side: {"$ref": f"#/$defs/d{level + 1}"} for side in "ab"}} for level in range(25)
    }
    with pytest.raises(InvalidRequest, match="grow"):
        clean_schema({"$ref": "#/$defs/d0", "$defs": {**definitions, "d25": {"type": "string"}}})


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, None),
        ({"type": "object", "properties": {}}, None),
        ({"type": "string"}, None),
        ({"type": ["object", "null"], "properties": {"a": {"type": "string"}}, "required": ["a"]},
         {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}, "required": ["a"]}),
        ({"anyOf": [{"type": "string"},
                    {"type": "object", "properties": {"k": {"const": "x"}, "a": {"type": "string"}}, "required": ["k", "a"]},
                    {"type": "object", "properties": {"k": {"const": "y"}}, "required": ["k"]}]},
         {"type": "OBJECT", "required": ["k"],
          "properties": {"k": {"anyOf": [{"type": "STRING", "enum": ["x"]}, {"type": "STRING", "enum": ["y"]}]}, "a": {"type": "STRING"}}}),
    ],
)  # fmt: skip
def test_the_parameters_of_a_function_are_one_object(schema: dict[str, Any], expected: dict[str, Any] | None) -> None:
    assert clean_parameters(schema) == expected


NAMES = st.sampled_from(["a", "type", "$ref", "properties", "items", "enum"])
SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.text("ab", max_size=3)
KINDS = st.sampled_from(["string", "number", "integer", "boolean", "array", "object", "null", "nonsense"])


def schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {},
        optional={
            "type": KINDS | st.lists(KINDS, max_size=3),
            "properties": st.dictionaries(NAMES, inner, max_size=3) | SCALARS,
            "required": st.lists(NAMES, max_size=3) | SCALARS,
            "items": inner | st.lists(inner, max_size=2) | SCALARS,
            "prefixItems": st.lists(inner, max_size=2),
            "anyOf": st.lists(inner, max_size=3) | SCALARS,
            "oneOf": st.lists(inner, max_size=3),
            "allOf": st.lists(inner, max_size=3),
            "not": inner,
            "$ref": st.sampled_from(["#", "#/$defs/x", "#/properties/a", "other.json"]),
            "$defs": st.dictionaries(st.just("x"), inner),
            "enum": st.lists(SCALARS, max_size=3) | SCALARS,
            "const": SCALARS,
            "minimum": SCALARS,
            "exclusiveMaximum": SCALARS,
            "minLength": SCALARS,
            "format": st.sampled_from(["uri", "date-time", "int32"]) | SCALARS,
            "description": SCALARS,
            "default": SCALARS,
            "additionalProperties": inner | st.booleans(),
            "patternProperties": st.dictionaries(NAMES, inner, max_size=1),
        },
    )


def keywords(schema: Any) -> set[str]:
    found = set(schema)
    assert "anyOf" not in schema or len(schema) == 1
    for inner in schema.get("properties", {}).values():
        found |= keywords(inner)
    for inner in [*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())]:
        found |= keywords(inner)
    return found


@given(st.recursive(SCALARS, schemas, max_leaves=12).filter(lambda schema: isinstance(schema, dict)))
@settings(max_examples=300, deadline=None)
def test_whatever_comes_in_only_geminis_keywords_come_out(schema: dict[str, Any]) -> None:
    before = json.dumps(schema)
    cleaned = clean_schema(schema)
    assert json.dumps(schema) == before
    assert keywords(cleaned) <= KEYWORDS
    types.Schema.model_validate(cleaned)
    assert clean_schema(cleaned) == cleaned
    parameters = clean_parameters(schema)
    assert parameters is None or (parameters["type"] == "OBJECT" and keywords(parameters) <= KEYWORDS)
