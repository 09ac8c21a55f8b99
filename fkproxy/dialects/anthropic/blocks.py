"""Messages and their blocks, decoded. Floor 1. Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from itertools import groupby, zip_longest
from typing import Any

import msgspec

from fkproxy.dialects.envelope import open_envelope
from fkproxy.dialects.foreign import in_place_of_what_was_said
from fkproxy.dialects.media import base64_text
from fkproxy.model.errors import InvalidRequest
from fkproxy.model.parts import Extra, Media, MediaKind, Message, Opaque, Part, Reasoning, Role, Seal, Text, ToolCall, ToolResult
from fkproxy.wire import json
from fkproxy.wire.fields import Fields

__all__ = ["BILLING", "COMPACTED", "NAME", "REDACTED", "decode_message", "decode_system"]

NAME = "anthropic"

REDACTED = "redacted_thinking:"
"""In front of the data of a thought that is redacted, where it is the seal of one in a reply: it has to come back like any other."""

COMPACTED = "$compacted"
"""Note on a message that is the summary of all before it: whose block it was. "When the API receives a `compaction` block, all content
blocks before it are ignored" (platform.claude.com/docs/en/build-with-claude/compaction, read 2026-11)."""

BILLING = "billing.*"
_BILLED = re.compile(r"x-anthropic-billing-header:(?:\s*[\w.-]+=[^;\s]*;){0,32}\s*")
"""What Claude Code tells its vendor in front of the system prompt. It is another one in other conversations, in some releases in each
request, and whose prompt cache goes by the beginning, as most others' do, would find nothing in it."""

_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system"}


def decode_system(value: Any, path: str) -> Message:
    """The `system` field, marked `$top`. A block in front that is the vendor's own stands in `BILLING`."""
    parts, notes = _content(value, path, {})
    first = parts[0] if len(parts) > 1 else None
    if isinstance(first, Text) and _BILLED.fullmatch(first.text):
        notes[BILLING] = {"type": "text", "text": first.text, **first.extra}
        parts = parts[1:]
    return Message(role="system", parts=parts, extra={"$top": True, **notes})


def decode_message(fields: Fields, names: dict[str, str]) -> Iterator[Message]:
    """A message; tool results in it and summaries are messages of their own, and what follows another one of it is marked `$joined`.

    `names`: the tools' names by the ids of the calls so far, which this adds to. Raises `InvalidRequest`.
    """
    role = fields.needed_text("role")
    if role not in _ROLES:
        raise InvalidRequest(fields.at("role"), f"expected one of {', '.join(_ROLES)}")
    value = fields.any("content")
    if value is None:
        raise InvalidRequest(fields.at("content"), "expected a string or an array of blocks, but it is missing")
    parts, notes = _content(value, fields.at("content"), names)
    extra = {**notes, **fields.rest()}
    if not parts:
        yield Message(role=_ROLES[role], parts=(), extra=extra)
    for index, (speaker, run) in enumerate(groupby(parts, key=_speaker)):
        if index:
            extra = {"$joined": True}
        if speaker == "user":
            extra[COMPACTED] = role
        yield Message(role=speaker or _ROLES[role], parts=tuple(run), extra=extra)


def _speaker(part: Part) -> Role | None:
    """Who says it elsewhere, where that is not who says the message: a summary stands for what both have said."""
    if type(part) is ToolResult:
        return "tool"
    block = part.extra.get("block.*") if type(part) is Text and part.extra else None
    return "user" if block is not None and block["type"] == "compaction" and block["content"] else None


def _content(value: Any, path: str, names: dict[str, str]) -> tuple[tuple[Part, ...], Extra]:
    """(parts, notes about how they were written)."""
    if isinstance(value, str):
        return (Text(text=value),), {"$string": True}
    if not isinstance(value, list):
        raise InvalidRequest(path, "expected a string or an array of blocks")
    return tuple(_block(Fields(item, f"{path}[{index}]"), names) for index, item in enumerate(value)), {}


def _block(fields: Fields, names: dict[str, str]) -> Part:
    kind = fields.needed_text("type")
    match kind:
        case "text":
            return Text(text=fields.needed_text("text"), extra=fields.rest())
        case "image" | "document":
            return _media(fields, kind)
        case "tool_use":
            return _tool_use(fields, names)
        case "tool_result":
            return _tool_result(fields, names)
        case "thinking":
            return _thinking(fields)
        case "redacted_thinking":
            return Reasoning(redacted=True, seal=Seal(dialect=NAME, data=fields.needed_text("data")), extra=fields.rest())
        case "fallback":
            # The mark where another model took over, "not rendered into the prompt" (anthropic 2.12, `BetaFallbackBlockParam`).
            return Text(text="", extra={"block.*": {"type": kind, **fields.rest()}})
        case "compaction":
            # null where it failed, which is a no-op (anthropic 2.11, `BetaCompactionBlockParam`).
            summary = fields.text("content")
            told = in_place_of_what_was_said(summary) if summary else ""
            return Text(text=told, extra={"block.*": {"type": kind, "content": summary, **fields.rest()}})
        case "search_result":
            return _in_words(Opaque(dialect=NAME, kind=kind, value={"type": kind, **fields.rest()}))
        case _:
            return Opaque(dialect=NAME, kind=kind, value={"type": kind, **fields.rest()})


