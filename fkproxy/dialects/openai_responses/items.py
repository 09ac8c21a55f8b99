"""The items of a request's `input`, decoded into messages. Floor 1. Pure.

What the model said stands here as a row of items (thoughts, texts, calls); they become one message. A message's `$items` holds the items
that it was made of, as they came, for this dialect's own encoder.
"""

from __future__ import annotations

import mimetypes
import re
from typing import Any

from fkproxy.dialects.envelope import open_envelope
from fkproxy.dialects.media import at_address, base64_text, data_url
from fkproxy.dialects.openai_responses.compaction import ABOUT_ALL, ASK, is_trigger, summary_of
from fkproxy.model.errors import InvalidRequest, Unrepresentable
from fkproxy.model.parts import Extra, Media, Message, Opaque, Part, Reasoning, Refusal, Role, Text, ToolCall, ToolResult
from fkproxy.wire import json
from fkproxy.wire.fields import Fields

__all__ = ["NAME", "TOOL_SEARCH", "decode_items", "joined_name"]

NAME = "openai_responses"

TOOL_SEARCH = "tool_search"
"""The tool that finds tools, run by the vendor or by the client. Its call and its result have items of their own, and no name."""

_FOUND_TOOLS = "tool_search_output"
_UNSAID = ("additional_tools", "configuration_update", _FOUND_TOOLS)
"""Items that nobody says: they make tools known, or change settings. One of the last kind is a result, too, where the client searched."""

_BETWEEN_AGENTS = "agent_message"
"""What one agent of the client says to another one, who is asked now."""

_SEALED = re.compile(r"gAAAAA[\w-]{90,}={0,2}", re.ASCII)
"""What the vendor has encrypted (github.com/fernet/spec: a version, a time, and no less than 73 bytes). Where a tool has `encrypted`
parameters, as the Codex CLI (0.169) has for its agents, another vendor's model writes words, which come back in the same place.
"""

_NO_NAMESPACE = "functions"
"""What the vendor calls the place of the tools that are in none. The Codex CLI (0.169) has its own there, and is called without it."""

_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_PLAIN = ("id", "status", "type", "phase", "internal_chat_message_metadata_passthrough")
"""Fields of an item that say nothing to a model."""


def joined_name(namespace: str | None, name: str) -> str:
    """One name for a function in a namespace, for dialects that have none."""
    return f"{namespace}__{name}" if namespace and namespace != _NO_NAMESPACE else name


def decode_items(items: list[Any], path: str) -> tuple[list[Message], list[Fields]]:
    """Messages, those of the model joined, and the items among them that nobody says. Raises `InvalidRequest`, and
    `Unrepresentable` for a result of a tool that only the vendor can read.
    """
    messages: list[Message] = []
    unsaid: list[Fields] = []
    names: dict[str, str] = {}
    said: list[Part] = []
    raw: list[Any] = []

    def close() -> None:
        if any(item.get("type") not in _UNSAID for item in raw):
            searched = {"web_search_call": True} if any(item.get("type") == "web_search_call" for item in raw) else {}
            messages.append(Message(role="assistant", parts=tuple(said), extra={"$items": list(raw), **searched}))
            said.clear()
            raw.clear()

    for index, item in enumerate(items):
        fields = Fields(item, f"{path}[{index}]")
        kind = fields.text("type") or "message"
        if kind == _BETWEEN_AGENTS or (kind == "message" and fields.text("role") != "assistant"):
            close()
            messages.append(_message(fields, [*raw, item]))
            raw.clear()
        elif kind in ("function_call_output", "custom_tool_call_output"):
            close()
            result = _result(fields, names)
            messages.append(Message(role="tool", parts=(result,), extra={"$items": [*raw, item]}))
            raw.clear()
        elif kind == _FOUND_TOOLS and "call_id" in fields:
            close()
            unsaid.append(fields)
            messages.append(Message(role="tool", parts=(_found(fields, names),), extra={"$items": [*raw, item]}))
            raw.clear()
        elif kind in ABOUT_ALL and (told := ASK if is_trigger(item) and item is items[-1] else summary_of(item)) is not None:
            close()
            messages.append(Message(role="user", parts=(Text(text=told),), extra={"$items": [*raw, item]}))
            raw.clear()
        elif kind in _UNSAID:
            # It goes with what is said next, or was said last.
            unsaid.append(fields)
            raw.append(item)
        else:
            said += _said(fields, kind, names, item)
            raw.append(item)
    close()
    if raw and messages:
        messages[-1].extra["$items"] += raw
    elif raw:
        messages.append(Message(role="system", parts=(), extra={"$items": raw}))
    return messages, unsaid


def _message(fields: Fields, items: list[Any]) -> Message:
    role = "user" if fields.text("type") == _BETWEEN_AGENTS else fields.needed_text("role")
    if role not in _ROLES:
        raise InvalidRequest(fields.at("role"), f"expected one of {', '.join(_ROLES)}")
    parts = _content(fields, "content")
    return Message(role=_ROLES[role], parts=parts, extra={"$items": items, **_rest(fields)})


def _rest(fields: Fields) -> Extra:
    return {name: value for name, value in fields.rest().items() if name not in _PLAIN}


