"""JSON Schema, cut to what Anthropic takes. Floor 1. Pure.

Sources, read 2026-11: platform.claude.com/docs/en/build-with-claude/structured-outputs ("JSON Schema limitations"), …/agents-and-tools/
tool-use/define-tools, and what the anthropic package does to schemas (2.11, `lib/_parse`).

A tool's `input_schema` is any JSON Schema whose root is one object (see `root_schema`). An answer's schema, or that of a strict tool, is
compiled: objects must forbid further properties, and keywords that only narrow values are refused; those are told in the description
instead.
"""

from __future__ import annotations

from typing import Any

from fkproxy.wire import json

__all__ = ["strict_schema"]

Schema = dict[str, Any]

_KEPT = ("type", "enum", "const", "description", "title", "default", "required", "$ref")
_BY_NAME = ("properties", "$defs", "definitions")
_FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid")
_SILENT = ("$schema", "$id", "nullable", "oneOf")
_MAX_DEPTH = 64


def strict_schema(schema: Schema, depth: int = 0) -> Schema:
    """The schema as the API compiles it, with what it cannot compile put into descriptions."""
    if depth > _MAX_DEPTH:
        return schema
    out: Schema = {name: schema[name] for name in _KEPT if name in schema}
    for name in _BY_NAME:
        if isinstance(inner := schema.get(name), dict):
            out[name] = {key: _inner(value, depth) for key, value in inner.items()}
    branches = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(branches, list):
        out["anyOf"] = [_inner(branch, depth) for branch in branches]
    if isinstance(schema.get("allOf"), list):
        out["allOf"] = [_inner(branch, depth) for branch in schema["allOf"]]
    if "items" in schema:
        out["items"] = _inner(schema["items"], depth)
    if schema.get("format") in _FORMATS:
        out["format"] = schema["format"]
    if schema.get("minItems") in (0, 1):
        out["minItems"] = schema["minItems"]
    told = {name: value for name, value in schema.items() if name not in out and name not in _SILENT and value is not False}
    if out.get("type") == "object" or "properties" in out:
        out["additionalProperties"] = False
    if schema.get("nullable") is True and isinstance(out.get("type"), str):
        out["type"] = [out["type"], "null"]
        if isinstance(out.get("enum"), list) and None not in out["enum"]:
            out["enum"] = [*out["enum"], None]
    if told:
        words = ", ".join(f"{name}: {json.encode(value).decode()}" for name, value in told.items())
        out["description"] = f"{out['description']} ({words})" if isinstance(out.get("description"), str) else f"({words})"
    return out


def _inner(value: Any, depth: int) -> Any:
    return strict_schema(value, depth + 1) if isinstance(value, dict) else value
