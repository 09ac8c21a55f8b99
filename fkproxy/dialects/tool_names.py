"""Names of tools on their way to a vendor that refuses them, and back. Floor 1. Pure.

"Invalid 'tools[0].function.name': string does not match pattern" and "Invalid function name. Must start with a letter or an underscore",
say the 400s; names of MCP servers' tools have dots, colons, slashes and more than 64 characters. Another name hangs on nothing but the
client's own and is taken by every vendor, so that the tools of a request are enough to tell whose it is when it comes back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256

import msgspec

from fkproxy.dialects.base import StreamEncoder
from fkproxy.model.events import Event, ToolCallStarted
from fkproxy.model.parts import Message, Part, ToolCall, ToolResult
from fkproxy.model.request import ChatRequest, Loss, Tool

__all__ = ["ClientNames", "client_names", "for_client", "with_taken_names"]

_EVERYWHERE = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,63}")
"""What every vendor takes."""
_ELSEWHERE = re.compile(r"[^a-zA-Z0-9_-]")
_KEPT_CHARS = 54
_DIGEST_CHARS = 8
_WITH_CALLS = ("assistant", "tool")
_NAMED = (ToolCall, ToolResult)


def with_taken_names(request: ChatRequest, taken: re.Pattern[str], losses: list[Loss]) -> ChatRequest:
    """The request with another name for each tool whose own is not `taken`: of those on offer, of the choice, and in what went before."""
    said = _names(request)
    names = {name for name in said if not taken.fullmatch(name)} if said else said
    if not names:
        return request
    losses.append(Loss(field="tools[].name", action="converted"))
    others = {name: _other(name) for name in names}
    choice = request.tool_choice
    if choice is not None:
        choice = msgspec.structs.replace(choice, names=tuple(others.get(name, name) for name in choice.names))
    return msgspec.structs.replace(
        request,
        tools=tuple(
            msgspec.structs.replace(tool, name=others[tool.name]) if tool.kind == "function" and tool.name in others else tool
            for tool in request.tools
        ),
        tool_choice=choice,
        messages=tuple(_renamed(message, others) for message in request.messages),
    )


def _names(request: ChatRequest) -> set[str]:
    found: set[str] = set()
    for tool in request.tools:
        if tool.kind == "function":
            found.add(tool.name)
    for message in request.messages:
        if message.role in _WITH_CALLS:
            for part in message.parts:
                if isinstance(part, _NAMED) and part.name is not None:
                    found.add(part.name)
    return found


def _renamed(message: Message, others: dict[str, str]) -> Message:
    if message.role not in _WITH_CALLS:
        return message
    return msgspec.structs.replace(message, parts=tuple(_part(part, others) for part in message.parts))


def _part(part: Part, others: dict[str, str]) -> Part:
    if isinstance(part, _NAMED) and part.name in others:
        return msgspec.structs.replace(part, name=others[part.name])
    return part


def _other(name: str) -> str:
    """Its beginning and its digest, in characters that every vendor takes."""
    begins = "" if name[:1].isascii() and name[:1].isalpha() else "_"
    return f"{begins}{_ELSEWHERE.sub('_', name)[:_KEPT_CHARS]}_{sha256(name.encode()).hexdigest()[:_DIGEST_CHARS]}"


def client_names(tools: Sequence[Tool]) -> dict[str, str]:
    """Another name → the client's own, of those tools that may have gone somewhere under another one."""
    return {_other(tool.name): tool.name for tool in tools if not _EVERYWHERE.fullmatch(tool.name)} if tools else {}


def for_client(event: Event, names: dict[str, str]) -> Event:
    """The event, with the tool's name as the client knows it."""
    if type(event) is not ToolCallStarted or event.name not in names:
        return event
    return msgspec.structs.replace(event, name=names[event.name])


class ClientNames:
    """An encoder that hears of the tools by their clients' `names`."""

    __slots__ = ("_encoder", "_names")

    def __init__(self, encoder: StreamEncoder, names: dict[str, str]) -> None:
        self._encoder = encoder
        self._names = names

    def encode(self, event: Event) -> bytes:
        """See `dialects.base.StreamEncoder.encode`."""
        return self._encoder.encode(for_client(event, self._names))
