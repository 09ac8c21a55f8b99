"""The schema of a tool's parameters with an object at its root. Floor 1. Pure.

"input_schema does not support oneOf, allOf, or anyOf at the top level", says the 400 of one vendor, "schema must have type 'object' and not
have 'oneOf'/'anyOf'/'allOf'/'enum'/'not' at the top level" that of another; MCP servers write such roots, and other vendors take them.
"""

from __future__ import annotations

from typing import Any

from fkproxy.model.request import Loss
from fkproxy.wire import json

__all__ = ["has_union", "object_schema"]

Schema = dict[str, Any]
Known = dict[int, Schema | None]
"""The `id` of a branch → what it is merged, so that each is merged once, however many references lead there; None: it is no object, or
is being merged and leads into itself, where it offers nothing new.
"""

_UNIONS = ("anyOf", "oneOf", "allOf")
_MAX_DEPTH = 16


def has_union(schema: Schema) -> bool:
    """The root offers several schemas."""
    return any(name in schema for name in _UNIONS)


def object_schema(schema: Schema | None, losses: list[Loss]) -> Schema:
    """The schema with an object at its root. Where the root offers several, whatever any of them allows is allowed, which is reported."""
    if schema is None:
        return {"type": "object", "properties": {}}
    root = _looked_up(schema, schema)
    if has_union(root):
        losses.append(Loss(field="tools[].parameters", action="converted"))
    return _merged(root, root, 0, {})


def _merged(schema: Schema, root: Schema, depth: int, known: Known) -> Schema:
    if schema.get("type") == "object" and not has_union(schema):
        return schema
    rest = {name: value for name, value in schema.items() if name not in _UNIONS}
    properties, required = dict(_dict(rest.get("properties"))), _names(rest.get("required"))
    for name in _UNIONS if depth < _MAX_DEPTH else ():
        branches = _branches(schema, name, root, depth, known)
        for key, value in (_all_of(branches) if name == "allOf" else _any_of(branches)).items():
            properties.setdefault(key, value)
        needed = [dict.fromkeys(_names(branch.get("required"))) for branch in branches]
        together = dict.fromkeys(key for keys in needed for key in keys)
        required += together if name == "allOf" else [key for key in together if all(key in keys for keys in needed)]
    required = [key for key in dict.fromkeys(required) if key in properties]
    return {**rest, "type": "object", "properties": properties, **({"required": required} if required else {})}


def _all_of(branches: list[Schema]) -> Schema:
    """Their properties, each as the first one says that has it."""
    found: Schema = {}
    for branch in branches:
        for key, value in _dict(branch.get("properties")).items():
            found.setdefault(key, value)
    return found


def _any_of(branches: list[Schema]) -> Schema:
    """Their properties, each as any of them says: the one that tells the branches apart is another constant in each."""
    offered: dict[str, dict[bytes, Any]] = {}
    for branch in branches:
        for key, value in _dict(branch.get("properties")).items():
            offered.setdefault(key, {}).update((json.encode(each), each) for each in _alternatives(value))
    return {key: {"anyOf": [*values.values()]} if len(values) > 1 else next(iter(values.values())) for key, values in offered.items()}


def _alternatives(value: Any) -> list[Any]:
    """A schema's own where it is nothing but a union, as one that was merged may be: within others they would double at each level."""
    inner = value.get("anyOf") if isinstance(value, dict) and len(value) == 1 else None
    return inner if isinstance(inner, list) and inner else [value]


def _branches(schema: Schema, name: str, root: Schema, depth: int, known: Known) -> list[Schema]:
    """Those that an object may be: a call's arguments are always one, and never the null of who wrote that there may be none."""
    listed = schema.get(name)
    branches = [branch for branch in listed if isinstance(branch, dict)] if isinstance(listed, list) else []
    for branch in branches:
        if id(branch) not in known:
            known[id(branch)] = None
            target = _looked_up(branch, root)
            if _may_be_object(target.get("type")):
                known[id(branch)] = _merged(target, root, depth + 1, known)
    return [merged for branch in branches if (merged := known[id(branch)]) is not None]


def _may_be_object(kind: Any) -> bool:
    return kind is None or kind == "object" or (isinstance(kind, list) and "object" in kind)


def _looked_up(schema: Schema, root: Schema) -> Schema:
    """A schema that is nothing but a reference to a definition, as that definition."""
    reference = schema.get("$ref")
    if not isinstance(reference, str) or not reference.startswith(("#/$defs/", "#/definitions/")):
        return schema
    _, place, name = reference.split("/", 2)
    target = _dict(root.get(place)).get(name)
    return {**target, **{key: value for key, value in schema.items() if key != "$ref"}} if isinstance(target, dict) else schema


def _names(value: Any) -> list[str]:
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
