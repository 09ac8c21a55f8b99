"""The description of the administrator's API: what Litestar says of the routes, and what is answered beside. Floor 4. Pure."""

from __future__ import annotations

from typing import Any

__all__ = ["described"]

_TEXT = {"type": "string"}
_PROBLEM = {
    "type": "object",
    "required": ["name", "message"],
    "properties": {"name": _TEXT, "message": _TEXT, "hint": {"type": ["string", "null"]}},
}
_REFUSAL = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": {**_TEXT, "description": "A word for programs."},
                "message": {**_TEXT, "description": "A sentence for people."},
                "reason": {**_TEXT, "description": "Why the store cannot be used."},
                "problems": {"type": "array", "items": _PROBLEM, "description": "What is wrong, field by field."},
            },
        }
    },
}
"""See `answers.py`."""

_REFUSED = {
    "description": "It was not done: 400 and 422 for what was given, 401, 403, 404, 409 for the state of things, 429, 503 without a store.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}},
}

_FILES = {"/admin/api/calls/export": ("text/csv", "application/x-ndjson")}
"""Path → types of what is given as a file."""


_OF_ONE_DOCUMENT = tuple(f"/admin/api/{name}" for name in ("pools", "providers", "settings", "config"))
_NOT_CHANGED = ("/admin/api/providers/reload", "/admin/api/providers/validate")
_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "schema": _TEXT,
    "description": "The revision that the change rests on: `etag` of /admin/api/config, `revision` of a pool; 409 if there is a newer one.",
}
"""See `caller.based_on`."""


def described(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` with refusals as they are told, and how one change is kept from undoing another. Changes it."""
    schema["components"]["schemas"]["Refusal"] = _REFUSAL
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            if method != "get" and path.startswith(_OF_ONE_DOCUMENT) and path not in _NOT_CHANGED:
                operation["parameters"] = [*operation.get("parameters", ()), _IF_MATCH]
            responses = operation["responses"]
            responses.pop("400", None)
            responses["default"] = _REFUSED
            if path in _FILES:
                responses["200"]["content"] = {kind: {"schema": _TEXT} for kind in _FILES[path]}
    schema["paths"]["/admin/api/config"]["get"]["responses"]["200"]["headers"] = {"etag": {"schema": _TEXT, "description": "The revision."}}
    return schema
