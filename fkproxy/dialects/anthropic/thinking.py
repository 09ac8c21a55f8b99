"""How much to think: effort, budget and the modes, by model. Floor 1. Pure.

Sources, read 2026-11, below platform.claude.com/docs/en/build-with-claude: thinking, extended-thinking, adaptive-thinking, effort.
Models up to 4.5 take a budget in tokens, later ones think as they see fit within an effort; models.py says which.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from fkproxy.dialects.anthropic.models import Traits, traits_of
from fkproxy.dialects.anthropic.turns import lacks_thoughts
from fkproxy.dialects.base import UNREADABLE_REASONING, may_say, seen_by
from fkproxy.model.request import Effort, Loss, ReasoningConfig
from fkproxy.wire import json

__all__ = ["EFFORTS", "MIN_BUDGET", "Thinking", "apply_reasoning", "drop_clearing", "encode_thinking", "lost_sampling", "reasoning_of"]

EFFORTS: tuple[Effort, ...] = ("low", "medium", "high", "xhigh", "max")

MIN_BUDGET = 1024
"""The least `budget_tokens` may be; it must also be less than `max_tokens`."""

_BUDGETS: dict[Effort, int] = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 32768, "max": 32768}
"""The efforts of others in tokens; above 32k the documentation advises against it for anything but batches."""

_ROOM = 4096
"""What is left of `max_tokens` for the answer itself, or half of it where it is short."""

Thinking = tuple[dict[str, Any] | None, str | None]
"""(`thinking`, `output_config.effort`), None for what is not to be sent."""


def encode_thinking(reasoning: ReasoningConfig, traits: Traits, max_tokens: int | None, losses: list[Loss]) -> Thinking:
    """What to send. `max_tokens` None: the caller left the length of the answer to us."""
    if reasoning.effort == "none" or (reasoning.effort is None and reasoning.budget_tokens == 0):
        return _off(traits, losses)
    if traits.thinking == "never":
        losses.append(Loss(field="reasoning"))
        return None, None
    if traits.thinking == "budget":
        return _budgeted(reasoning, traits, max_tokens, losses), None
    effort = _effort(reasoning, traits, losses)
    shown = "omitted" if reasoning.include_thoughts is False else "summarized"
    return {"type": "adaptive", "display": shown}, effort


def lost_sampling(values: Mapping[str, object]) -> list[str]:
    """Which of `temperature`, `top_p` and `top_k` are missed when they are left out. What is the default anyway is no loss."""
    return [name for name, value in values.items() if value is not None and (value != 1 or name == "top_k")]


def _off(traits: Traits, losses: list[Loss]) -> Thinking:
    if not traits.by_default:
        return None, None
    if traits.off is None:
        losses.append(Loss(field="reasoning.effort", action="converted"))
        return None, "low"
    return {"type": traits.off}, None


def _budgeted(reasoning: ReasoningConfig, traits: Traits, max_tokens: int | None, losses: list[Loss]) -> dict[str, Any] | None:
    budget = reasoning.budget_tokens
    if budget is None or budget < 0:
        budget = _BUDGETS[reasoning.effort or "medium"]
    budget = max(budget, MIN_BUDGET)
    length = max_tokens if max_tokens is not None else traits.max_output_tokens
    most = length - min(_ROOM, length // 2)
    if most < MIN_BUDGET:
        losses.append(Loss(field="reasoning"))
        return None
    if budget > most:
        losses.append(Loss(field="reasoning.budget_tokens", action="converted"))
    shown = {"display": "omitted"} if reasoning.include_thoughts is False else {}
    return {"type": "enabled", "budget_tokens": min(budget, most), **shown}


def _effort(reasoning: ReasoningConfig, traits: Traits, losses: list[Loss]) -> str | None:
    effort = reasoning.meant_effort
    if effort is None:
        return None
    if effort != reasoning.effort:
        losses.append(Loss(field="reasoning.budget_tokens", action="converted"))
    if effort == "minimal":
        effort = "low"
    if effort not in traits.efforts:
        losses.append(Loss(field="reasoning.effort", action="converted"))
        return "high"
    return effort


_FORCED = ("any", "tool")
_TYPES = ("enabled", "disabled", "adaptive", "between_tools")


class _Thinking(msgspec.Struct):
    type: str | None = None
    budget_tokens: int | None = None


class _Output(msgspec.Struct):
    effort: str | None = None


class _Body(msgspec.Struct):
    thinking: _Thinking | None = None
    output_config: _Output | None = None


class _Choice(msgspec.Struct):
    type: str | None = None


class _Asked(msgspec.Struct):
    """Of a request what its thinking hangs on."""

    max_tokens: int | None = None
    messages: list[msgspec.Raw] = []
    tool_choice: _Choice | None = None
    output_config: dict[str, msgspec.Raw] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: float | None = None


_decode = msgspec.json.Decoder(_Body).decode
_decode_asked = msgspec.json.Decoder(_Asked).decode


def reasoning_of(body: bytes) -> str | None:
    """What a request says about thinking, in a few words."""
    if not may_say(body, b'"thinking"', b'"effort"'):
        return None
    try:
        found = _decode(body)
    except json.MALFORMED:
        return UNREADABLE_REASONING
    thinking, effort = found.thinking, found.output_config.effort if found.output_config is not None else None
    words: list[str] = []
    if thinking is not None:
        kind = thinking.type if thinking.type in _TYPES else "other"
        words.append(f"budget {thinking.budget_tokens}" if thinking.budget_tokens is not None else kind)
    if effort is not None:
        words.append(f"effort {effort if effort in EFFORTS else 'other'}")
    return " ".join(words) or None


def apply_reasoning(body: bytes, reasoning: ReasoningConfig, model: str, losses: list[Loss]) -> bytes:
    """The body with that instead of what it says itself. Raises `InvalidRequest`."""
    asked = seen_by(_decode_asked, body)
    fields = json.raw_fields(body)
    thinking, effort = encode_thinking(reasoning, traits_of(model), asked.max_tokens, losses)
    forced = asked.tool_choice is not None and asked.tool_choice.type in _FORCED
    if thinking is not None and thinking["type"] == "enabled" and (forced or lacks_thoughts(asked.messages)):
        # "Thinking may not be enabled when tool_choice forces tool use", says the 400.
        losses.append(Loss(field="reasoning"))
        thinking = None
    config: dict[str, object] = dict(asked.output_config or {})
    config.pop("effort", None)
    if effort is not None:
        config["effort"] = effort
    for name, value in (("thinking", thinking), ("output_config", config)):
        fields.pop(name, None)
        if value:
            fields[name] = value
    if thinking is None or thinking["type"] not in ("enabled", "adaptive"):
        drop_clearing(fields)
    else:
        # Sampling is the model's own while it thinks.
        losses += [
            Loss(field=name) for name in lost_sampling({"temperature": asked.temperature, "top_p": asked.top_p, "top_k": asked.top_k})
        ]
        for name in ("temperature", "top_p", "top_k"):
            fields.pop(name, None)
    return json.encode(fields)


def drop_clearing(fields: dict[str, Any]) -> None:
    """Leave out of a body's fields what is to become of earlier thoughts, as Claude Code says it.

    "`clear_thinking_20251015` strategy requires `thinking` to be enabled or adaptive", says the 400.
    """
    raw = fields.get("context_management")
    if raw is None or bytes(raw).find(b'"clear_thinking') < 0:
        return
    management = json.try_object(bytes(raw))
    edits = management.get("edits") if management is not None else None
    if management is None or not isinstance(edits, list):
        return
    kept = [edit for edit in edits if not (isinstance(edit, dict) and str(edit.get("type")).startswith("clear_thinking"))]
    if kept:
        fields["context_management"] = {**management, "edits": kept}
    else:
        del fields["context_management"]
