"""Which of OpenAI's models think, and what those do not take. Floor 1. Pure.

Source: the vendor's reasoning guide and its 400s ("Unsupported parameter: … is not supported with this model"), read 2026-11.
"""

from __future__ import annotations

import re
from typing import Any

from fkproxy.model.request import Loss

__all__ = ["drop_sampling", "takes_stop", "thinks"]

_THINKS = re.compile(r"(^|/)(o[1-9]|gpt-5(?!-chat)|gpt-[6-9]|codex)", re.IGNORECASE)
_STOPLESS = re.compile(r"(^|/)(o3(?!-mini)|o4|gpt-5(\.[0-4])?(-(?!chat)|$))", re.IGNORECASE)

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


def drop_sampling(values: dict[str, Any], losses: list[Loss]) -> None:
    """Take out what a model that thinks does not take. What is the default anyway is no loss."""
    losses += [Loss(field=name) for name, default in _SAMPLING.items() if values.pop(name, None) not in (None, default)]
