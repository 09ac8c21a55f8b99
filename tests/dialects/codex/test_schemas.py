"""Which schemas of tools the child passes on as they are, and how the others are told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import Peek
from fkproxy.dialects.codex import DIALECT
from fkproxy.dialects.codex.schemas import is_kept
from fkproxy.model.request import Loss

TEXT = {"type": "string"}


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


LONG = of(**{f"p{number}": {**TEXT, "description": "What it is, told at some length. " * 4} for number in range(40)})


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        of(),
        {**of(city=TEXT), "$schema": "http://json-schema.org/draft-07/schema#", "title": "Place", "additionalProperties": False},
        {**of(kind={**TEXT, "enum": ["a", "b"], "description": "Which."}), "required": ["kind"]},
        of(
            either={"anyOf": [TEXT, {"type": "integer"}]}, many={"type": "array", "items": TEXT}, any={}, maybe={"type": ["string", "null"]}
        ),
        {**of(node={"$ref": "#/$defs/node"}), "$defs": {"node": of(name=TEXT)}},
        of(pattern=TEXT, minimum=TEXT, items=TEXT, enum=TEXT),
        of(map={"type": "object", "additionalProperties": {"type": "number"}}),
    ],
)
def test_what_is_kept(schema: dict[str, Any]) -> None:
    assert is_kept(schema)


@pytest.mark.parametrize(
    "schema",
    [
        of(code={**TEXT, "pattern": "^x$"}),
        of(count={"type": "integer", "minimum": 1}),
        of(word={**TEXT, "default": "x"}),
        of(three={"const": 3}),
        of(one={"enum": [1, None]}),
        of(anything=True),
        of(nothing={"anyOf": None}),
        of(nonsense={"allOf": 5}),
        of(anything={"description": "Whatever there is."}),
        of(deep=of(deeper={"anyOf": [{"type": "array", "items": {"not": TEXT}}]})),
        {**of(), "$defs": {"word": {**TEXT, "minLength": 2}}},
        of(map={"type": "object", "additionalProperties": {"type": "number", "maximum": 5}}),
        LONG,
    ],
)
def test_what_is_not_kept_is_told_beside(schema: dict[str, Any]) -> None:
    assert not is_kept(schema)
    kept, told = tools(of(city=TEXT), schema, losses=(Loss(field="tools[].parameters", action="converted"),))
    assert kept["description"] == "Does it."
    text, _, beside = told["description"].partition("\n\nThe arguments must match this JSON Schema:\n")
    assert text == "Does it."
    assert json.loads(beside) == told["inputSchema"] == schema


def test_a_list_of_which_nothing_is_said_is_one_of_anything() -> None:
    (told,) = tools(of(many={"type": "array"}, some={"type": ["array", "null"]}))
    assert told["description"] == "Does it."
    assert told["inputSchema"]["properties"] == {"many": {"type": "array", "items": {}}, "some": {"type": ["array", "null"], "items": {}}}


def test_what_the_child_could_not_read_is_told_in_words_alone() -> None:
    schema: dict[str, Any] = TEXT
    for _ in range(120):
        schema = of(inner=schema)
    (told,) = tools(schema, losses=(Loss(field="tools[].parameters", action="converted"),))
    assert told["inputSchema"] == {"type": "object"}
    assert json.loads(told["description"].partition("JSON Schema:\n")[2]) == schema


def tools(*schemas: dict[str, Any], losses: tuple[Loss, ...] = ()) -> list[dict[str, Any]]:
    """As the child is told of them."""
    functions = [{"name": f"f{number}", "description": "Does it.", "parameters": schema} for number, schema in enumerate(schemas)]
    asked = {"messages": [{"role": "user", "content": "hi"}], "tools": [{"type": "function", "function": each} for each in functions]}
    request = DIALECTS["openai_chat"].decode_request(json.dumps({"model": "m", **asked}).encode(), Peek(model="m"))
    encoded = DIALECT.encode_request(request, "m")
    assert encoded.losses == losses
    told: list[dict[str, Any]] = json.loads(encoded.body)["tools"]
    return told
