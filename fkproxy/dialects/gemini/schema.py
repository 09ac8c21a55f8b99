"""JSON Schema, cut to what Gemini's `Schema` can say. Floor 1. Pure.

Gemini takes a subset of OpenAPI 3.0 and answers 400 to any other keyword (ai.google.dev/api/caching#Schema, read 2026-11). What has an
equivalent is rewritten, what only narrows the values is dropped, and nothing is ever added that forbids what the schema allowed:

    $ref               the definition itself; a recursive one ends in a plain object
    allOf              merged       oneOf → anyOf
    const, enum        enum of strings; other values are told in the description
    ["string","null"]  nullable     ["string","integer"] → anyOf, which stands alone
    exclusiveMinimum   minimum      items as a list, prefixItems → anyOf
    true, {}           any of the types
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from fkproxy.model.errors import InvalidRequest
from fkproxy.wire import json

__all__ = ["KEYWORDS", "Nodes", "clean_parameters", "clean_schema"]

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
_COUNTS = {
    "string": ("minLength", "maxLength"),
    "array": ("minItems", "maxItems"),
    "object": ("minProperties", "maxProperties"),
}
_SAID = ("title", "description", "default", "example")
_MAX_DEPTH = 32
_MAX_BRANCHES = 64
_INDEX = re.compile(r"[0-9]{1,4}")
_MAX_NODES = 50_000
"""Schemas may grow by their references being written out; this is far above what any real request's come to."""


class Nodes:
    """How many nodes the schemas of a request have come to, together."""

    __slots__ = ("_count",)

    def __init__(self) -> None:
        self._count = 0

    def add(self) -> None:
        """One more. Raises `InvalidRequest` when they are too many."""
        self._count += 1
        if self._count > _MAX_NODES:
            told = f"the JSON schemas of the request grow to more than {_MAX_NODES} nodes when their references are written out"
            raise InvalidRequest(None, told)


def clean_schema(schema: Schema, nodes: Nodes | None = None) -> Schema:
    """A new schema that Gemini takes. `nodes`: those of the others with it.

    Raises `InvalidRequest` when they grow beyond all bounds.
    """
    return _Cleaner(schema, nodes or Nodes()).clean(schema, ())


def clean_parameters(schema: Schema, nodes: Nodes | None = None) -> Schema | None:
    """The parameters of a function, None for a function without any. Raises like `clean_schema`.

    Gemini wants one object there. Where the schema offers several, whatever any of them allows is allowed, and only what all of them
    require is required.
    """
    cleaned = clean_schema(schema, nodes)
    offered = [branch for branch in cleaned.get("anyOf", [cleaned]) if branch["type"] == "OBJECT"]
    properties: dict[str, Schema] = {}
    for branch in offered:
        for name, value in branch.get("properties", {}).items():
            known = properties.get(name, value)
            properties[name] = known if known == value else _either([known, value], {}, nullable=False)
    if not properties:
        return None
    needed = set.intersection(*[set(branch.get("required", ())) for branch in offered])
    required = [name for name in properties if name in needed]
    kept = {name: value for name, value in offered[0].items() if name not in ("nullable", "required")}
    return {**kept, "properties": properties, **({"required": required} if required else {})}


class _Cleaner:
    def __init__(self, root: Schema, nodes: Nodes) -> None:
        self._root = root
        self._nodes = nodes

    def clean(self, schema: Any, seen: tuple[str, ...], depth: int = 0) -> Schema:
        """`seen`: the references that led here."""
        self._nodes.add()
        if depth > _MAX_DEPTH:
            return {"type": "OBJECT"}
        if not isinstance(schema, dict) or not schema:
            return _anything()
        if "$ref" in schema:
            schema, seen = self._resolved(schema, seen)
            if schema is None:
                return {"type": "OBJECT", "description": "as described above, nested"}
        if "allOf" in schema:
            schema, seen = self._merged(schema, seen)
        said: Schema = {
            name: value
            for name in _SAID
            if (value := schema.get(name)) is not None and (isinstance(value, str) or name in ("default", "example"))
        }
        values = _values(schema)
        kinds, nullable = _kinds(schema, values)
        if "anyOf" in schema or "oneOf" in schema:
            branches = [*_list(schema.get("anyOf")), *_list(schema.get("oneOf"))]
        else:
            branches = []
        if branches:
            real = [branch for branch in branches if not _is_null(branch)]
            nullable |= len(real) < len(branches)
            found = [self.clean(_beside(schema, branch), seen, depth + 1) for branch in real[:_MAX_BRANCHES]]
        else:
            found = [self._typed(schema, kind, values, seen, depth) for kind in kinds]
        return _either(found or [_anything()], said, nullable=nullable)

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
        """RFC 6901 pointer within this schema, percent-encoded as §6 has it; what cannot be looked up stands for any object."""
        node: Any = self._root
        if not reference.startswith("#"):
            return {"type": "object"}
        for step in filter(None, unquote(reference[1:]).split("/")):
            if isinstance(node, list):
                node = node[int(step)] if _INDEX.fullmatch(step) and int(step) < len(node) else None
            else:
                node = node.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(node, dict) else None
        return node if isinstance(node, dict) else {"type": "object"}

    def _merged(self, schema: Schema, seen: tuple[str, ...]) -> tuple[Schema, tuple[str, ...]]:
        """The schema with its `allOf` folded in, and the references that this took."""
        parts = _list(schema.get("allOf"))
        if not parts:
            return schema, seen
        whole = {name: value for name, value in schema.items() if name != "allOf"}
        for part in parts[:_MAX_BRANCHES]:
            if not isinstance(part, dict) or len(seen) >= _MAX_DEPTH:
                continue
            found, met = self._resolved(part, seen)
            if found is None:
                continue
            found, met = self._merged(found, (*met, "allOf"))
            seen = tuple(dict.fromkeys((*seen, *met)))
            for name, value in found.items():
                if name == "properties":
                    whole[name] = {**_dict(value), **_dict(whole.get(name))}
                elif name == "required":
                    whole[name] = [*_list(whole.get(name)), *_list(value)]
                else:
                    whole.setdefault(name, value)
        return whole, seen

    def _typed(self, schema: Schema, kind: str, values: list[Any], seen: tuple[str, ...], depth: int) -> Schema:
        out: Schema = {"type": kind.upper()}
        for name in _COUNTS.get(kind, ()):
            if type(value := schema.get(name)) is int:
                out[name] = value
        if kind == "string" and isinstance(pattern := schema.get("pattern"), str):
            out["pattern"] = pattern
        if "format" in schema and schema["format"] in _FORMATS.get(kind, ()):
            out["format"] = schema["format"]
        if kind in ("number", "integer"):
            _limit(schema, out, kind)
        elif kind == "array":
            out["items"] = self._items(schema, seen, depth)
        elif kind == "object":
            self._object(schema, out, seen, depth)
        if values:
            _enumerated(values, out, kind)
        return out

    def _items(self, schema: Schema, seen: tuple[str, ...], depth: int) -> Schema:
        items = schema.get("items")
        several = [*_list(schema.get("prefixItems")), *_list(items)]
        if isinstance(items, dict) and not several:
            return self.clean(items, seen, depth + 1)
        cleaned = [self.clean(item, seen, depth + 1) for item in several[:_MAX_BRANCHES]]
        distinct = [item for index, item in enumerate(cleaned) if item not in cleaned[:index]]
        return _either(distinct or [_anything()], {}, nullable=False)

    def _object(self, schema: Schema, out: Schema, seen: tuple[str, ...], depth: int) -> None:
        properties = _dict(schema.get("properties"))
        if not properties:
            return
        out["properties"] = {name: self.clean(value, seen, depth + 1) for name, value in properties.items()}
        for name in ("required", "propertyOrdering"):
            if name in schema and (given := [item for item in dict.fromkeys(_strings(schema[name])) if item in properties]):
                out[name] = given


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _strings(value: Any) -> list[str]:
    return [item for item in _list(value) if isinstance(item, str)]


