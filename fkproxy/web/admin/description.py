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


def described(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` with refusals as they are told. Changes it."""
    schema["components"]["schemas"]["Refusal"] = _REFUSAL
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            responses = operation["responses"]
            responses.pop("400", None)
            responses["default"] = _REFUSED
            if path in _FILES:
                responses["200"]["content"] = {kind: {"schema": _TEXT} for kind in _FILES[path]}
    return schema