def _said(fields: Fields, kind: str, names: dict[str, str], item: Any) -> list[Part]:
    match kind:
        case "message":
            fields.any("role")
            return list(_content(fields, "content"))
        case "reasoning":
            texts = [entry.text("text") or "" for name in ("summary", "content") for entry in fields.each(name)]
            sealed = fields.text("encrypted_content")
            return [Reasoning(text="\n\n".join(texts), seal=open_envelope(sealed, NAME) if sealed else None)]
        case "function_call":
            name = joined_name(fields.text("namespace"), fields.needed_text("name"))
            call_id = fields.needed_text("call_id")
            names[call_id] = name
            return [ToolCall(id=call_id, name=name, arguments=fields.text("arguments") or "{}", extra=_rest(fields))]
        case "custom_tool_call":
            name = joined_name(fields.text("namespace"), fields.needed_text("name"))
            call_id = fields.needed_text("call_id")
            names[call_id] = name
            arguments = json.encode({"input": fields.text("input") or ""}).decode()
            return [ToolCall(id=call_id, name=name, arguments=arguments, extra=_rest(fields))]
        case "tool_search_call" if "call_id" in fields:
            call_id = fields.needed_text("call_id")
            names[call_id] = TOOL_SEARCH
            given = fields.any("arguments") or {}
            # Text where the model wrote no JSON.
            arguments = given if isinstance(given, str) else json.encode(given).decode()
            return [ToolCall(id=call_id, name=TOOL_SEARCH, arguments=arguments)]
        case "image_generation_call" if fields.text("result"):
            data = base64_text(fields.needed_text("result"), fields.at("result"))
            return [Media(kind="image", mime_type=f"image/{fields.text('output_format') or 'png'}", data=data)]
        case "web_search_call" | "tool_search_call":
            # What the vendor looked for; what was found is not in it, and what the model made of that comes behind it.
            return []
        case _:
            return [Opaque(dialect=NAME, kind=kind, value=item)]


def _result(fields: Fields, names: dict[str, str]) -> ToolResult:
    call_id = fields.needed_text("call_id")
    parts: list[Text | Media] = []
    for part in _content(fields, "output"):
        if isinstance(part, Opaque):
            raise Unrepresentable(f"a part of type {part.kind!r} in a tool's result", "foreign")
        if not isinstance(part, Text | Media):
            raise InvalidRequest(fields.at("output"), "a tool's result holds text, images and files only")
        parts.append(part)
    return ToolResult(call_id=call_id, name=names.get(call_id), parts=tuple(parts), extra=_rest(fields))


def _found(fields: Fields, names: dict[str, str]) -> ToolResult:
    """What a search of the client gave: names. What stands behind them are tools of the request."""
    call_id = fields.needed_text("call_id")
    found = [
        joined_name(tool.text("name") if inside is not tool else None, inside.text("name") or inside.needed_text("type"))
        for tool in fields.each("tools")
        for inside in (tool.each("tools") if tool.text("type") == "namespace" else (tool,))
    ]
    return ToolResult(call_id=call_id, name=names.get(call_id), structured={"tools": found})


def _content(fields: Fields, name: str) -> tuple[Part, ...]:
    value = fields.any(name)
    if value is None:
        raise InvalidRequest(fields.at(name), "expected a string or an array of parts, but it is missing")
    if isinstance(value, str):
        return (Text(text=value),)
    if not isinstance(value, list):
        raise InvalidRequest(fields.at(name), "expected a string or an array of parts")
    return tuple(_part(Fields(entry, f"{fields.at(name)}[{index}]"), entry) for index, entry in enumerate(value))


def _part(fields: Fields, value: Any) -> Part:
    kind = fields.needed_text("type")
    match kind:
        case "input_text" | "output_text" | "text" | "summary_text":
            text = fields.needed_text("text")
            fields.any("annotations"), fields.any("logprobs")
            return Text(text=text, extra=_rest(fields))
        case "encrypted_content" if not _SEALED.fullmatch(words := fields.needed_text("encrypted_content")):
            return Text(text=words, extra=_rest(fields))
        case "refusal":
            return Refusal(text=fields.needed_text("refusal"), extra=_rest(fields))
        case "input_image":
            return _image(fields)
        case "input_file":
            return _file(fields)
        case _:
            return Opaque(dialect=NAME, kind=kind, value=value)


def _image(fields: Fields) -> Media:
    url, file_id, detail = fields.text("image_url"), fields.text("file_id"), fields.text("detail")
    extra = _rest(fields)
    if url is None:
        if file_id is None:
            raise InvalidRequest(fields.at("image_url"), "expected image_url or file_id")
        return Media(kind="image", file_id=file_id, detail=detail, extra=extra)
    return at_address("image", url, fields.at("image_url"), detail=detail, extra=extra)


def _file(fields: Fields) -> Media:
    name, data = fields.text("filename"), fields.text("file_data")
    url, file_id = fields.text("file_url"), fields.text("file_id")
    extra = _rest(fields)
    if file_id is not None:
        return Media(kind="file", file_id=file_id, name=name, extra=extra)
    if url is not None:
        return Media(kind="file", url=url, name=name, extra=extra)
    if data is None:
        raise InvalidRequest(fields.at("file_data"), "expected file_data, file_url or file_id")
    if data[:5].lower() == "data:":
        mime_type, content = data_url(data, fields.at("file_data"))
        return Media(kind="file", mime_type=mime_type, data=content, name=name, extra=extra)
    mime_type = mimetypes.guess_type(name)[0] if name is not None else "application/pdf"
    return Media(kind="file", mime_type=mime_type, data=base64_text(data, fields.at("file_data")), name=name, extra=extra)
