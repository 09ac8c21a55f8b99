"""Bodies of chat completions: a small one, and conversations as coding agents have them, of any size."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["conversation", "small"]

_SENTENCE = "Please summarise the following paragraph in one sentence. "
_TEXT = (
    'def total(values: list[int]) -> int:\n    """The sum – of “all” values."""\n    return sum(value for value in values if value > 0)\n\n'
)
"""Ends of lines, quotes and letters beyond ASCII, as sources and prose have them."""


def small(model: str, *, stream: bool = False) -> bytes:
    """A request of 1 KB."""
    messages = [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": _SENTENCE * 14}]
    return _encode({"model": model, **({"stream": True} if stream else {}), "messages": messages, "max_tokens": 128})


def conversation(model: str, size_bytes: int, *, messages: int = 60, tools: int = 20) -> bytes:
    """A conversation in so many bytes or a few less. A third of its messages are calls of tools, and another third their results."""
    skeleton = _conversation(model, messages, tools, 0)
    room = size_bytes - len(skeleton)
    each = len(_encode(_TEXT)) - 2
    return _conversation(model, messages, tools, max(0, room // each))


def _conversation(model: str, messages: int, tools: int, texts: int) -> bytes:
    """`texts` times `_TEXT`, dealt out evenly."""
    said: list[dict[str, Any]] = []
    for number in range(messages):
        text = _TEXT * (texts // messages + (number < texts % messages))
        call = f"call_{number // 3:06d}"
        if number % 3 == 0:
            said.append({"role": "system" if number == 0 else "user", "content": text})
        elif number % 3 == 1:
            asked = {"name": f"tool_{number % max(1, tools)}", "arguments": json.dumps({"path": "src/main.py", "line": number})}
            said.append({"role": "assistant", "content": text, "tool_calls": [{"id": call, "type": "function", "function": asked}]})
        else:
            said.append({"role": "tool", "tool_call_id": call, "content": text})
    while said[-1]["role"] == "assistant":
        said[-1] = {"role": "user", "content": said[-1]["content"]}
    offered = {"tools": [_tool(number) for number in range(tools)]} if tools else {}
    return _encode({"model": model, "messages": said, **offered, "max_tokens": 128})


def _tool(number: int) -> dict[str, Any]:
    """A function with parameters two levels deep, 0.7 KB."""
    path = {"type": "string", "description": "The file, from the root of the working directory; it must be there already."}
    span = {"first": {"type": "integer", "minimum": 1}, "last": {"type": "integer", "minimum": 1}}
    parameters = {
        "type": "object",
        "properties": {
            "path": path,
            "mode": {"type": "string", "enum": ["read", "write", "append"], "description": "What is to be done to it."},
            "span": {"type": "object", "properties": span, "required": ["first"], "description": "Lines, both included."},
            "words": {"type": "array", "items": {"type": "string"}, "description": "What to look for."},
        },
        "required": ["path"],
    }
    described = f"Tool {number}: does something to a file of the working directory and tells what it found there."
    return {"type": "function", "function": {"name": f"tool_{number}", "description": described, "parameters": parameters}}


def _encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
