"""A generateContent request, decoded. Floor 1. Pure.

Source: ai.google.dev/api/generate-content, read 2026-11. The JSON of a protocol buffer may name its fields in camelCase or snake_case;
both are read, and this dialect writes camelCase.

Notes that the decoder leaves for its own encoder stand in `extra` under `$name`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from fkproxy.dialects.gemini.thinking import EFFORT_OF_LEVEL, NO_SIGNATURE
from fkproxy.dialects.media import base64_text, kind_of
from fkproxy.model.errors import InvalidRequest
from fkproxy.model.parts import Extra, Media, Message, Opaque, Part, Reasoning, Seal, Text, ToolCall, ToolResult
from fkproxy.model.request import ChatRequest, OutputFormat, ReasoningConfig, Sampling, Tool, ToolChoice
from fkproxy.wire import json
from fkproxy.wire.fields import Fields

__all__ = ["KNOWN_FIELDS", "NAME", "decode_request", "fields_of"]

NAME = "gemini"

KNOWN_FIELDS = frozenset(
    (
        *("contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "safetySettings", "cachedContent", "labels"),
        *("continuationToken", "autoTruncate", "documentOcr", "audioTrackExtraction"),
        *("reasoning", "seal", "tool_result", "tool_calls", "messages", "top_k", "user", "serviceTier", "store", "modelArmorConfig"),
    )
)

_ON_THE_WEB = re.compile(r"https?://(?!generativelanguage\.googleapis\.com/|([\w-]+\.)?youtube\.com/|youtu\.be/)", re.IGNORECASE)
"""Others are files that were given to Google, or videos that it alone looks at (ai.google.dev/gemini-api/docs: files, video-understanding;
read 2026-11)."""
_SNAKE = re.compile(r"_([a-z])")
_ROLES = ("user", "model", "function", "")
_MODES = {"NONE": "none", "AUTO": "auto", "ANY": "required", "VALIDATED": "auto", "MODE_UNSPECIFIED": "auto"}
_OUTPUT = ("responseMimeType", "responseSchema", "responseJsonSchema", "responseFormat")
_FREE_FORM = frozenset(
    (
        *("args", "response", "parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema", "schema", "labels"),
        *("partMetadata", "headers"),
    )
)
"""Fields whose keys are not the API's but the caller's own."""
_LISTS = frozenset(("contents", "parts", "tools", "functionDeclarations", "requests"))
"""Where the API takes one object for a list of it, as Google's own examples for curl have it: `"contents": {"parts": {"text": …}}`
(ai.google.dev/gemini-api/docs/system-instructions, and intro_gemini_curl in GoogleCloudPlatform/generative-ai, read 2026-11).
"""
_SIZES = frozenset(("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"))
"""Keywords of a schema whose numbers are of 64 bits, which the JSON of a protocol buffer writes as strings."""


def _camelled(name: str) -> str:
    return _SNAKE.sub(lambda match: match[1].upper(), name)


def _camel(value: Any) -> Any:
    """The value with the API's own keys in camelCase, and with lists where it has them."""
    if isinstance(value, dict):
        renamed = {_camelled(name): inner for name, inner in value.items()}
        return {name: inner if name in _FREE_FORM else _listed(name, _camel(inner)) for name, inner in renamed.items()}
    return [_camel(inner) for inner in value] if isinstance(value, list) else value


def _listed(name: str, value: Any) -> Any:
    return [value] if name in _LISTS and isinstance(value, dict) else value


def fields_of(body: bytes) -> Fields:
    """A client's request, whichever way it writes names and lists. Raises `InvalidRequest`."""
    return Fields(_camel(json.decode_request(body)))


def decode_request(body: bytes, model: str, *, stream: bool) -> ChatRequest:
    """The whole request, checked. Raises `InvalidRequest` naming the field."""
    fields = fields_of(body)
    kept: Extra = {}
    contents = fields.array("contents")
    if not contents:
        raise InvalidRequest("contents", "expected an array with at least one content")
    ids = _Ids()
    messages = [*_system(fields, kept), *(message for entry in fields.each("contents") for message in _content(entry, ids))]
    generation = fields.within("generationConfig") or Fields({}, "generationConfig")
    request = ChatRequest(
        dialect=NAME,
        model=model,
        messages=tuple(messages),
        stream=stream,
        sampling=_sampling(generation),
        reasoning=_reasoning(generation, kept),
        tools=_tools(fields),
        tool_choice=_tool_choice(fields, kept),
        output=_output(generation, kept),
        extra=kept,
    )
    if more := generation.rest():
        kept["generationConfig.*"] = {**kept.get("generationConfig.*", {}), **more}
    kept.update(fields.rest())
    return request


