"""`model(high)`, `model(8192)`: how much to think, said in the model's name. Floor 1. Pure.

For clients that have no other place for it. The words are the efforts of the field, `none` or `0` for off, `auto` or `-1` for "as the
model likes", or a budget in tokens. Whatever else stands in brackets belongs to the name.
"""

from __future__ import annotations

from typing import get_args

from fkproxy.model.request import Effort, ReasoningConfig

__all__ = ["described", "split_suffix"]

_EFFORTS: tuple[Effort, ...] = get_args(Effort)
_MAX_DIGITS = 7


def split_suffix(model: str) -> tuple[str, ReasoningConfig | None]:
    """(the model's own name, what its suffix asks for)."""
    if not model.endswith(")"):
        return model, None
    name, bracket, word = model[:-1].rpartition("(")
    word = word.strip().lower()
    if not bracket or not name:
        return model, None
    if word in _EFFORTS:
        return name, ReasoningConfig(effort=word)
    if word in ("auto", "-1"):
        return name, ReasoningConfig(budget_tokens=-1)
    if word.isascii() and word.isdigit() and len(word) <= _MAX_DIGITS:
        budget = int(word)
        return name, ReasoningConfig(effort="none") if budget == 0 else ReasoningConfig(budget_tokens=budget)
    return model, None


def described(reasoning: ReasoningConfig) -> str:
    """In the words that the log has for it."""
    if reasoning.effort is not None:
        return f"effort {reasoning.effort}"
    return f"budget {reasoning.budget_tokens}"
