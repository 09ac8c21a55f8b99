"""Which of OpenAI's models think and how hard, and what those do not take. Floor 1. Pure.

Source: the vendor's reasoning guide and its 400s ("Unsupported parameter: … is not supported with this model"), read 2026-11.
"""

from __future__ import annotations

import re
from typing import Any, get_args

from fkproxy.model.request import Effort, Loss

__all__ = ["drop_sampling", "taken_effort", "takes_stop", "thinks"]

_THINKS = re.compile(r"(^|/)(o[1-9]|gpt-5(?!-chat)|gpt-[6-9]|codex)", re.IGNORECASE)
_STOPLESS = re.compile(r"(^|/)(o3(?!-mini)|o4|gpt-5(\.[0-4])?(-(?!chat)|$))", re.IGNORECASE)

_EFFORTS: tuple[Effort, ...] = get_args(Effort)

_LEVELS: tuple[Effort, ...] = ("low", "medium", "high")
_TAKEN: tuple[tuple[re.Pattern[str], tuple[Effort, ...]], ...] = tuple(
    (re.compile(rf"(^|/){name}", re.IGNORECASE), efforts)
    for name, efforts in (
        ("(gpt-[34]|gpt-5-chat|chatgpt-)", ()),
        ("(o[1-9]|gpt-5-codex)", _LEVELS),
        ("gpt-5-pro", ("high",)),
        ("gpt-5(-|$)", ("minimal", *_LEVELS)),
        (r"gpt-5\.1(-\d|$)", ("none", *_LEVELS)),
    )
)
"""What OpenAI's models take where that is not everything (its reasoning guide and its 400s, "Unsupported value", read 2026-11)."""

_SAMPLING = {
    "temperature": 1,
    "top_p": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logprobs": False,
    "top_logprobs": 0,
    "logit_bias": {},
}
"""What a model that thinks does not take, and what it is where nothing is said."""


def thinks(model: str) -> bool:
    """It refuses sampling fields, and gives encrypted reasoning."""
    return _THINKS.search(model) is not None


def takes_stop(model: str) -> bool:
    """The first that thought took stop sequences, and those from GPT-5.5 on do again."""
    return _STOPLESS.search(model) is None


def taken_effort(effort: Effort, model: str) -> Effort | None:
    """The effort, or the next one that OpenAI's own model takes; None for one that does not think. Other models get what was asked."""
    taken = next((efforts for name, efforts in _TAKEN if name.search(model)), _EFFORTS)
    return next((each for each in taken if _EFFORTS.index(each) >= _EFFORTS.index(effort)), taken[-1] if taken else None)


def drop_sampling(values: dict[str, Any], losses: list[Loss]) -> None:
    """Take out what a model that thinks does not take. What is the default anyway is no loss."""
    losses += [Loss(field=name) for name, default in _SAMPLING.items() if values.pop(name, None) not in (None, default)]
