"""A Messages request, encoded. Floor 1. Pure.

Sources, read 2026-11, below platform.claude.com/docs/en: api/messages, build-with-claude/extended-thinking ("feature compatibility"),
agents-and-tools/tool-use/define-tools.
"""

from __future__ import annotations

import re
from typing import Any

from fkproxy.dialects.anthropic.blocks import BILLING, COMPACTED, NAME
from fkproxy.dialects.anthropic.blocks_encode import Block, BlockWriter
from fkproxy.dialects.anthropic.caching import MARK, keep_last_marks, mark_last, mark_of
from fkproxy.dialects.anthropic.models import Traits, traits_of
from fkproxy.dialects.anthropic.schema import strict_schema
from fkproxy.dialects.anthropic.thinking import encode_thinking, lost_sampling
from fkproxy.dialects.anthropic.turns import Turn, called_names, drop_thoughts, encode_turns, end_turns, lacks_thoughts
from fkproxy.dialects.base import Encoded
from fkproxy.dialects.foreign import carried, choice_of, extra_losses, functions_of
from fkproxy.dialects.json_mode import JSON_ONLY
from fkproxy.dialects.pairing import results_behind_calls
from fkproxy.dialects.root_schema import object_schema
from fkproxy.dialects.tool_names import with_taken_names
from fkproxy.model.errors import Unrepresentable
from fkproxy.model.request import ChatRequest, Loss, Tool
from fkproxy.wire import json

__all__ = ["encode_request"]

_DEFAULT_TOKENS = 32_000
"""`max_tokens` must be said. Without a wish of the caller it is what Claude Code asks for, or the model's most where that is less."""

_MAX_STRICT_TOOLS = 20
_MAX_USER_CHARS = 256
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")


def encode_request(request: ChatRequest, model: str) -> Encoded:
    """The body. Raises `Unrepresentable`."""
    if request.dialect == NAME:
        return Encoded(json.encode(_own(request, model)))
    losses = extra_losses(request, NAME, read=(MARK,))
    request = with_taken_names(request, _TOOL_NAME, losses)
    body = json.encode(_Body(request, model, losses).encode())
    return Encoded(body, tuple(dict.fromkeys(losses)), may_think=request.reasoning is not None)


# --- a request of this dialect


def _own(request: ChatRequest, model: str) -> dict[str, Any]:
    """As it came."""
    extra, sampling = request.extra, request.sampling
    writer = BlockWriter(own=True, losses=[])
    messages: list[dict[str, Any]] = []
    body: dict[str, Any] = {"model": model, "max_tokens": sampling.max_output_tokens, "messages": messages}
    for message in (*extra.get("$summed_up", ()), *request.messages):
        blocks = writer.blocks(message.parts)
        content = blocks[0]["text"] if "$string" in message.extra else blocks
        if "$top" in message.extra:
            body["system"] = [message.extra[BILLING], *blocks] if BILLING in message.extra else content
        elif "$joined" in message.extra:
            messages[-1]["content"] += blocks
        else:
            role = "user" if message.role == "tool" else message.extra.get(COMPACTED, message.role)
            messages.append({"role": role, "content": content, **carried(message.extra, True)})
    if request.stream:
        body["stream"] = True
    if sampling.stop:
        body["stop_sequences"] = list(sampling.stop)
    output_format = _own_format(request)
    values: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "thinking": extra.get("$thinking"),
        "output_format": extra.get("$output_format"),
        "output_config": {
            **output_format,
            **({"effort": extra["$effort"]} if "$effort" in extra else {}),
            **extra.get("output_config.*", {}),
        },
        "metadata": {**({"user_id": request.user} if request.user is not None else {}), **extra.get("metadata.*", {})},
        "tools": [_own_tool(tool) for tool in request.tools],
        "tool_choice": _own_choice(request),
    }
    return {**body, **{name: value for name, value in values.items() if value not in (None, {}, [])}, **carried(extra, True)}


