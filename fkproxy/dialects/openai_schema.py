"""What OpenAI's servers want of a function's parameters. Floor 1. Pure."""

from __future__ import annotations

from typing import Any

__all__ = ["with_properties"]


def with_properties(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object, which names its properties even where it has none.

    "object schema missing properties", says the 400 of chat completions and Responses alike; MCP servers leave them out, and other vendors
    take that.
    """
    return {**schema, "properties": {}} if schema.get("type") == "object" and schema.get("properties") is None else schema