def _anything() -> Schema:
    """Any value. A schema without a type is refused, so every type is named."""
    scalars: list[Schema] = [{"type": kind.upper()} for kind in ("string", "number", "boolean", "object")]
    return {"anyOf": [*scalars, {"type": "ARRAY", "items": {"type": "STRING"}}]}


def _beside(schema: Schema, branch: Any) -> Any:
    """A branch of `anyOf` together with what stands beside the `anyOf`: both hold."""
    shared = {name: schema[name] for name in ("type", "properties", "required") if name in schema}
    return {"allOf": [branch, shared]} if shared and isinstance(branch, dict) else branch


def _either(found: list[Schema], said: Schema, *, nullable: bool) -> Schema:
    """One schema for all of `found`, with what was said about them.

    "When using any_of, it must be the only field set" (the words of Vertex AI's 400): what belongs beside `anyOf` goes into the first
    branch. A default or an example there would be taken for that branch's own, so they are left out.
    """
    if len(found) == 1 and not said and not nullable:
        return found[0]
    flat = [branch for schema in found for branch in schema.get("anyOf", [schema])]
    several = len(flat) > 1
    if several:
        said = {"description": said["description"]} if "description" in said else {}
    first = {**flat[0], **said}
    if "description" in said and "description" in flat[0]:
        first["description"] = f"{said['description']} {flat[0]['description']}"
    if nullable:
        first["nullable"] = True
    return {"anyOf": [first, *flat[1:]]} if several else first


def _is_null(schema: Any) -> bool:
    return isinstance(schema, dict) and (schema.get("type") in ("null", "NULL") or (schema.get("const", ...) is None and "const" in schema))


def _kinds(schema: Schema, values: list[Any]) -> tuple[list[str], bool]:
    """(types, nullable), guessed from the other keywords where no type is given. `values`: what is allowed, if that is said."""
    given = schema.get("type")
    nullable = schema.get("nullable") is True or None in values
    if given in _TYPES:
        return [given], nullable
    named = [item.lower() for item in ([given] if isinstance(given, str) else _strings(given))]
    nullable |= "null" in named
    kinds = [kind for kind in dict.fromkeys(named) if kind in _TYPES]
    if kinds or not (named or schema):
        return kinds, nullable
    if told := {_kind_of(value) for value in values if value is not None}:
        return sorted(told), nullable
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


_LIMITS = {"minimum": ("exclusiveMinimum", 1), "maximum": ("exclusiveMaximum", -1)}
"""Limit → its exclusive form, and how far the next integer is from that."""
_NUMBERS = (int, float)


def _limit(schema: Schema, out: Schema, kind: str) -> None:
    for name, (exclusive, step) in _LIMITS.items():
        value: Any = schema.get(name)
        if type(value) in _NUMBERS:
            out[name] = value
        value = schema.get(exclusive)
        if type(value) in _NUMBERS:
            out[name] = value + (step if kind == "integer" else 0)


def _enumerated(values: list[Any], out: Schema, kind: str) -> None:
    values = [value for value in values if value is not None]
    fitting = [value for value in values if _kind_of(value) == kind or (kind == "number" and _kind_of(value) == "integer")]
    if not fitting:
        return
    if kind == "string":
        if words := list(dict.fromkeys(filter(None, fitting))):
            out["enum"] = words
        return
    # Gemini has `enum` for strings only.
    out["description"] = f"One of: {', '.join(json.encode(value).decode() for value in fitting[:64])}."
