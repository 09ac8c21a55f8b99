"""A Responses request, decoded. Floor 1. Pure.

Source: OpenAI API reference, "Create a model response", and the typed models of openai 3.52, read 2026-11. `namespace` tools,
`additional_tools`, a `tool_search` of its own and `client_metadata` are what the Codex CLI 0.169 sends.

Notes that the decoder leaves for its own encoder, and for that of the reply, stand in `extra` under `$name`.
"""

from __future__ import annotations

import msgspec

from fkproxy.dialects.openai_responses.compaction import is_trigger
from fkproxy.dialects.openai_responses.items import NAME, TOOL_SEARCH, decode_items, joined_name
from fkproxy.dialects.openai_schema import decode_format
from fkproxy.model.errors import InvalidRequest
from fkproxy.model.parts import Extra, Message, Text
from fkproxy.model.request import EFFORTS, ChatRequest, Effort, OutputFormat, ReasoningConfig, Sampling, Tool, ToolChoice
from fkproxy.wire import json
from fkproxy.wire.fields import Fields

__all__ = ["KNOWN_FIELDS", "NAME", "decode_request"]

# fmt: off
KNOWN_FIELDS = frozenset((
    "access_programs", "background", "client_metadata", "context_management", "conversation", "image", "include", "input",
    "instructions", "max_output_tokens", "max_tool_calls", "metadata", "model", "moderation", "parallel_tool_calls", "personality",
    "previous_response_id", "prompt", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning",
    "safety_identifier", "service_tier", "store", "stream", "stream_options", "temperature", "text", "tool_choice", "tools",
    "top_logprobs", "top_p", "truncation", "user",
    "seal", "tool_calls", "tool_result", "logprobs", "web_search", "web_search_preview", "file_search", "code_interpreter",
    "image_generation", "computer_use_preview", "mcp", "local_shell", "shell", "apply_patch",
))
# fmt: on
"""Every documented field, and the words that encoders use for what has another name elsewhere."""

_LOGPROBS = "message.output_text.logprobs"
_SILENT = ("client_metadata", "include", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "store", "stream_options")
"""Fields about this vendor's keeping and caching: nobody else keeps anything, and nothing changes without them."""


def decode_request(body: bytes, model: str) -> ChatRequest:
    """The whole request, checked. Raises `InvalidRequest` naming the field, and `Unrepresentable` as `decode_items`."""
    fields = Fields(json.decode_request(body))
    fields.any("model")
    kept: Extra = {}
    said, unsaid = _input(fields, kept)
    messages = [*_instructions(fields), *said]
    request = ChatRequest(
        dialect=NAME,
        model=model,
        messages=tuple(messages),
        stream=bool(fields.boolean("stream")),
        sampling=Sampling(
            max_output_tokens=fields.integer("max_output_tokens", 1),
            temperature=fields.number("temperature", 0, 2),
            top_p=fields.number("top_p", 0, 1),
            logprobs=True if fields.integer("top_logprobs", 0, 20) or _LOGPROBS in fields.texts("include") else None,
            top_logprobs=fields.integer("top_logprobs", 0, 20),
        ),
        reasoning=_reasoning(fields, kept, unsaid),
        tools=_all_tools(fields, unsaid),
        tool_choice=_tool_choice(fields, kept),
        parallel_tool_calls=fields.boolean("parallel_tool_calls"),
        output=_output(fields, kept, unsaid),
        user=fields.text("user"),
        extra=kept,
    )
    if said and is_trigger(said[-1].extra["$items"][-1]):
        request = msgspec.structs.replace(request, compacts=True, tool_choice=ToolChoice(mode="none"), output=None)
    for name in ("tools", *_SILENT):
        if name in fields:
            kept[f"${name}"] = fields.any(name)
    # What is null or off says nothing to anybody else.
    kept.update({f"${name}" if value in (None, False) else name: value for name, value in fields.rest().items()})
    return request


def _instructions(fields: Fields) -> list[Message]:
    text = fields.text("instructions")
    return [] if text is None else [Message(role="system", parts=(Text(text=text),), extra={"$instructions": True})]


def _input(fields: Fields, kept: Extra) -> tuple[list[Message], list[Fields]]:
    """See `decode_items`."""
    value = fields.any("input")
    if isinstance(value, str):
        kept["$string"] = True
        return [Message(role="user", parts=(Text(text=value),), extra={"$items": [value]})], []
    if not isinstance(value, list) or (not value and "previous_response_id" not in fields):
        raise InvalidRequest("input", "expected a string or an array with at least one item")
    return decode_items(value, "input")


