"""A chat completions request, decoded. Floor 1. Pure.

Source: OpenAI API reference, "Create chat completion", read 2026-11; the fields `reasoning`, `reasoning_content`, `extra_content` and
`google` are what OpenAI-compatible servers and Google's own OpenAI endpoint add.

What the hub has no word for stays in `extra` under its own name. A field that was read but is written differently by others is kept
under `$name`: this dialect gives it back as it came, another one need not report it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

from fkproxy.dialects.openai_chat.parts import Calls, decode_message
from fkproxy.dialects.openai_schema import decode_format
from fkproxy.model.errors import InvalidRequest
from fkproxy.model.parts import Extra
from fkproxy.model.request import EFFORTS, ChatRequest, OutputFormat, ReasoningConfig, Sampling, Tool, ToolChoice
from fkproxy.wire import json
from fkproxy.wire.fields import Fields

__all__ = ["KNOWN_FIELDS", "LEGACY", "NAME", "decode_request"]

NAME = "openai_chat"

# fmt: off
KNOWN_FIELDS = frozenset((
    "audio", "cached_content", "extra_body", "frequency_penalty", "function_call", "functions", "google", "logit_bias", "logprobs",
    "max_completion_tokens", "max_tokens", "messages", "metadata", "modalities", "model", "moderation", "n", "parallel_tool_calls",
    "prediction", "presence_penalty", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning",
    "reasoning_effort", "response_format",
    "safety_identifier", "safety_settings", "seed", "service_tier", "stop", "store", "stream", "stream_options", "temperature",
    "tool_choice", "tools", "top_k", "top_logprobs", "top_p", "user", "verbosity", "web_search_options",
))
# fmt: on
"""Every documented field, and those of other servers that are read here."""

LEGACY = "$legacy"
"""Note on a tool: it came in `functions`, and its call goes back in `function_call`."""

_ABOUT_TOOLS = frozenset(("tools", "functions", "tool_choice", "function_call", "parallel_tool_calls"))
_ABOUT_REASONING = frozenset(("reasoning_effort", "reasoning", "google", "extra_body"))
_TOOL_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


def decode_request(body: bytes, model: str) -> ChatRequest:
    """The whole request, checked. Raises `InvalidRequest` naming the field."""
    fields = Fields(json.decode_request(body))
    fields.any("model")
    messages = fields.array("messages")
    if not messages:
        raise InvalidRequest("messages", "expected an array with at least one message")
    calls = Calls()
    kept: Extra = {}
    stream = bool(fields.boolean("stream"))
    options = fields.within("stream_options")
    include_usage = bool(options.boolean("include_usage")) if options is not None else False
    if options is not None and (more := options.rest()):
        kept["$stream_options"] = more
    tools, choice, parallel = ((), None, None) if fields.none_of(_ABOUT_TOOLS) else _about_tools(fields, kept)
    request = ChatRequest(
        dialect=NAME,
        model=model,
        messages=tuple([decode_message(message, calls) for message in fields.each("messages")]),
        stream=stream,
        include_usage=include_usage,
        sampling=_sampling(fields, kept),
        reasoning=None if fields.none_of(_ABOUT_REASONING) else _reasoning(fields, kept),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        output=_output(fields),
        user=fields.text("user"),
        extra=kept,
    )
    kept.update(fields.rest())
    return request


_SAMPLING: Mapping[str, tuple[str, Callable[[Fields, str], Any]]] = {
    "temperature": ("temperature", lambda fields, name: fields.number(name, 0, 2)),
    "top_p": ("top_p", lambda fields, name: fields.number(name, 0, 1)),
    "top_k": ("top_k", lambda fields, name: fields.integer(name, 0)),
    "stop": ("stop", Fields.texts),
    "seed": ("seed", Fields.integer),
    "n": ("choices", lambda fields, name: fields.integer(name, 1, 128)),
    "presence_penalty": ("presence_penalty", lambda fields, name: fields.number(name, -2, 2)),
    "frequency_penalty": ("frequency_penalty", lambda fields, name: fields.number(name, -2, 2)),
    "logprobs": ("logprobs", Fields.boolean),
    "top_logprobs": ("top_logprobs", lambda fields, name: fields.integer(name, 0, 20)),
    "logit_bias": ("logit_bias", Fields.mapping),
}
"""Field → its name in `Sampling`, and how it is read. Most requests have one or two of them."""


def _sampling(fields: Fields, kept: Extra) -> Sampling:
    old, new = fields.integer("max_tokens", 1), fields.integer("max_completion_tokens", 1)
    if old is not None:
        kept["$max_tokens"] = old
    said = {_SAMPLING[name][0]: _SAMPLING[name][1](fields, name) for name in fields.given(_SAMPLING)}
    return Sampling(max_output_tokens=new if new is not None else old, **said)


def _reasoning(fields: Fields, kept: Extra) -> ReasoningConfig | None:
    effort = fields.choice("reasoning_effort", EFFORTS)
    router = fields.within("reasoning")
    google = _google(fields, kept)
    if router is not None:
        kept["$reasoning"] = fields.any("reasoning")
        exclude = router.boolean("exclude")
        effort = effort or router.choice("effort", EFFORTS)
        budget_tokens = router.integer("max_tokens", 0)
        if router.boolean("enabled") is False:
            effort = "none"
        return ReasoningConfig(effort=effort, budget_tokens=budget_tokens, include_thoughts=None if exclude is None else not exclude)
    if google is not None:
        level = google.text("thinking_level") or google.text("thinkingLevel")
        budget = google.any("thinking_budget", "thinkingBudget")
        include = google.any("include_thoughts", "includeThoughts")
        if (
            (level is not None and level.lower() not in EFFORTS)
            or not isinstance(budget, int | None)
            or not isinstance(include, bool | None)
        ):
            raise InvalidRequest(google.path, "expected thinking_level, thinking_budget (an integer) or include_thoughts (true or false)")
        return ReasoningConfig(effort=level.lower() if level else effort, budget_tokens=budget, include_thoughts=include)  # type: ignore[arg-type]  # checked against EFFORTS
    return ReasoningConfig(effort=effort) if effort is not None else None


def _google(fields: Fields, kept: Extra) -> Fields | None:
    """`thinking_config`, at either of the two places that Google documents for its OpenAI endpoint.

    What else stands there is told to others as lost, but for `cached_content`, which brings in what the request does not say.
    """
    found: Fields | None = None
    for name in ("google", "extra_body"):
        outer = fields.within(name)
        if outer is None:
            continue
        kept[f"${name}"] = fields.any(name)
        inner = outer if name == "google" else outer.within("google") or Fields({})
        if found is None and (config := inner.any("thinking_config", "thinkingConfig")) is not None:
            found = Fields(config, inner.at("thinking_config"))
        if (cached := inner.any("cached_content", "cachedContent")) is not None:
            kept["cached_content.*"] = cached
        if more := {**outer.rest(), **inner.rest()}:
            kept[f"{name}.*"] = more
    return found


def _about_tools(fields: Fields, kept: Extra) -> tuple[tuple[Tool, ...], ToolChoice | None, bool | None]:
    """The tools, the choice among them, and whether several may be called at once."""
    tools, parallel = _tools(fields, kept), fields.boolean("parallel_tool_calls")
    # A client of `functions` can be told one call in an answer, whatever it says.
    return tools, _tool_choice(fields, kept), False if any(LEGACY in tool.extra for tool in tools) else parallel


def _tools(fields: Fields, kept: Extra) -> tuple[Tool, ...]:
    tools = [_tool(entry, entry.text("type") or "function") for entry in fields.each("tools")]
    legacy = [_function(entry, {}) for entry in fields.each("functions")]
    if legacy:
        kept["$functions"] = True
    for tool in legacy if not tools else ():
        tool.extra[LEGACY] = True
    return (*tools, *legacy)


def _tool(entry: Fields, kind: str) -> Tool:
    inner = entry.within(kind)
    if kind == "function":
        if inner is None:
            raise InvalidRequest(entry.at("function"), "expected an object, but it is missing")
        return _function(inner, entry.rest())
    name = inner.text("name") if inner is not None else None
    return Tool(
        name=name or kind, kind=kind, value={"type": kind, **({kind: entry.any(kind)} if inner is not None else {}), **entry.rest()}
    )


def _function(entry: Fields, outer: dict[str, Any]) -> Tool:
    """`outer`: what stands beside the function. For others it is as good as in it."""
    name = entry.needed_text("name")
    if not _TOOL_NAME.fullmatch(name):
        raise InvalidRequest(entry.at("name"), "expected 1 to 128 letters, digits, _, -, . or :")
    description, parameters, strict, inner = entry.text("description"), entry.mapping("parameters"), entry.boolean("strict"), entry.rest()
    extra = {**outer, **inner, "$places": (inner, outer)} if inner or outer else {}
    return Tool(name=name, description=description, parameters=parameters, strict=strict, extra=extra)


_CHOICES: Mapping[str, Literal["auto", "none", "required"]] = {"auto": "auto", "none": "none", "required": "required", "any": "required"}
"""`any` is Mistral's first word for `required`, and what clients made for its API say (mistralai, ToolChoiceEnum; read 2026-11)."""