def _thinking(fields: Fields) -> Reasoning:
    """A signature is missing, empty or in an envelope where another vendor's model thought: what this dialect's clients give back of it."""
    text, signature = fields.text("thinking") or "", fields.text("signature")
    extra = fields.rest()
    if signature:
        return Reasoning(text=text, seal=open_envelope(signature, NAME), extra=extra)
    return Reasoning(text=text, extra=extra if signature is None else {**extra, "$signature": ""})


def _media(fields: Fields, block: str) -> Part:
    whole = fields.any("source")
    source = Fields(whole, fields.at("source"))
    form = source.needed_text("type")
    kind: MediaKind = "image" if block == "image" else "file"
    if form == "base64":
        data = base64_text(source.needed_text("data"), source.at("data"), url_safe=False)
        found = Media(kind=kind, mime_type=source.needed_text("media_type"), data=data)
    elif form == "text" and kind == "file":
        data = base64.b64encode(source.needed_text("data").encode()).decode()
        found = Media(kind=kind, mime_type=source.text("media_type") or "text/plain", data=data)
    elif form == "url":
        found = Media(kind=kind, url=source.needed_text("url"))
    elif form == "file":
        found = Media(kind=kind, file_id=source.needed_text("file_id"))
    else:
        # A document made of blocks, and whatever comes next.
        return _in_words(Opaque(dialect=NAME, kind=block, value={"type": block, "source": whole, **fields.rest()}))
    name = fields.text("title") if kind == "file" else None
    more = source.rest()
    extra = {**fields.rest(), **({"source.*": more} if more else {}), **({"$text": True} if form == "text" else {})}
    return msgspec.structs.replace(found, name=name, extra=extra)


def _tool_use(fields: Fields, names: dict[str, str]) -> ToolCall:
    call_id, name = fields.needed_text("id"), fields.needed_text("name")
    given = fields.mapping("input")
    names[call_id] = name
    extra = fields.rest()
    if given is None:
        extra["$no_input"] = True
    return ToolCall(id=call_id, name=name, arguments=json.encode(given or {}).decode(), extra=extra)


def _tool_result(fields: Fields, names: dict[str, str]) -> ToolResult:
    call_id, error = fields.needed_text("tool_use_id"), fields.boolean("is_error")
    value = fields.any("content")
    parts, notes = _content([] if value is None else value, fields.at("content"), {})
    extra = {**notes, **fields.rest()}
    if value is None:
        extra["$no_content"] = True
    if error is False:
        extra["$is_error"] = False
    known = tuple(plain for part in parts if isinstance(plain := _told(part), Text | Media))
    if any(part is not plain for part, plain in zip_longest(parts, known)) or any(
        not name.startswith("$") for part in known for name in part.extra
    ):
        # Some of it is this dialect's own: it goes back as it came, and is told to others as lost.
        extra["content.*"] = value
    return ToolResult(call_id=call_id, name=names.get(call_id), parts=known, is_error=bool(error), extra=extra)


def _in_words(block: Opaque) -> Part:
    """A block with texts in it as one text, which is what others get of it; its own dialect gets it back as it came."""
    told = _told(block)
    return Text(text=told.text, extra={"block.*": block.value}) if isinstance(told, Text) else block


def _told(part: Part) -> Part:
    """A block with texts in it, such as a search result or a document made of blocks, as one text; a tool that was found by its name."""
    if not isinstance(part, Opaque):
        return part
    if isinstance(tool := part.value.get("tool_name"), str):
        # What a search for tools has found; without it the model is told nothing.
        return Text(text=tool)
    title, source = part.value.get("title"), part.value.get("source")
    inner = source.get("content") if isinstance(source, dict) else part.value.get("content")
    texts = [block.get("text") for block in inner if isinstance(block, dict)] if isinstance(inner, list) else [inner]
    words = [text for text in texts if isinstance(text, str)]
    return Text(text="\n".join([*(name for name in (title, source) if isinstance(name, str)), *words])) if words else part