def _reasoning(fields: Fields, kept: Extra, unsaid: list[Fields]) -> ReasoningConfig | None:
    """An item that changes the effort holds "until another configuration update replaces it", whatever the request says."""
    entry = fields.within("reasoning")
    effort: Effort | None = None
    shown = False
    if entry is not None:
        kept["$reasoning"] = fields.any("reasoning")
        effort = entry.choice("effort", EFFORTS)
        summary, older = entry.text("summary"), entry.text("generate_summary")
        if more := entry.rest():
            kept["reasoning.*"] = more
        shown = (summary or older) not in (None, "none")
    for update in unsaid:
        if (changed := update.within("reasoning")) is not None:
            effort = changed.choice("effort", EFFORTS) or effort
    return ReasoningConfig(effort=effort, include_thoughts=True if shown else None) if effort is not None or shown else None


def _all_tools(fields: Fields, unsaid: list[Fields]) -> tuple[Tool, ...]:
    """What items make known is so from somewhere in the conversation on: of one name the last one is meant."""
    tools = [tool for entry in fields.each("tools") for tool in _tools(entry)]
    if not unsaid:
        return tuple(tools)
    tools += (tool for item in unsaid for entry in item.each("tools") for tool in _tools(entry))
    return tuple({(tool.kind, tool.name): tool for tool in tools}.values())


def _tools(entry: Fields) -> list[Tool]:
    kind = entry.needed_text("type")
    match kind:
        case "function":
            return [_function(entry, None)]
        case "custom":
            return [_custom(entry, None)]
        case "namespace":
            namespace = entry.needed_text("name")
            inner = list(entry.each("tools"))
            return [_custom(tool, namespace) if tool.text("type") == "custom" else _function(tool, namespace) for tool in inner]
        case "tool_search" if entry.text("execution") == "client":
            described, parameters = entry.text("description"), entry.mapping("parameters")
            return [Tool(name=TOOL_SEARCH, description=described, parameters=parameters, extra={"$search": True})]
        case _:
            # What the vendor runs itself. The model may use it and need not: without it, it is the same question.
            return [Tool(name=kind, kind=kind, value={"type": kind, **entry.rest()}, optional=True)]


def _function(entry: Fields, namespace: str | None) -> Tool:
    entry.any("type")
    name = entry.needed_text("name")
    return Tool(
        name=joined_name(namespace, name),
        description=entry.text("description"),
        parameters=entry.mapping("parameters"),
        strict=entry.boolean("strict"),
        extra={
            **_form(namespace, name, custom=False),
            **{field: value for field, value in entry.rest().items() if field != "defer_loading"},
        },
    )


def _custom(entry: Fields, namespace: str | None) -> Tool:
    """A tool whose input is free text: for others a function with one string."""
    entry.any("type")
    name = entry.needed_text("name")
    form = entry.within("format")
    described = entry.text("description") or ""
    if form is not None and form.text("type") == "grammar":
        described += f"\n\nThe input must match this {form.text('syntax') or ''} grammar:\n{form.text('definition') or ''}"
    text = {"type": "string", "description": "The whole input, as plain text."}
    schema = {"type": "object", "properties": {"input": text}, "required": ["input"], "additionalProperties": False}
    return Tool(
        name=joined_name(namespace, name),
        description=described.strip() or None,
        parameters=schema,
        extra={**_form(namespace, name, custom=True), "$format": form is not None},
    )


def _form(namespace: str | None, name: str, *, custom: bool) -> Extra:
    """How the client knows the tool, where that is not its plain name."""
    form: Extra = {"$namespace": namespace, "$name": name} if joined_name(namespace, name) != name else {}
    return {**form, "$custom": True} if custom else form


def _tool_choice(fields: Fields, kept: Extra) -> ToolChoice | None:
    value = fields.any("tool_choice")
    if value is None:
        return None
    kept["$tool_choice"] = value
    if isinstance(value, str):
        if value not in ("auto", "none", "required"):
            raise InvalidRequest("tool_choice", "expected auto, none, required or an object")
        return ToolChoice(mode=value)  # type: ignore[arg-type]  # checked above
    entry = Fields(value, "tool_choice")
    kind = entry.needed_text("type")
    if kind == "allowed_tools":
        names = tuple(joined_name(tool.text("namespace"), tool.text("name") or tool.needed_text("type")) for tool in entry.each("tools"))
        return ToolChoice(mode=entry.choice("mode", ("auto", "required")) or "auto", names=names)
    return ToolChoice(mode="required", names=(joined_name(entry.text("namespace"), entry.text("name") or kind),))


def _output(fields: Fields, kept: Extra, unsaid: list[Fields]) -> OutputFormat | None:
    entry = fields.within("text")
    form: Fields | None = None
    if entry is not None:
        kept["$text"] = fields.any("text")
        form = entry.within("format")
        if more := entry.rest():
            kept["text.*"] = more
    for update in unsaid:
        if (changed := update.within("text")) is not None:
            form = changed.within("format") or form
    return decode_format(form) if form is not None else None
