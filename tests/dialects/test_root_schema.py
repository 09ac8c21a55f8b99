"""Roots of tools' schemas that two vendors refuse, on their way there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.root_schema import object_schema
from fkproxy.model.parts import Message, Text
from fkproxy.model.request import ChatRequest, Loss, Tool

TEXT = {"type": "string"}
OBJECT = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
UNION = {"anyOf": [OBJECT, {"type": "object", "properties": {"b": {"type": "integer"}}}], "not": {"required": ["a", "b"]}}
MERGED = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}
REPORTED = (Loss(field="tools[].parameters", action="converted"),)


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
        ({"anyOf": [OBJECT, {"type": "null"}]}, OBJECT),
        ({"anyOf": [{"oneOf": [OBJECT]}, {"type": ["object", "null"], **OBJECT}]}, OBJECT),
        ({**OBJECT, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, OBJECT),
        ({**OBJECT, "type": ["object", "null"]}, OBJECT),
        (
            {"oneOf": [{"properties": {"do": {"const": "make"}, "at": TEXT}}, {"properties": {"do": {"const": "drop"}, "at": TEXT}}]},
            {"type": "object", "properties": {"do": {"anyOf": [{"const": "make"}, {"const": "drop"}]}, "at": TEXT}},
        ),
        (
            {"properties": {"do": TEXT}, "anyOf": [{"properties": {"do": {"const": "make"}}}, {"properties": {"do": {"const": "drop"}}}]},
            {"type": "object", "properties": {"do": TEXT}},
        ),
        (
            {"oneOf": [{"properties": {"do": {"anyOf": []}}}, {"properties": {"do": True}}]},
            {"type": "object", "properties": {"do": {"anyOf": [{"anyOf": []}, True]}}},
        ),
        (
            {"allOf": [{"properties": {"do": {"const": "make"}}}, {"properties": {"do": TEXT}}]},
            {"type": "object", "properties": {"do": {"const": "make"}}},
        ),
        ({"anyOf": [{"type": "object", "required": [{}]}], "required": [[]]}, {"type": "object", "properties": {}, "required": [[]]}),
    ],
)
def test_the_root_of_a_tools_schema_is_one_object(schema: Any, expected: Any) -> None:
    assert object_schema(schema, []) == expected


@pytest.mark.parametrize(
    ("schema", "reported"), [(OBJECT, ()), ({}, ()), ({"type": ["object", "null"]}, ()), ({"oneOf": [OBJECT]}, REPORTED)]
)
def test_only_what_is_merged_is_reported(schema: dict[str, Any], reported: tuple[Loss, ...]) -> None:
    losses: list[Loss] = []
    object_schema(schema, losses)
    assert tuple(losses) == reported


def test_a_bottomless_union_ends() -> None:
    schema: Any = OBJECT
    for _ in range(500):
        schema = {"anyOf": [schema]}
    assert object_schema(schema, [])["type"] == "object"


@pytest.mark.parametrize(
    "definitions",
    [
        {"0": {"anyOf": [{"$ref": "#/$defs/0"}, {"$ref": "#/$defs/0", "title": "again"}, OBJECT]}},
        {**{str(number): {"oneOf": [{"$ref": f"#/$defs/{number + 1}"}] * 9} for number in range(9)}, "9": OBJECT},
    ],
    ids=["circular", "fanned out"],
)
def test_each_branch_is_merged_once_however_many_references_lead_there(definitions: dict[str, Any]) -> None:
    schema = json.loads(json.dumps({"$ref": "#/$defs/0", "$defs": definitions}))
    assert object_schema(schema, []) == {**OBJECT, "$defs": definitions}


def test_what_a_property_may_be_is_told_once_however_the_branches_are_mixed() -> None:
    kinds = [{"properties": {"do": {"const": number}}} for number in range(9)]
    levels = {
        f"{level}.{number}": {"anyOf": [{"$ref": f"#/$defs/{level + 1}.{(number + turned) % 9}"} for turned in range(9)]}
        for level in range(9)
        for number in range(9)
    }
    schema = {"$ref": "#/$defs/0.0", "$defs": {**levels, **{f"9.{number}": kind for number, kind in enumerate(kinds)}}}
    told = object_schema(schema, [])["properties"]["do"]["anyOf"]
    assert sorted(each["const"] for each in told) == list(range(9))


def parameters(target: str, schema: dict[str, Any], model: str) -> tuple[dict[str, Any], tuple[Loss, ...]]:
    """(what a request to `target` says of a tool's, losses)."""
    hello = Message(role="user", parts=(Text(text="hello"),))
    request = ChatRequest(dialect="gemini", model="m", messages=(hello,), tools=(Tool(name="f", parameters=schema, extra={"$schema": {}}),))
    encoded = DIALECTS[target].encode_request(request, model)
    (tool,) = json.loads(encoded.body)["tools"]
    told = tool.get("function", tool)
    return told.get("parameters", told.get("input_schema")), encoded.losses


@pytest.mark.parametrize(
    ("target", "model", "expected"),
    [
        ("openai_chat", "gpt-4.1", MERGED),
        ("openai_responses", "gpt-5", MERGED),
        ("anthropic", "claude-sonnet-4-5", {**MERGED, "not": UNION["not"]}),
    ],
)
def test_a_union_goes_as_one_object_where_it_is_refused(target: str, model: str, expected: dict[str, Any]) -> None:
    told, losses = parameters(target, UNION, model)
    assert told == expected
    assert set(REPORTED) <= set(losses)


@pytest.mark.parametrize("target", ["openai_chat", "openai_responses"])
def test_other_vendors_models_get_the_union_and_an_object_in_place_of_anything(target: str) -> None:
    assert parameters(target, UNION, "qwen3-coder")[0] == UNION
    assert parameters(target, {}, "qwen3-coder")[0] == {"type": "object", "properties": {}}
