"""`model(high)`, `model(8192)`: how much to think, said in the model's name. Floor 1. Pure.

For clients that have no other place for it. The words are the efforts of the field, `none` or `0` for off, `auto` or `-1` for "as the
model likes", or a budget in tokens. Whatever else stands in brackets belongs to the name.
"""

from __future__ import annotations

from fkproxy.model.request import EFFORTS, ReasoningConfig
from fkproxy.wire.numbers import whole_number

__all__ = ["described", "reasoning_of_word", "split_suffix"]

_MAX_DIGITS = 7


def split_suffix(model: str) -> tuple[str, ReasoningConfig | None]:
    """(the model's own name, what its suffix asks for)."""
    if not model.endswith(")"):
        return model, None
    name, bracket, word = model[:-1].rpartition("(")
    word = word.strip().lower()
    reasoning = reasoning_of_word(word) if bracket and name else None
    return (name, reasoning) if reasoning is not None else (model, None)


def reasoning_of_word(word: str) -> ReasoningConfig | None:
    """What `high`, `none`, `auto` or `8192` asks for; None for what asks for nothing."""
    if word in EFFORTS:
        return ReasoningConfig(effort=word)
    if word in ("auto", "-1"):
        return ReasoningConfig(budget_tokens=-1)
    budget = whole_number(word, _MAX_DIGITS)
    if budget is not None:
        return ReasoningConfig(effort="none") if budget == 0 else ReasoningConfig(budget_tokens=budget)
    return None


def described(reasoning: ReasoningConfig) -> str:
    """In the words that the log has for it."""
    if reasoning.effort is not None:
        return f"effort {reasoning.effort}"
    return f"budget {reasoning.budget_tokens}"