def _tool_choice(fields: Fields, kept: Extra) -> ToolChoice | None:
    for name in ("tool_choice", "function_call"):
        value = fields.any(name)
        if value is None:
            continue
        if name == "function_call":
            kept["$function_call"] = value
        if isinstance(value, str):
            if value not in _CHOICES:
                raise InvalidRequest(name, "expected auto, none, required or an object")
            return ToolChoice(mode=_CHOICES[value])
        return _chosen(Fields(value, name), "function" if name == "tool_choice" else None)
    return None


def _chosen(entry: Fields, kind: str | None) -> ToolChoice:
    if kind is None:
        return ToolChoice(mode="required", names=(entry.needed_text("name"),))
    kind = entry.text("type") or kind
    if kind == "allowed_tools":
        allowed = entry.within("allowed_tools") or entry
        mode: Literal["auto", "required"] = allowed.choice("mode", ("auto", "required")) or "auto"
        names = tuple(inner.needed_text("name") for tool in allowed.each("tools") if (inner := tool.within("function")) is not None)
        return ToolChoice(mode=mode, names=names)
    inner = entry.within(kind)
    if inner is None:
        raise InvalidRequest(entry.at(kind), "expected an object, but it is missing")
    return ToolChoice(mode="required", names=(inner.needed_text("name"),))


def _output(fields: Fields) -> OutputFormat | None:
    entry = fields.within("response_format")
    return decode_format(entry, "json_schema") if entry is not None else None
