"""What the child makes of the schema of a client's tool. Floor 1. Pure.

It reads a schema into a form of its own (0.169), which has no constraints (`pattern`, `minimum`) and describes nothing that has no type,
and of one with more than 5,000 bytes leaves out the descriptions first and then whatever is deep within. An array without `items`, which
it takes for one of strings, it does not see (`openai_schema`). Descriptions of tools it leaves alone.
"""

from __future__ import annotations

from typing import Any

from fkproxy.wire import json

__all__ = ["described", "is_kept", "is_readable"]

_MAX_BYTES = 4500
"""Less than the child's own bound: it counts what it has made of it."""

_MAX_DEPTH = 100
"""A message whose parts lie within each other more than 127 deep the child drops without a word (0.169)."""

_SAYS_NOTHING = frozenset(("$comment", "$id", "$schema", "deprecated", "examples", "title"))
_KEPT = frozenset(("$ref", "additionalProperties", "description", "enum", "required", "type"))
_ONE = ("additionalProperties", "items")
_LISTS = ("allOf", "anyOf", "oneOf")
_SAYS_WHAT = frozenset(("$ref", *_LISTS))
_NAMED = ("$defs", "definitions", "properties")
_KNOWN = _SAYS_NOTHING | _KEPT | {*_ONE, *_LISTS, *_NAMED}


def described(description: str, schema: dict[str, Any]) -> str:
    """The tool's description with all that its schema says."""
    return f"{description}\n\nThe arguments must match this JSON Schema:\n{json.encode(schema).decode()}".strip()


def is_readable(schema: dict[str, Any]) -> bool:
    """Whether the child can be sent it at all."""
    level: list[Any] = [schema]
    for _ in range(_MAX_DEPTH):
        level = [part for each in level if isinstance(each, dict | list) for part in (each.values() if isinstance(each, dict) else each)]
    return not level


def is_kept(schema: dict[str, Any]) -> bool:
    """Whether the child's form of it says the same."""
    return len(json.encode(schema)) <= _MAX_BYTES and is_readable(schema) and _is_plain(schema)


def _is_plain(schema: Any) -> bool:
    if not isinstance(schema, dict) or not _KNOWN.issuperset(schema):
        return False
    if "type" not in schema and ("enum" in schema or ("description" in schema and not _SAYS_WHAT.intersection(schema))):
        return False
    if not all(isinstance(schema[name], list) for name in _LISTS if name in schema):
        return False
    inner = [schema[name] for name in _ONE if name in schema and not isinstance(schema[name], bool)]
    inner += [each for name in _LISTS for each in schema.get(name, ())]
    for name in _NAMED:
        named = schema.get(name)
        inner += named.values() if isinstance(named, dict) else ()
    return all(map(_is_plain, inner))