class _Ids:
    """Ids for calls that come without one, and the calls that wait for a response, by name."""

    def __init__(self) -> None:
        self._count = 0
        self._waiting: list[tuple[str, str]] = []

    def call(self, given: str | None, name: str) -> str:
        self._count += 1
        call_id = given or f"call_{self._count}"
        self._waiting.append((call_id, name))
        return call_id

    def response(self, given: str | None, name: str) -> str:
        """The call that a response belongs to: by id, else the oldest of that name."""
        by_id = (entry for entry in self._waiting if entry[0] == given)
        entry = next(by_id, None) or next((entry for entry in self._waiting if entry[1] == name), None)
        if entry is None:
            return given or name
        self._waiting.remove(entry)
        return entry[0]


def _system(fields: Fields, kept: Extra) -> list[Message]:
    value = fields.any("systemInstruction")
    if value is None:
        return []
    if isinstance(value, str):
        return [Message(role="system", parts=(Text(text=value),))]
    entry = Fields(value, "systemInstruction")
    parts = tuple(_part(part, _Ids()) for part in entry.each("parts"))
    if more := entry.rest():
        kept["systemInstruction.*"] = more
    return [Message(role="system", parts=parts)] if parts else []


def _content(entry: Fields, ids: _Ids) -> list[Message]:
    """One content; the responses of functions in a user's content are a message of their own."""
    # "USER", say the examples of Vertex AI.
    role = (entry.text("role") or "").lower()
    if role not in _ROLES:
        raise InvalidRequest(entry.at("role"), f"expected one of {', '.join(filter(None, _ROLES))}")
    parts = [_part(part, ids) for part in entry.each("parts")]
    extra = entry.rest()
    if role == "model":
        return [Message(role="assistant", parts=tuple([_draft(part) if type(part) is Media else part for part in parts]), extra=extra)]
    results = tuple(part for part in parts if isinstance(part, ToolResult))
    others = tuple(part for part in parts if not isinstance(part, ToolResult))
    messages = [Message(role="tool", parts=results, extra={"$role": role or "user"})] if results else []
    if others or not results:
        messages.append(Message(role="user", parts=others, extra=extra if role else {**extra, "$role": ""}))
    return messages


def _draft(media: Media) -> Part:
    """An image among the model's thoughts is one of them; another one is what it is."""
    return Reasoning(seal=media.seal, extra={"$media": media}) if media.extra.get("thought") is True else media


def _part(fields: Fields, ids: _Ids) -> Part:
    signature = fields.text("thoughtSignature")
    seal = Seal(dialect=NAME, data=signature) if signature else None
    if "functionCall" in fields:
        return _call(fields, seal, ids)
    if "functionResponse" in fields:
        return _response(fields, ids)
    if "inlineData" in fields or "fileData" in fields:
        return _media(fields, seal)
    text = fields.text("text")
    if text is not None or (seal is not None and not fields.rest()):
        if fields.boolean("thought"):
            return Reasoning(text=text or "", seal=seal, extra=fields.rest())
        return Text(text=text or "", seal=seal, extra=fields.rest())
    value = fields.rest()
    if not value:
        raise InvalidRequest(fields.path, "expected a part with text, inlineData, fileData, functionCall or functionResponse")
    if signature:
        value["thoughtSignature"] = signature
    return Opaque(dialect=NAME, kind=next(iter(value)), value=value)


def _call(fields: Fields, seal: Seal | None, ids: _Ids) -> ToolCall:
    inner = fields.within("functionCall")
    assert inner is not None
    name, given, args = inner.needed_text("name"), inner.text("id"), inner.mapping("args")
    extra = fields.rest()
    own = {**inner.rest(), **({"id": given} if given is not None else {})}
    if own:
        extra["$call"] = own
    if args is None:
        extra["$no_args"] = True
    if seal is not None and seal.data == NO_SIGNATURE:
        # It seals nothing: who else gets the call has lost nothing without it.
        seal, extra["$marked"] = None, True
    return ToolCall(id=ids.call(given, name), name=name, arguments=json.encode(args or {}).decode(), seal=seal, extra=extra)


