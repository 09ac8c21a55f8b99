"""The shapes of an exchange with a child: which fields each message has, so that a stand-in can be held to the real one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

_FREE = ("arguments", "inputSchema", "environment")
"""What the client or the operator writes."""


def shapes(messages: Iterable[Any]) -> dict[str, dict[str, set[str]]]:
    """By method (and kind of item): each field's path, and the JSON types that its values have."""
    found: dict[str, dict[str, set[str]]] = {}
    for message in messages:
        params = message.get("params") or {}
        item = params.get("item") or {}
        name = " ".join(part for part in (message["method"], item.get("type")) if part)
        _walk(params, "", found.setdefault(name, {}))
    return found


def _walk(value: Any, path: str, into: dict[str, set[str]]) -> None:
    into.setdefault(path, set()).add(type(value).__name__)
    if path.rpartition(".")[2] in _FREE:
        return
    if isinstance(value, dict):
        for name, inner in value.items():
            _walk(inner, f"{path}.{name}", into)
    elif isinstance(value, list):
        for inner in value:
            _walk(inner, f"{path}[]", into)


def lines(text: str) -> tuple[list[Any], list[Any]]:
    """What was sent and what was said, of a file whose lines begin with `>` or `<`."""
    both = [(line[0], json.loads(line[2:])) for line in text.splitlines()]
    return [message for side, message in both if side == ">"], [message for side, message in both if side == "<"]
