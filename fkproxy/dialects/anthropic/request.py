"""A Messages request, decoded. Floor 1. Pure.

Source: platform.claude.com/docs/en/api/messages and the typed models of anthropic 2.11, read 2026-11.

Notes that the decoder leaves for its own encoder stand in `extra` under `$name`.
"""

from __future__ import annotations

from typing import Any

from fkproxy.dialects.anthropic.blocks import COMPACTED, NAME, decode_message, decode_system
from fkproxy.dialects.anthropic.thinking import EFFORTS
from fkproxy.model.errors import InvalidRequest
from fkproxy.model.parts import Extra, Message
from fkproxy.model.request import ChatRequest, OutputFormat, ReasoningConfig, Sampling, Tool, ToolChoice
from fkproxy.wire import json
from fkproxy.wire.fields import Fields

__all__ = ["KNOWN_FIELDS", "NAME", "decode_request"]

# fmt: off
KNOWN_FIELDS = frozenset((
    "billing_policy", "cache_control", "compaction", "container", "context_management", "diagnostics", "fallback_credit_token",
    "fallbacks", "inference_geo", "max_tokens", "mcp_servers", "messages", "metadata", "model", "output_config", "output_format",
    "service_tier", "speed", "stop_sequences", "stream", "system", "temperature", "thinking", "thread", "tool_choice", "tools", "top_k",
    "top_p", "user_profile_id", "workspace_id",
    "reasoning", "seal", "tool_calls", "tool_result", "parallel_tool_calls", "user",
))
# fmt: on
"""Every documented field, and the words that encoders use for what has another name elsewhere."""

_MODES = {"auto": "auto", "any": "required", "none": "none", "tool": "required"}


def decode_request(body: bytes, model: str) -> ChatRequest:
    """The whole request, checked. Raises `InvalidRequest` naming the field."""
    fields = Fields(json.decode_request(body))
    fields.any("model")
    if not fields.array("messages"):
        raise InvalidRequest("messages", "expected an array with at least one message")
    if "max_tokens" not in fields:
        raise InvalidRequest("max_tokens", "expected an integer, but it is missing")
    kept: Extra = {}
    choice, parallel = _tool_choice(fields, kept)
    output, effort = _output(fields, kept)
    request = ChatRequest(
        dialect=NAME,
        model=model,
        messages=_messages(fields, kept),
        stream=bool(fields.boolean("stream")),
        sampling=Sampling(
            max_output_tokens=fields.integer("max_tokens", 0),
            temperature=fields.number("temperature", 0, 1),
            top_p=fields.number("top_p", 0, 1),
            top_k=fields.integer("top_k", 0),
            stop=fields.texts("stop_sequences"),
        ),
        reasoning=_reasoning(fields, effort, kept),
        tools=tuple(_tool(entry) for entry in fields.each("tools")),
        tool_choice=choice,
        parallel_tool_calls=parallel,
        output=output,
        user=_user(fields, kept),
        extra=kept,
    )
    kept.update(fields.rest())
    return request


def _messages(fields: Fields, kept: Extra) -> tuple[Message, ...]:
    """From the last summary on; what it stands for is kept as `$summed_up`."""
    names: dict[str, str] = {}
    system = fields.any("system")
    first = [decode_system(system, "system")] if system is not None else []
    said = [message for entry in fields.each("messages") for message in decode_message(entry, names)]
    summaries = [index for index, message in enumerate(said) if COMPACTED in message.extra]
    if summaries:
        kept["$summed_up"], said = said[: summaries[-1]], said[summaries[-1] :]
    return (*first, *said)


def _user(fields: Fields, kept: Extra) -> str | None:
    metadata = fields.within("metadata")
    if metadata is None:
        return None
    user = metadata.text("user_id")
    if more := metadata.rest():
        kept["metadata.*"] = more
    return user


def _tool(fields: Fields) -> Tool:
    kind = fields.text("type")
    name = fields.text("name")
    if kind not in (None, "custom"):
        value = {"type": kind, **({"name": name} if name is not None else {}), **fields.rest()}
        return Tool(name=name or kind, kind=kind, value=value)
    if name is None:
        raise InvalidRequest(fields.at("name"), "expected a string, but it is missing")
    description, schema, strict = fields.text("description"), fields.mapping("input_schema"), fields.boolean("strict")
    if schema is None:
        raise InvalidRequest(fields.at("input_schema"), "expected an object, but it is missing")
    extra = {**fields.rest(), **({"$type": kind} if kind is not None else {})}
    return Tool(name=name, description=description, parameters=schema, strict=strict, extra=extra)


def _tool_choice(fields: Fields, kept: Extra) -> tuple[ToolChoice | None, bool | None]:
    """(choice, whether calls may come in parallel)."""
    entry = fields.within("tool_choice")
    if entry is None:
        return None, None
    kind = entry.choice("type", tuple(_MODES))
    if kind is None:
        raise InvalidRequest(entry.at("type"), f"expected one of {', '.join(_MODES)}")
    disabled = entry.boolean("disable_parallel_tool_use")
    names = (entry.needed_text("name"),) if kind == "tool" else ()
    if more := entry.rest():
        kept["tool_choice.*"] = more
    return ToolChoice(mode=_MODES[kind], names=names), None if disabled is None else not disabled  # type: ignore[arg-type]  # the values of _MODES


def _output(fields: Fields, kept: Extra) -> tuple[OutputFormat | None, Any]:
    """(format, effort). The format stands in `output_config`; in `output_format` while it was a beta."""
    config = fields.within("output_config") or Fields({}, "output_config")
    effort, now, before = config.choice("effort", EFFORTS), config.within("format"), fields.within("output_format")
    if before is not None:
        kept["$output_format"] = fields.any("output_format")
    if more := config.rest():
        kept["output_config.*"] = more
    entry = now or before
    if entry is None:
        return None, effort
    if entry.choice("type", ("json_schema",)) is None:
        raise InvalidRequest(entry.at("type"), "expected json_schema")
    return OutputFormat(kind="json_schema", schema_=entry.mapping("schema")), effort


def _reasoning(fields: Fields, effort: Any, kept: Extra) -> ReasoningConfig | None:
    """`between_tools` is off but for progress reports. Adaptive thinking without an effort is as the model likes."""
    if effort is not None:
        kept["$effort"] = effort
    thinking = fields.within("thinking")
    if thinking is None:
        return ReasoningConfig(effort=effort) if effort is not None else None
    kept["$thinking"] = fields.any("thinking")
    kind = thinking.choice("type", ("enabled", "adaptive", "disabled", "between_tools"))
    if kind is None:
        raise InvalidRequest(thinking.at("type"), "expected enabled, adaptive, disabled or between_tools")
    if kind in ("disabled", "between_tools"):
        return ReasoningConfig(effort="none")
    display = thinking.text("display")
    shown = None if display is None else display != "omitted"
    if kind == "enabled":
        budget = thinking.integer("budget_tokens", 1)
        if budget is None:
            raise InvalidRequest(thinking.at("budget_tokens"), "expected an integer, but it is missing")
        return ReasoningConfig(effort=effort, budget_tokens=budget, include_thoughts=shown)
    return ReasoningConfig(effort=effort, budget_tokens=-1 if effort is None else None, include_thoughts=shown)
