"""Ids of tool calls in the requests of both OpenAI dialects. Floor 1. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import sha256

import msgspec

from fkproxy.model.parts import Part, ToolCall, ToolResult
from fkproxy.model.request import ChatRequest

__all__ = ["with_plain_ids", "with_short_ids"]

_DIGEST_CHARS = 16
_PLAIN_CHARS = 9
_PLAIN = re.compile(f"[a-zA-Z0-9]{{{_PLAIN_CHARS}}}")


def with_short_ids(request: ChatRequest, max_chars: int) -> ChatRequest:
    """The request with no id of a tool call that is longer, for OpenAI's own models.

    "Invalid 'messages[2].tool_calls[0].id': string too long", says their 400; those of vLLM have 46 characters. To others they go as they
    are: Kimi K2 knows a call's function by them (`functions.get_weather:0`), and some gateways keep a signature there.
    """
    return _with_ids(request, lambda call_id: call_id if len(call_id) <= max_chars else _cut(call_id, max_chars))


def with_plain_ids(request: ChatRequest) -> ChatRequest:
    """The request with ids of nine letters or digits, as some models' tokenizers want them."""
    return _with_ids(request, lambda call_id: call_id if _PLAIN.fullmatch(call_id) else sha256(call_id.encode()).hexdigest()[:_PLAIN_CHARS])


def _with_ids(request: ChatRequest, fit: Callable[[str], str]) -> ChatRequest:
    if not any(isinstance(part, ToolCall) and fit(part.id) != part.id for message in request.messages for part in message.parts):
        return request
    messages = tuple(
        msgspec.structs.replace(message, parts=tuple(_fitted(part, fit) for part in message.parts)) for message in request.messages
    )
    return msgspec.structs.replace(request, messages=messages)


def _fitted(part: Part, fit: Callable[[str], str]) -> Part:
    match part:
        case ToolCall():
            return msgspec.structs.replace(part, id=fit(part.id))
        case ToolResult():
            return msgspec.structs.replace(part, call_id=fit(part.call_id))
        case _:
            return part


def _cut(call_id: str, max_chars: int) -> str:
    """Its beginning and its digest: the same one for a call and its result."""
    return f"{call_id[: max_chars - _DIGEST_CHARS - 1]}_{sha256(call_id.encode()).hexdigest()[:_DIGEST_CHARS]}"
