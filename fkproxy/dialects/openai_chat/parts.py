"""Messages and their parts, decoded. Floor 1. Pure."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from fkproxy.dialects.media import at_address, base64_text, data_url
from fkproxy.model.errors import InvalidRequest
from fkproxy.model.parts import Extra, Media, Message, Opaque, Part, Reasoning, Refusal, Role, Seal, Text, ToolCall, ToolResult
from fkproxy.wire.fields import Fields

__all__ = ["AUDIO_MIME_TYPES", "SIGNER", "Calls", "decode_message", "seal_of"]

AUDIO_MIME_TYPES = {
    "wav": "audio/wav",
    "mp3": "audio/mp3",
    "flac": "audio/flac",
    "opus": "audio/opus",
    "ogg": "audio/ogg",
    "aac": "audio/aac",
    "m4a": "audio/m4a",
    "aiff": "audio/aiff",
    "webm": "audio/webm",
    "pcm16": "audio/pcm",
}
"""`input_audio.format` → media type. OpenAI takes wav and mp3, others more."""

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}

SIGNER = "gemini"
"""The dialect whose seals have a documented place here: `extra_content.google.thought_signature`."""


class Calls:
    """Names of the tool calls so far by id: a result does not repeat its tool's name."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.unanswered_functions: dict[str, deque[str]] = {}
        """Name of a function → its calls that have no result yet, in their order."""


def decode_message(fields: Fields, calls: Calls) -> Message:
    """One message. Raises `InvalidRequest`."""
    role = fields.needed_text("role")
    if role not in _ROLES:
        raise InvalidRequest(fields.at("role"), f"expected one of {', '.join(_ROLES)}")
    parts: tuple[Part, ...]
    if role in ("tool", "function"):
        parts = (_tool_result(fields, role, calls),)
        return Message(role="tool", parts=parts, extra={"$role": role} if role == "function" else {})
    name = fields.text("name")
    if role == "assistant":
        parts = _assistant(fields, calls)
    else:
        parts = _content(fields)
        if not parts:
            raise InvalidRequest(fields.at("content"), "expected a string or an array of parts, but it is missing")
    extra = fields.rest()
    if role == "developer":
        extra["$role"] = role
    return Message(role=_ROLES[role], parts=parts, name=name, extra=extra)


def _content(fields: Fields) -> tuple[Part, ...]:
    value = fields.any("content")
    if value is None:
        return ()
    if isinstance(value, str):
        return (Text(text=value),)
    if not isinstance(value, list):
        raise InvalidRequest(fields.at("content"), "expected a string or an array of parts")
    path = fields.at("content")
    return tuple(
        Text(text=item, extra={"$bare": True}) if isinstance(item, str) else _part(Fields(item, f"{path}[{index}]"))
        for index, item in enumerate(value)
    )


def _part(fields: Fields) -> Part:
    kind = fields.needed_text("type")
    match kind:
        case "text":
            return Text(text=fields.needed_text("text"), extra=_in_array(fields))
        case "refusal":
            return Refusal(text=fields.needed_text("refusal"), extra=_in_array(fields))
        case "image_url" | "video_url":
            return _linked(fields, kind)
        case "input_audio":
            return _audio(fields)
        case "file":
            return _file(fields)
        case _:
            value = {"type": kind, **fields.rest()}
            return Opaque(dialect="openai_chat", kind=kind, value=value)


def _in_array(fields: Fields) -> Extra:
    return {"$array": True, **fields.rest()}


def _linked(fields: Fields, kind: str) -> Media:
    value = fields.any(kind)
    inner = Fields({"url": value} if isinstance(value, str) else value, fields.at(kind))
    url, detail = inner.needed_text("url"), inner.text("detail")
    extra = _in_array(fields)
    if more := inner.rest():
        extra["$inner"] = more
    return at_address("image" if kind == "image_url" else "video", url, inner.at("url"), detail=detail, extra=extra)


def _made_images(fields: Fields) -> list[Media]:
    """What the model made, as OpenRouter and this gateway give it in `images`. What a client has made something else of is lost."""
    given = fields.rest()["images"] if "images" in fields else None
    if not isinstance(given, list):
        return []
    try:
        made = [_made_image(Fields(entry)) for entry in given]
    except InvalidRequest:
        return []
    fields.any("images")
    return made


def _made_image(fields: Fields) -> Media:
    """Raises `InvalidRequest`, also for other media, which have no place in an answer but this one."""
    fields.any("type")
    index, seal = fields.any("index"), seal_of(fields.any("extra_content"))
    media = _linked(fields, "image_url")
    if media.url is None and not (media.data and (media.mime_type or "").startswith("image/")):
        raise InvalidRequest("images", "expected an image")
    return msgspec.structs.replace(media, seal=seal, extra={**media.extra, "$images": index})


