"""Which of OpenAI's models think and how hard, and what those do not take. Floor 1. Pure.

Source: the vendor's reasoning guide and its 400s ("Unsupported parameter: … is not supported with this model"), read 2026-11.
"""

from __future__ import annotations

import re
from typing import Any

from fkproxy.model.request import EFFORTS, Effort, Loss, OutputFormat, ReasoningConfig

__all__ = ["drop_sampling", "is_openai", "taken_effort", "taken_tokens", "takes_schema", "takes_stop", "thinks"]

_START = r"(^|/|\bft:)"
"""What stands in front of a model's name: nothing, a vendor's, or that it was tuned, as in `ft:gpt-4.1-mini-2025-04-14:us::abc`."""
_THINKS = re.compile(_START + r"(o[1-9]|gpt-5(?!-chat)|gpt-[6-9]|codex)", re.IGNORECASE)
_OPENAI = re.compile(_START + r"(gpt-(?!oss)|chatgpt-|o[1-9]|codex)", re.IGNORECASE)
_STOPLESS = re.compile(_START + r"(o3(?!-mini)|o4|gpt-5(\.[0-4])?(-(?!chat)|$))", re.IGNORECASE)

_LEVELS: tuple[Effort, ...] = ("low", "medium", "high")
_TAKEN: tuple[tuple[re.Pattern[str], tuple[Effort, ...]], ...] = tuple(
    (re.compile(_START + name, re.IGNORECASE), efforts)
    for name, efforts in (
        ("(gpt-[34]|gpt-5-chat|chatgpt-)", ()),
        (r"gpt-5\.\d-chat", ("medium",)),
        (r"(o[1-9]|codex-mini|gpt-5(\.1)?-codex(?!-max))", _LEVELS),
        (r"gpt-5\.\d-codex", (*_LEVELS, "xhigh")),
        ("gpt-5-pro", ("high",)),
        (r"gpt-5\.\d-pro", ("medium", "high", "xhigh")),
        ("gpt-5(-|$)", ("minimal", *_LEVELS)),
        (r"gpt-5\.1(-\d|$)", ("none", *_LEVELS)),
        (r"gpt-5\.[2-5](-|$)", ("none", *_LEVELS, "xhigh")),
        (r"gpt-5\.\d", ("none", *_LEVELS, "xhigh", "max")),
        ("gpt-6-astra", (*_LEVELS, "xhigh", "max")),
    )
)
"""What OpenAI's models take where that is not everything (its reasoning guide and its 400s, "Unsupported value", read 2026-11)."""

_MOST_TOKENS = tuple(
    (re.compile(_START + name, re.IGNORECASE), tokens)
    for name, tokens in (
        (r"(gpt-3\.5|gpt-4-(turbo|1106|0125)|gpt-4o-2024-05-13)", 4_096),
        (r"(gpt-4o|chatgpt-4o|gpt-5(\.\d)?-chat)", 16_384),
        (r"gpt-4\.1", 32_768),
        ("o[134]", 100_000),
    )
)
"""The longest answers of OpenAI's models that are shorter than others' ("max_tokens is too large", says the 400)."""

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


def is_openai(model: str) -> bool:
    """It is one of OpenAI's own, which refuse fields that they do not know: "Unknown parameter: 'messages[2].tool_calls[0].…'"."""
    return _OPENAI.search(model) is not None


def takes_stop(model: str) -> bool:
    """The first that thought took stop sequences, and those from GPT-5.5 on do again."""
    return _STOPLESS.search(model) is None


def takes_schema(output: OutputFormat | None, model: str) -> bool:
    """An answer of this form may be asked for.

    "schema must be a JSON Schema of 'type: "object"', got 'type: "array"'", says the 400; other vendors' clients ask for lists, and other
    servers of these dialects give them.
    """
    if output is None or output.schema_ is None or not is_openai(model):
        return True
    return output.schema_.get("type") == "object"


def taken_effort(reasoning: ReasoningConfig, model: str, losses: list[Loss]) -> Effort | None:
    """The effort, or the next one that OpenAI's own model takes; None for "as the model likes", and for one that does not think.

    Other models get what was asked.
    """
    effort = reasoning.meant_effort
    if effort != reasoning.effort:
        losses.append(Loss(field="reasoning.budget_tokens", action="converted"))
    if effort is None:
        return None
    efforts = next((efforts for name, efforts in _TAKEN if name.search(model)), EFFORTS)
    if not efforts:
        losses += [Loss(field="reasoning")] if effort != "none" else []
        return None
    taken = next((each for each in efforts if EFFORTS.index(each) >= EFFORTS.index(effort)), efforts[-1])
    if taken != effort:
        losses.append(Loss(field="reasoning.effort", action="converted"))
    return taken


def taken_tokens(asked: int, model: str, losses: list[Loss]) -> int:
    """The limit that was asked for, or the most that the model takes: who chose it had another one in mind."""
    most = next((tokens for name, tokens in _MOST_TOKENS if name.search(model)), asked)
    if asked > most:
        losses.append(Loss(field="max_tokens", action="converted"))
    return min(asked, most)


def drop_sampling(values: dict[str, Any], losses: list[Loss]) -> None:
    """Take out what a model that thinks does not take. What is the default anyway is no loss."""
    losses += [Loss(field=name) for name, default in _SAMPLING.items() if values.pop(name, None) not in (None, default)]
