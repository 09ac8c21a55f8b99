"""JSON Schema, cut to what Gemini's `Schema` can say. Floor 1. Pure.

Gemini takes a subset of OpenAPI 3.0 and answers 400 to any other keyword (ai.google.dev/api/caching#Schema, read 2026-11). What has an
equivalent is rewritten, what only narrows the values is dropped, and nothing is ever added that forbids what the schema allowed:

    $ref               the definition itself; a recursive one ends in a plain object
    allOf              merged       oneOf → anyOf
    const, enum        enum of strings; other values are told in the description
    ["string","null"]  nullable     ["string","integer"] → anyOf
    exclusiveMinimum   minimum      items as a list, prefixItems → anyOf
    true, {}           any of the types
"""

from __future__ import annotations

from typing import Any

from fkproxy.model.errors import InvalidRequest
from fkproxy.wire import json

__all__ = ["KEYWORDS", "clean_schema"]

Schema = dict[str, Any]

KEYWORDS = frozenset(
    (
        *("type", "format", "title", "description", "nullable", "enum", "items", "maxItems", "minItems", "properties", "required"),
        *("minProperties", "maxProperties", "minLength", "maxLength", "pattern", "example", "anyOf", "propertyOrdering", "default"),
        *("minimum", "maximum"),
    )
)
"""Every keyword of Gemini's Schema."""

_TYPES = ("string", "number", "integer", "boolean", "array", "object")
_FORMATS = {"string": ("date-time",), "number": ("float", "double"), "integer": ("int32", "int64")}
_FOR_TYPE = {
    "string": ("minLength", "maxLength", "pattern"),
    "number": ("minimum", "maximum"),
    "integer": ("minimum", "maximum"),
    "array": ("items", "minItems", "maxItems"),
    "object": ("properties", "required", "minProperties", "maxProperties", "propertyOrdering"),
}
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_MAX_DEPTH = 32
_MAX_NODES = 20_000
"""A schema may grow by its references being written out; this is far above any real one."""


def clean_schema(schema: Schema) -> Schema:
    """A new schema that Gemini takes. Raises `InvalidRequest` for one that grows beyond all bounds."""
    return _Cleaner(schema).clean(schema, ())


class _Cleaner:
    def __init__(self, root: Schema) -> None:
        self._root = root
        self._nodes = 0

    def clean(self, schema: Any, seen: tuple[str, ...], depth: int = 0) -> Schema:
        """`seen`: the references that led here."""
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise InvalidRequest(None, f"a JSON schema grows to more than {_MAX_NODES} nodes when its references are written out")
        if depth > _MAX_DEPTH:
            return {"type": "OBJECT"}
        if not isinstance(schema, dict) or not schema:
            return _anything()
        schema, seen = self._resolved(schema, seen)
        if schema is None:
            return {"type": "OBJECT", "description": "as described above, nested"}
        schema = self._merged(schema, seen)
        out: Schema = {name: schema[name] for name in ("title", "description") if isinstance(schema.get(name), str)}
        for name in ("default", "example"):
            if name in schema and schema[name] is not None:
                out[name] = schema[name]
        kinds, nullable = _kinds(schema)
        branches = [*_list(schema.get("anyOf")), *_list(schema.get("oneOf"))]
        if branches:
            nullable |= self._branch(branches, schema, out, seen, depth)
        elif len(kinds) > 1:
            out["anyOf"] = [self._typed(schema, kind, {}, seen, depth) for kind in kinds]
        elif kinds:
            out = self._typed(schema, kinds[0], out, seen, depth)
        else:
            out |= _anything()
        if nullable:
            out["nullable"] = True
        return out

    def _resolved(self, schema: Schema, seen: tuple[str, ...]) -> tuple[Schema | None, tuple[str, ...]]:
        """The schema with its reference put in; None where it leads into itself."""
        while isinstance(reference := schema.get("$ref"), str):
            if reference in seen:
                return None, seen
            seen = (*seen, reference)
            target = self._find(reference)
            beside = {name: value for name, value in schema.items() if name != "$ref"}
            schema = {**target, **beside}
        return schema, seen

    def _find(self, reference: str) -> Schema:
        """RFC 6901 pointer within this schema; anything else cannot be looked up and stands for any object."""
        node: Any = self._root
        if not reference.startswith("#"):
            return {"type": "object"}
        for step in filter(None, reference[1:].split("/")):
            step = step.replace("~1", "/").replace("~0", "~")
            node = node.get(step) if isinstance(node, dict) else None
        return node if isinstance(node, dict) else {"type": "object"}

    def _merged(self, schema: Schema, seen: tuple[str, ...]) -> Schema:
        """The schema with its `allOf` folded in."""
        parts = _list(schema.get("allOf"))
        if not parts:
            return schema
        whole = {name: value for name, value in schema.items() if name != "allOf"}
        for part in parts[:64]:
            found, _ = self._resolved(part, seen) if isinstance(part, dict) else (None, seen)
            for name, value in self._merged(found, (*seen, "allOf")).items() if found and len(seen) < _MAX_DEPTH else ():
                if name == "properties" and isinstance(value, dict):
                    whole[name] = {**value, **(whole.get(name) or {})}
                elif name == "required" and isinstance(value, list):
                    whole[name] = [*(whole.get(name) or []), *value]
                else:
                    whole.setdefault(name, value)
        return whole

    def _branch(self, branches: list[Any], schema: Schema, out: Schema, seen: tuple[str, ...], depth: int) -> bool:
        """Write `anyOf`; True if one of the branches was null."""
        shared = {name: schema[name] for name in ("properties", "required") if name in schema}
        real = [branch for branch in branches if not _is_null(branch)]
        cleaned = [
            self.clean({**shared, **branch} if shared and isinstance(branch, dict) else branch, seen, depth + 1) for branch in real[:64]
        ]
        if len(cleaned) == 1:
            out |= {name: value for name, value in cleaned[0].items() if name not in out}
        elif cleaned:
            out["anyOf"] = cleaned
        else:
            out |= _anything()
        return len(real) < len(branches)

    def _typed(self, schema: Schema, kind: str, out: Schema, seen: tuple[str, ...], depth: int) -> Schema:
        out["type"] = kind.upper()
        for name in _FOR_TYPE.get(kind, ()):
            value = schema.get(name)
            if (name in _COUNTS and isinstance(value, int) and not isinstance(value, bool)) or (
                name == "pattern" and isinstance(value, str)
            ):
                out[name] = value
        if schema.get("format") in _FORMATS.get(kind, ()):
            out["format"] = schema["format"]
        if kind in ("number", "integer"):
            _limit(schema, out, kind)
        elif kind == "array":
            out["items"] = self._items(schema, seen, depth)
        elif kind == "object":
            self._object(schema, out, seen, depth)
        _enumerated(schema, out, kind)
        return out

    def _items(self, schema: Schema, seen: tuple[str, ...], depth: int) -> Schema:
        items = schema.get("items")
        several = [*_list(schema.get("prefixItems")), *_list(items)]
        if isinstance(items, dict) and not several:
            return self.clean(items, seen, depth + 1)
        cleaned = [self.clean(item, seen, depth + 1) for item in several[:64]]
        distinct = [item for index, item in enumerate(cleaned) if item not in cleaned[:index]]
        if not distinct:
            return _anything()
        return distinct[0] if len(distinct) == 1 else {"anyOf": distinct}

    def _object(self, schema: Schema, out: Schema, seen: tuple[str, ...], depth: int) -> None:
        properties = schema.get("properties")
        if not isinstance(properties, dict) or not properties:
            return
        out["properties"] = {name: self.clean(value, seen, depth + 1) for name, value in properties.items()}
        for name in ("required", "propertyOrdering"):
            given = [item for item in dict.fromkeys(_strings(schema.get(name))) if item in properties]
            if given:
                out[name] = given


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _strings(value: Any) -> list[str]:
    return [item for item in _list(value) if isinstance(item, str)]