def _audio(fields: Fields) -> Media:
    inner = fields.within("input_audio")
    if inner is None:
        raise InvalidRequest(fields.at("input_audio"), "expected an object, but it is missing")
    form = inner.needed_text("format")
    data = base64_text(inner.needed_text("data"), inner.at("data"))
    return Media(kind="audio", mime_type=AUDIO_MIME_TYPES.get(form.lower(), f"audio/{form.lower()}"), data=data, extra=_in_array(fields))


def _file(fields: Fields) -> Media:
    inner = fields.within("file")
    if inner is None:
        raise InvalidRequest(fields.at("file"), "expected an object, but it is missing")
    name, file_id, data = inner.text("filename"), inner.text("file_id"), inner.text("file_data")
    extra = _in_array(fields)
    if file_id is not None:
        return Media(kind="file", file_id=file_id, name=name, extra=extra)
    if data is None:
        raise InvalidRequest(inner.path, "expected file_data or file_id")
    if data[:5].lower() == "data:":
        mime_type, content = data_url(data, inner.at("file_data"))
        return Media(kind="file", mime_type=mime_type, data=content, name=name, extra=extra)
    if data.startswith(("https://", "http://", "gs://")):
        return Media(kind="file", url=data, name=name, extra=extra)
    pdf = name is None or name.lower().endswith(".pdf")
    content = base64_text(data, inner.at("file_data"))
    return Media(kind="file", mime_type="application/pdf" if pdf else None, data=content, name=name, extra={"$bare": True, **extra})


def _assistant(fields: Fields, calls: Calls) -> tuple[Part, ...]:
    parts: list[Part] = []
    for name in ("reasoning_content", "reasoning"):
        if name in fields and isinstance(fields.any(name), str) and not parts:
            parts.append(Reasoning(text=fields.needed_text(name), extra={"$field": name}))
    content = _content(fields)
    refusal = fields.text("refusal")
    seal = seal_of(fields.any("extra_content"))
    if seal is not None:
        texts = [index for index, part in enumerate(content) if isinstance(part, Text)]
        sealed = Text(text="", seal=seal) if not texts else content[texts[-1]]
        if texts and isinstance(sealed, Text):
            at = texts[-1]
            content = (*content[:at], Text(text=sealed.text, seal=seal, extra=sealed.extra), *content[at + 1 :])
        else:
            content = (*content, sealed)
    parts += content
    parts += _made_images(fields)
    if refusal is not None:
        parts.append(Refusal(text=refusal))
    parts += [_tool_call(entry, calls) for entry in fields.each("tool_calls")]
    legacy = fields.within("function_call")
    if legacy is not None:
        name = legacy.needed_text("name")
        call_id = f"function_{len(calls.names)}_{name}"
        calls.names[call_id] = name
        calls.unanswered_functions.setdefault(name, deque()).append(call_id)
        parts.append(ToolCall(id=call_id, name=name, arguments=legacy.text("arguments") or "{}", extra={"$legacy": True}))
    return tuple(parts)


def seal_of(extra_content: Any) -> Seal | None:
    """The signature in `extra_content`, None where there is none."""
    google = extra_content.get("google") if isinstance(extra_content, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return Seal(dialect=SIGNER, data=signature) if isinstance(signature, str) and signature else None


def _tool_call(fields: Fields, calls: Calls) -> Part:
    call_id = fields.needed_text("id")
    kind = fields.text("type") or "function"
    if kind != "function":
        inner = fields.within(kind)
        calls.names[call_id] = (inner.text("name") if inner is not None else None) or kind
        value = {"id": call_id, "type": kind, kind: fields.any(kind), **fields.rest()}
        return Opaque(dialect="openai_chat", kind=f"{kind}_tool_call", value=value)
    function = fields.within("function")
    if function is None:
        raise InvalidRequest(fields.at("function"), "expected an object, but it is missing")
    name = function.needed_text("name")
    calls.names[call_id] = name
    seal = seal_of(fields.any("extra_content"))
    extra = fields.rest()
    arguments = function.text("arguments") or "{}"
    if more := function.rest():
        extra["$function"] = more
    return ToolCall(id=call_id, name=name, arguments=arguments, seal=seal, extra=extra)


def _tool_result(fields: Fields, role: str, calls: Calls) -> ToolResult:
    name: str | None
    if role == "function":
        name = fields.needed_text("name")
        fields.any("tool_call_id")
        waiting = calls.unanswered_functions.get(name)
        call_id = waiting.popleft() if waiting else f"function_{name}"
    else:
        call_id = fields.needed_text("tool_call_id")
        name = calls.names.get(call_id) or fields.text("name")
        fields.any("name")
    parts: list[Text | Media] = []
    for index, part in enumerate(_content(fields)):
        if not isinstance(part, Text | Media):
            raise InvalidRequest(f"{fields.at('content')}[{index}]", "a tool's result holds text, images and files only")
        parts.append(part)
    return ToolResult(call_id=call_id, name=name, parts=tuple(parts), extra=fields.rest())