def _response(fields: Fields, ids: _Ids) -> ToolResult:
    inner = fields.within("functionResponse")
    assert inner is not None
    name, given, response = inner.needed_text("name"), inner.text("id"), inner.mapping("response")
    parts = [_part(entry, ids) for entry in inner.each("parts")]
    media = tuple(part for part in parts if isinstance(part, Media))
    extra = fields.rest()
    own = {**inner.rest(), **({"id": given} if given is not None else {})}
    if len(media) < len(parts):
        own["parts"] = inner.any("parts")
    if own:
        extra["$response"] = own
    error = response is not None and set(response) == {"error"}
    return ToolResult(call_id=ids.response(given, name), name=name, parts=media, structured=response or {}, is_error=error, extra=extra)


def _media(fields: Fields, seal: Seal | None) -> Media:
    inline = fields.within("inlineData")
    if inline is not None:
        mime_type = inline.needed_text("mimeType")
        data = base64_text(inline.needed_text("data"), inline.at("data"))
        name, extra = inline.text("displayName"), _with_inner(fields, inline, "inlineData.*")
        return Media(kind=kind_of(mime_type), mime_type=mime_type, data=data, name=name, seal=seal, extra=extra)
    file = fields.within("fileData")
    assert file is not None
    file_type = file.text("mimeType")
    uri = file.needed_text("fileUri")
    url, file_id = (uri, None) if _ON_THE_WEB.match(uri) else (None, uri)
    name, extra = file.text("displayName"), _with_inner(fields, file, "fileData.*")
    return Media(kind=kind_of(file_type or ""), mime_type=file_type, url=url, file_id=file_id, name=name, seal=seal, extra=extra)


def _with_inner(fields: Fields, inner: Fields, name: str) -> Extra:
    """What is left of a part, and as `name` what is left of the object in it."""
    more = inner.rest()
    return {**fields.rest(), name: more} if more else fields.rest()


def _sampling(generation: Fields) -> Sampling:
    return Sampling(
        max_output_tokens=generation.integer("maxOutputTokens", 1),
        temperature=generation.number("temperature", 0, 2),
        top_p=generation.number("topP", 0, 1),
        top_k=generation.integer("topK", 0),
        stop=generation.texts("stopSequences"),
        seed=generation.integer("seed"),
        choices=generation.integer("candidateCount", 1, 128),
        presence_penalty=generation.number("presencePenalty"),
        frequency_penalty=generation.number("frequencyPenalty"),
        logprobs=generation.boolean("responseLogprobs"),
        top_logprobs=generation.integer("logprobs", 0, 20),
    )


def _reasoning(generation: Fields, kept: Extra) -> ReasoningConfig | None:
    thinking = generation.within("thinkingConfig")
    if thinking is None:
        return None
    kept["$thinking"] = generation.any("thinkingConfig")
    level = thinking.text("thinkingLevel")
    return ReasoningConfig(
        effort=EFFORT_OF_LEVEL.get(level.lower()) if level else None,
        budget_tokens=thinking.integer("thinkingBudget", -1),
        include_thoughts=thinking.boolean("includeThoughts"),
    )


def _tools(fields: Fields) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    for entry in fields.each("tools"):
        for declaration in entry.each("functionDeclarations"):
            tools.append(_declaration(declaration))
        # `"codeExecution": null`, says rig for Rust beside its functions.
        tools += [Tool(name=name, kind=name, value=value) for name, value in entry.rest().items() if value is not None]
    return tuple(tools)


def _declaration(fields: Fields) -> Tool:
    name, description = fields.needed_text("name"), fields.text("description")
    schema, other = fields.mapping("parameters"), fields.mapping("parametersJsonSchema")
    extra = fields.rest()
    if schema is not None or other is not None:
        extra["$schema"] = {"parameters": schema} if other is None else {"parametersJsonSchema": other}
    return Tool(name=name, description=description, parameters=_standard(schema) if other is None else other, extra=extra)