def _anything() -> Schema:
    """Any value. A schema without a type is refused, so every type is named."""
    scalars: list[Schema] = [{"type": kind.upper()} for kind in ("string", "number", "boolean", "object")]
    return {"anyOf": [*scalars, {"type": "ARRAY", "items": {"type": "STRING"}}]}


def _is_null(schema: Any) -> bool:
    return isinstance(schema, dict) and (schema.get("type") in ("null", "NULL") or (schema.get("const", ...) is None and "const" in schema))


def _kinds(schema: Schema) -> tuple[list[str], bool]:
    """(types, nullable), guessed from the other keywords where no type is given."""
    given = schema.get("type")
    named = [item.lower() for item in ([given] if isinstance(given, str) else _strings(given))]
    nullable = "null" in named or schema.get("nullable") is True or None in _values(schema)
    kinds = [kind for kind in dict.fromkeys(named) if kind in _TYPES]
    if kinds or not (named or schema):
        return kinds, nullable
    if values := [value for value in _values(schema) if value is not None]:
        return sorted({_kind_of(value) for value in values}), nullable
    if "properties" in schema or "additionalProperties" in schema or "patternProperties" in schema:
        return ["object"], nullable
    if "items" in schema or "prefixItems" in schema:
        return ["array"], nullable
    if "pattern" in schema or "minLength" in schema or "maxLength" in schema or "format" in schema:
        return ["string"], nullable
    if "minimum" in schema or "maximum" in schema or "multipleOf" in schema:
        return ["number"], nullable
    return [], nullable


def _values(schema: Schema) -> list[Any]:
    """What `const` or `enum` allow."""
    return [schema["const"]] if "const" in schema else _list(schema.get("enum"))


def _kind_of(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _limit(schema: Schema, out: Schema, kind: str) -> None:
    step = 1 if kind == "integer" else 0
    for name, exclusive, by in (("minimum", "exclusiveMinimum", step), ("maximum", "exclusiveMaximum", -step)):
        for value, shift in ((schema.get(name), 0), (schema.get(exclusive), by)):
            if isinstance(value, int | float) and not isinstance(value, bool):
                out[name] = value + shift


def _enumerated(schema: Schema, out: Schema, kind: str) -> None:
    values = [value for value in _values(schema) if value is not None]
    fitting = [value for value in values if _kind_of(value) == kind or (kind == "number" and _kind_of(value) == "integer")]
    if not fitting:
        return
    if kind == "string":
        out["enum"] = list(dict.fromkeys(value for value in fitting if value)) or None
        if out["enum"] is None:
            del out["enum"]
        return
    # Gemini has `enum` for strings only.
    told = f"One of: {', '.join(json.encode(value).decode() for value in fitting[:64])}."
    out["description"] = f"{out['description']} {told}" if "description" in out else told
