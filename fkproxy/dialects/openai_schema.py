"""What OpenAI's servers want of a function's name, of its parameters, and how they are told the form of an answer. Floor 1. Pure."""

from __future__ import annotations

import re
from typing import Any

from fkproxy.dialects.foreign import vendor_of
from fkproxy.dialects.root_schema import has_union, object_schema
from fkproxy.model.errors import InvalidRequest
from fkproxy.model.request import Loss, OutputFormat, Tool
from fkproxy.wire.fields import Fields

__all__ = ["FUNCTION_NAME", "decode_format", "function_parameters", "is_strict"]

FUNCTION_NAME = re.compile("[a-zA-Z0-9_-]{1,64}")
"""What may be one ("string does not match pattern", "string too long"); other vendors' servers of these dialects ask for the same."""

_NAMED = ("properties", "patternProperties", "$defs", "definitions")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_ONE = ("items", "additionalProperties", "not", "if", "then", "else")
_MAX_DEPTH = 64
_REFUSED = ("enum", "const", "not")
"""What may not stand at the root, beside unions."""
_TYPED = ("type", "anyOf", "$ref")
_NEVER_STRICT = frozenset(
    (
        *("allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas"),
        *("patternProperties", "propertyNames", "minProperties", "maxProperties", "unevaluatedProperties"),
        *("contains", "minContains", "maxContains", "unevaluatedItems", "uniqueItems", "default"),
    )
)
_STRICT_FORMATS = (None, "date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid")


def function_parameters(schema: dict[str, Any], losses: list[Loss], *, unions: bool) -> dict[str, Any]:
    """The schema of an object, which names its properties even where it has none, and of every list in it what it is a list of.

    "object schema missing properties" and "array schema missing items", say the 400s of chat completions and Responses alike; MCP servers
    leave them out, and other vendors take that. `unions`: the model is another vendor's, and its root may be what this one refuses.
    """
    if unions and has_union(schema):
        root = schema
    else:
        root = object_schema(schema, losses)
        if not unions and any(name in root for name in _REFUSED):
            losses.append(Loss(field="tools[].parameters", action="converted"))
            root = {name: value for name, value in root.items() if name not in _REFUSED}
    out: dict[str, Any] = _with_items(root, 0)
    return {**out, "properties": {}} if out.get("type") == "object" and out.get("properties") is None else out


def is_strict(tool: Tool, parameters: Any, dialect: str, target: str, losses: list[Loss]) -> bool:
    """The schema of its parameters is to be enforced, and servers of `target` can do it, or the client knows their rules by its `dialect`.

    "'required' is required to be supplied and to be an array including every key in properties", "'default' is not permitted", "'uri' is
    not a valid format", "schema must have a 'type' key" (beside `const`, too), "$ref cannot have keywords {'description'}", say the 400s
    otherwise (laravel/ai#506, can1357/oh-my-pi#206, defog-ai/defog#244, read 2026-11); other vendors enforce such schemas.
    """
    if not tool.strict or vendor_of(dialect) == vendor_of(target) or _enforceable(parameters, 0):
        return bool(tool.strict)
    losses.append(Loss(field="tools[].strict"))
    return False


def decode_format(entry: Fields, within: str = "") -> OutputFormat:
    """`within`: the name of the object that holds what belongs to a schema; "": it stands beside the type. Raises `InvalidRequest`."""
    kind = entry.choice("type", ("text", "json_object", "json_schema"))
    if kind is None:
        raise InvalidRequest(entry.at("type"), "expected text, json_object or json_schema")
    if kind != "json_schema":
        return OutputFormat(kind="text" if kind == "text" else "json")
    inner = entry.within(within) if within else entry
    if inner is None:
        raise InvalidRequest(entry.at(within), "expected an object, but it is missing")
    return OutputFormat(
        kind="json_schema",
        schema_=inner.mapping("schema"),
        name=inner.text("name"),
        description=inner.text("description"),
        strict=inner.boolean("strict"),
    )


def _with_items(schema: Any, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return schema
    out = {name: _inner(name, value, depth + 1) for name, value in schema.items()}
    kind = out.get("type")
    if out.get("items") is None and (kind == "array" or (isinstance(kind, list) and "array" in kind)):
        out["items"] = {}
    return out


def _inner(name: str, value: Any, depth: int) -> Any:
    """What stands in a keyword: only some hold schemas, and others the client's own data."""
    if name in _NAMED and isinstance(value, dict):
        return {key: _with_items(inner, depth) for key, inner in value.items()}
    if name in _LISTS and isinstance(value, list):
        return [_with_items(inner, depth) for inner in value]
    return _with_items(value, depth) if name in _ONE else value


def _enforceable(schema: Any, depth: int) -> bool:
    if not isinstance(schema, dict) or depth > _MAX_DEPTH or all(name not in schema for name in _TYPED):
        return False
    if "$ref" in schema and len(schema) > 1:
        return False
    if not _NEVER_STRICT.isdisjoint(schema) or schema.get("format") not in _STRICT_FORMATS:
        return False
    kind, properties, required = schema.get("type"), schema.get("properties"), schema.get("required")
    if "properties" in schema or kind == "object" or (isinstance(kind, list) and "object" in kind):
        needed = {name for name in required if isinstance(name, str)} if isinstance(required, list) else set()
        if schema.get("additionalProperties") is not False or not isinstance(properties, dict) or not properties.keys() <= needed:
            return False
    named = (each for name in _NAMED if isinstance(inner := schema.get(name), dict) for each in inner.values())
    listed = (each for name in _LISTS if isinstance(inner := schema.get(name), list) for each in inner)
    items = [schema["items"]] if "items" in schema else []
    return all(_enforceable(each, depth + 1) for each in (*named, *listed, *items))