def _standard(schema: Any) -> Any:
    """Gemini's schema as JSON Schema: its type names are in capitals, null has a flag of its own, and numbers may come as strings.

    A keyword that is null is one that is not there, as in all JSON of protocol buffers. They come in either case: google-genai 3.4 for
    Python sends `any_of`, the API's pages say `anyOf`.
    """
    if isinstance(schema, list):
        return [_standard(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out = {_camelled(name): value for name, value in schema.items() if value is not None}
    for name in ("items", "anyOf", "additionalProperties"):
        if name in out:
            out[name] = _standard(out[name])
    for name in _SIZES & out.keys():
        if isinstance(out[name], str) and out[name].isdecimal():
            out[name] = int(out[name])
    order, properties = out.pop("propertyOrdering", None), out.get("properties")
    if isinstance(properties, dict):
        names = [name for name in order if isinstance(name, str) and name in properties] if isinstance(order, list) else []
        out["properties"] = {name: _standard(properties[name]) for name in dict.fromkeys((*names, *properties))}
    nullable = out.pop("nullable", None) is True
    if isinstance(kind := out.get("type"), str):
        out["type"] = kind.lower()
        if kind.upper() == "TYPE_UNSPECIFIED":
            del out["type"]
    return _or_null(out) if nullable else out


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A standard schema that null matches as well. Without a type or branches anything does."""
    out = dict(schema)
    if isinstance(kind := out.get("type"), str) and kind != "null":
        out["type"] = [kind, "null"]
    if isinstance(out.get("enum"), list) and None not in out["enum"]:
        out["enum"] = [*out["enum"], None]
    if isinstance(out.get("anyOf"), list):
        out["anyOf"] = [*out["anyOf"], {"type": "null"}]
    return out


def _tool_choice(fields: Fields, kept: Extra) -> ToolChoice | None:
    config = fields.within("toolConfig")
    if config is None:
        return None
    calling = config.within("functionCallingConfig")
    if more := config.rest():
        kept["toolConfig.*"] = more
    if calling is None:
        return None
    # The API reads its enums in either case: `"mode": "any"`, say the examples of Google's cookbook.
    mode = (calling.text("mode") or "AUTO").upper()
    if mode not in _MODES:
        raise InvalidRequest(calling.at("mode"), f"expected one of {', '.join(_MODES)}")
    names = calling.texts("allowedFunctionNames")
    own = calling.rest()
    if mode == "VALIDATED":
        own["mode"] = mode
    if own:
        kept["$calling"] = own
    return ToolChoice(mode=_MODES[mode], names=names)  # type: ignore[arg-type]  # the values of _MODES


def _output(generation: Fields, kept: Extra) -> OutputFormat | None:
    told = {name: value for name in _OUTPUT if (value := generation.any(name)) is not None}
    mime_type = generation.text("responseMimeType") or None  # the JSON of a protocol buffer may name what is not set
    schema, other = generation.mapping("responseSchema"), generation.mapping("responseJsonSchema")
    only_here = False
    for entry in _formats(generation):
        if (text := entry.within("text")) is not None:
            mime_type = (text.text("mimeType") or "").lower().replace("_", "/", 1) or mime_type
            other = text.mapping("schema") or other
        only_here |= bool(entry.rest())  # images, speech
    if only_here or mime_type not in (None, "application/json", "text/plain"):
        # text/x.enum and whatever comes next: no other dialect has a word for it.
        kept["generationConfig.*"] = told
        return None
    if told:
        kept["$output"] = told
    found = other if other is not None else _standard(schema)
    if found is not None:
        return OutputFormat(kind="json_schema", schema_=found)
    if mime_type is None:
        return None
    return OutputFormat(kind="json" if mime_type == "application/json" else "text")


def _formats(generation: Fields) -> Iterable[Fields]:
    """What took the place of the type and the schemas in 2026: an object at the Gemini API, a list of them at Vertex AI. The type in it may
    be one of an enum, `APPLICATION_JSON` (ai.google.dev/gemini-api/docs/file-search; google-genai 3.4, `ResponseFormat`; read 2026-11).
    """
    value = generation.any("responseFormat")
    if isinstance(value, list):
        return generation.each("responseFormat")
    return () if value is None else (Fields(value, generation.at("responseFormat")),)
