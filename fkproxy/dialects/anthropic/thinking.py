"""How much to think: effort, budget and the modes, by model. Floor 1. Pure.

Sources, read 2026-11, below platform.claude.com/docs/en/build-with-claude: thinking, extended-thinking, adaptive-thinking, effort.
Models up to 4.5 take a budget in tokens, later ones think as they see fit within an effort; models.py says which.
"""

from __future__ import annotations

from typing import Any

from fkproxy.dialects.anthropic.models import Traits
from fkproxy.model.request import Effort, Loss, ReasoningConfig

__all__ = ["EFFORTS", "MIN_BUDGET", "Thinking", "encode_thinking"]

EFFORTS: tuple[Effort, ...] = ("low", "medium", "high", "xhigh", "max")

MIN_BUDGET = 1024
"""The least `budget_tokens` may be; it must also be less than `max_tokens`."""

_BUDGETS: dict[Effort, int] = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 32768, "max": 32768}
"""The efforts of others in tokens; above 32k the documentation advises against it for anything but batches."""

_EFFORT_UP_TO: tuple[tuple[int, Effort], ...] = ((1024, "low"), (8192, "medium"))

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
    effort = reasoning.effort
    if effort is None:
        budget = reasoning.budget_tokens
        if budget is None or budget < 0:
            return None
        effort = next((word for limit, word in _EFFORT_UP_TO if budget <= limit), "high")
        losses.append(Loss(field="reasoning.budget_tokens", action="converted"))
    if effort == "minimal":
        effort = "low"
    if effort not in traits.efforts:
        losses.append(Loss(field="reasoning.effort", action="converted"))
        return "high"
    return effort