def _own_format(request: ChatRequest) -> dict[str, Any]:
    if request.output is None or "$output_format" in request.extra:
        return {}
    return {"format": {"type": "json_schema", "schema": request.output.schema_}}


def _own_tool(tool: Tool) -> Any:
    if tool.kind != "function":
        return tool.value
    kind = {"type": tool.extra["$type"]} if "$type" in tool.extra else {}
    given = {"name": tool.name, "description": tool.description, "input_schema": tool.parameters, "strict": tool.strict}
    return {**kind, **{name: value for name, value in given.items() if value is not None}, **carried(tool.extra, True)}


def _own_choice(request: ChatRequest) -> dict[str, Any] | None:
    choice = request.tool_choice
    if choice is None:
        return None
    kind = {"type": "tool", "name": choice.names[0]} if choice.names else {"type": "any" if choice.mode == "required" else choice.mode}
    parallel = request.parallel_tool_calls
    return {
        **kind,
        **({"disable_parallel_tool_use": not parallel} if parallel is not None else {}),
        **request.extra.get("tool_choice.*", {}),
    }


# --- a request of another dialect


class _Body:
    """One request on its way from another dialect."""

    def __init__(self, request: ChatRequest, model: str, losses: list[Loss]) -> None:
        self._request = request
        self._model = model
        self._traits: Traits = traits_of(model)
        self._losses = losses
        self._choice = choice_of(request, NAME)

    def encode(self) -> dict[str, Any]:
        """The body's JSON value. What stands in front of the conversation comes first and hangs on nothing in it."""
        request, traits = self._request, self._traits
        system, turns = encode_turns(results_behind_calls(request.messages), self._losses)
        tools = self._tools()
        choice = self._tool_choice() if tools else None
        if not tools and (called := called_names(turns)):
            # "Requests which include `tool_use` or `tool_result` blocks must define tools", says the 400.
            tools, choice = [{"name": name, "input_schema": object_schema(None, [])} for name in called], {"type": "none"}
        if request.output is not None and request.output.kind == "json":
            system.append({"type": "text", "text": JSON_ONLY})
            self._lose("response_format", converted=True)
        forced = choice is not None and choice["type"] in ("any", "tool")
        thinking, effort = self._thinking(turns, forced)
        thinks = thinking is not None and thinking["type"] in ("enabled", "adaptive")
        if not thinks and (
            traits.thinking != "adaptive" or thinking == {"type": "disabled"} or (thinking is None and not traits.by_default)
        ):
            drop_thoughts(turns, self._losses)
        mark_last(turns[-1]["content"], request.extra)
        end_turns(turns, prefill=traits.prefill and not thinks, losses=self._losses)
        keep_last_marks([*tools, *system, *(block for turn in turns for block in turn["content"])], self._losses)
        body: dict[str, Any] = {"model": self._model, "max_tokens": self._max_tokens((thinking or {}).get("budget_tokens", 0))}
        config = {**({"effort": effort} if effort is not None else {}), **self._format()}
        values: dict[str, Any] = {
            "system": system,
            "tools": tools,
            "tool_choice": choice,
            "messages": turns,
            "thinking": thinking,
            "output_config": config,
            **self._sampling(thinks),
            "stop_sequences": self._stop(),
            "metadata": self._metadata(),
            "stream": True if request.stream else None,
        }
        return body | {name: value for name, value in values.items() if value not in (None, {}, [])}

    def _lose(self, field: str, *, converted: bool = False) -> None:
        self._losses.append(Loss(field=field, action="converted" if converted else "dropped"))

    def _max_tokens(self, budget_tokens: int) -> int:
        given, most = self._request.sampling.max_output_tokens, self._traits.max_output_tokens
        if given is None:
            return min(_DEFAULT_TOKENS + budget_tokens, most)
        if given > most and self._traits.known:
            self._lose("max_tokens", converted=True)
            return most
        return given

    def _thinking(self, turns: list[Turn], forced: bool) -> tuple[dict[str, Any] | None, str | None]:
        """With a tool forced, or with thoughts missing, there is no thinking within a budget."""
        reasoning, traits = self._request.reasoning, self._traits
        if reasoning is None:
            return None, None
        thinking, effort = encode_thinking(reasoning, traits, self._given_length(), self._losses)
        if thinking is not None and thinking["type"] == "enabled" and (forced or lacks_thoughts(turns)):
            self._lose("reasoning")
            return None, effort
        return thinking, effort

    def _given_length(self) -> int | None:
        given, traits = self._request.sampling.max_output_tokens, self._traits
        return None if given is None else min(given, traits.max_output_tokens) if traits.known else given

    def _sampling(self, thinks: bool) -> dict[str, Any]:
        sampling, traits = self._request.sampling, self._traits
        if (sampling.choices or 1) > 1:
            raise Unrepresentable("n", NAME, "it gives one answer")
        if sampling.seed is not None:
            self._lose("seed")
        for name in ("presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "logit_bias"):
            if getattr(sampling, name):
                self._lose(name)
        values = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
        if sampling.temperature is not None and sampling.temperature > 1:
            self._lose("temperature", converted=True)
            values["temperature"] = 1.0
        if thinks or not traits.sampling:
            for name in lost_sampling(values):
                self._lose(name)
            return {}
        if traits.one_sampling and values["temperature"] is not None and values["top_p"] is not None:
            if values["top_p"] != 1:
                self._lose("top_p")
            values["top_p"] = None
        return values

    def _stop(self) -> list[str]:
        """Sequences of nothing but blanks are refused."""
        kept = [word for word in self._request.sampling.stop if word.strip()]
        if len(kept) < len(self._request.sampling.stop):
            self._lose("stop")
        return kept

    def _metadata(self) -> dict[str, Any]:
        user = self._request.user
        if user is None:
            return {}
        if len(user) > _MAX_USER_CHARS:
            self._lose("user")
            return {}
        return {"user_id": user}

    def _format(self) -> dict[str, Any]:
        output = self._request.output
        if output is None or output.schema_ is None:
            return {}
        if not self._traits.schemas:
            raise Unrepresentable("response_format", NAME, f"{self._model} takes no schema")
        return {"format": {"type": "json_schema", "schema": strict_schema(output.schema_)}}

    # --- tools

    def _tools(self) -> list[Block]:
        """A choice among some of the tools is told by offering those only."""
        tools, choice = functions_of(self._request), self._choice
        if choice is not None and choice.names and not (choice.mode == "required" and len(choice.names) == 1):
            tools = tuple(tool for tool in tools if tool.name in choice.names)
        strict = sum(1 for tool in tools if tool.strict) <= _MAX_STRICT_TOOLS and self._traits.schemas
        return [self._tool(tool, strict) for tool in tools]

    def _tool(self, tool: Tool, strict: bool) -> Block:
        schema = object_schema(tool.parameters, self._losses)
        block: Block = {"name": tool.name, **({"description": tool.description} if tool.description else {}), **mark_of(tool.extra)}
        if not tool.strict:
            return {**block, "input_schema": schema}
        if strict:
            return {**block, "input_schema": strict_schema(schema), "strict": True}
        self._lose("tools[].strict")
        return {**block, "input_schema": schema}

    def _tool_choice(self) -> Block | None:
        request, choice = self._request, self._choice
        single = {"disable_parallel_tool_use": True} if request.parallel_tool_calls is False else {}
        if choice is None:
            return {"type": "auto", **single} if single else None
        if choice.mode == "none":
            return {"type": "none"}
        if choice.mode == "required" and not self._traits.forced_tools:
            self._lose("tool_choice", converted=True)
            return {"type": "auto", **single}
        if choice.mode == "required" and len(choice.names) == 1:
            return {"type": "tool", "name": choice.names[0], **single}
        return {"type": "any" if choice.mode == "required" else "auto", **single}
