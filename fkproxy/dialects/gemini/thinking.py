"""How much to think: effort, budget and level, by model. Floor 1. Pure.

Sources, read 2026-11: ai.google.dev/gemini-api/docs/thinking (budgets of 2.5, levels of 3), …/openai (efforts and what they equal).
Gemini 2.5 takes a budget in tokens, Gemini 3 a level; the Gemini 3 models still read a budget but advise against it. Earlier models
do not think and refuse the field. "'minimal' is not a supported thinking level for this model", says the 400 of Flash from 3.7 on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec

from fkproxy.dialects.base import UNREADABLE_REASONING, may_say
from fkproxy.model.request import Effort, Loss, ReasoningConfig
from fkproxy.wire import json

__all__ = [
    "EFFORT_OF_LEVEL",
    "NO_SIGNATURE",
    "apply_reasoning",
    "encode_thinking",
    "is_gemini_3",
    "is_gemini_3_6",
    "most_tokens",
    "reasoning_of",
    "sign",
    "sign_images",
    "takes_json_with_calls",
]

_VERSION = re.compile(r"gemini-(\d+)(?:\.(\d+))?-(pro|flash-lite|flash)?")
_ALIAS = re.compile(r"gemini-(pro|flash-lite|flash)-latest")
_LATEST = {"pro": (3, 1), "flash": (3, 8), "flash-lite": (3, 5)}
"""What the aliases are taken for, the newest of their kind in 2026-11: releases move them (ai.google.dev/gemini-api/docs/changelog)."""

_BUDGETS: dict[Effort, int] = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 32768, "max": 32768}
_RANGES = {"pro": (128, 32768), "flash": (0, 24576), "flash-lite": (512, 24576)}
"""Least and most of Gemini 2.5; 0 is off, which flash-lite takes too and pro does not."""

NO_SIGNATURE = "skip_thought_signature_validator"
"""What Google documents for a call that another model made, or whose signature is lost."""

_THOUGHTLESS = ("-image", "-tts")
"""Models of Gemini 2.5 that make pictures or speech answer "Thinking is not enabled for this model"."""

_LEVELS = ("minimal", "low", "medium", "high")
_LEVEL_OF_EFFORT: dict[Effort, str] = {
    "none": "minimal",
    "minimal": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
EFFORT_OF_LEVEL: dict[str, Effort] = {"minimal": "minimal", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh"}


@lru_cache(maxsize=256)
def _version(model: str) -> tuple[int, int, str] | None:
    if match := _VERSION.search(model):
        return int(match[1]), int(match[2] or 0), match[3] or "flash"
    alias = _ALIAS.search(model)
    return (*_LATEST[alias[1]], alias[1]) if alias else None


def is_gemini_3(model: str) -> bool:
    """It insists on thought signatures, and takes media in a function's response."""
    version = _version(model)
    return version is not None and version[0] >= 3


def takes_json_with_calls(model: str) -> bool:
    """False: "Function calling with a response mime type: 'application/json' is unsupported", says the 400 of those before 3, also where
    no function is declared and the conversation has a call (googleapis/python-genai#706; ai.google.dev/gemini-api/docs/structured-output,
    "Structured outputs with tools": "only to Gemini 3 series models"; read 2026-11).
    """
    version = _version(model)
    return version is None or version[0] >= 3


def most_tokens(model: str) -> int | None:
    """The longest answer that may be asked for; None where the name does not tell.

    The models' pages say 65,536, "the supported range is from 1 (inclusive) to 65536 (exclusive)" the 400 of Vertex AI.
    """
    version = _version(model)
    if version is None:
        return None
    return 8_192 if version[:2] < (2, 5) else 32_768 if "-image" in model else 65_535


def sign(parts: list[dict[str, Any]]) -> None:
    """Mark the first call of a step that has no signature, or has lost it."""
    first = next((part for part in parts if "functionCall" in part), None)
    if first is not None:
        first.setdefault("thoughtSignature", NO_SIGNATURE)


def sign_images(parts: list[dict[str, Any]]) -> None:
    """Mark those that the model made and that have lost their signatures: "Image part is missing a thought_signature", says the 400."""
    for part in parts:
        if "inlineData" in part:
            part.setdefault("thoughtSignature", NO_SIGNATURE)


def is_gemini_3_6(model: str) -> bool:
    """It refuses penalties, and to go on with a turn of its own. The other kinds of 3.5 came later than its Flash, and do so as well.

    Sources, read 2026-11: the page of 3.5 Flash-Lite on docs.cloud.google.com (penalties "aren't supported"); LibreChat-AI/agents#323
    (which models answer 400 to a last turn of their own).
    """
    version = _version(model)
    return version is not None and version[:2] >= ((3, 6) if version[2] == "flash" else (3, 5))


def _has_level(version: tuple[int, int, str], level: str) -> bool:
    major, minor, kind = version
    if kind == "flash":
        return level != "minimal" or (major, minor) < (3, 7)
    return kind == "flash-lite" or level in ("low", "high") or (level == "medium" and (major, minor) >= (3, 1))


def encode_thinking(reasoning: ReasoningConfig, model: str, losses: list[Loss]) -> dict[str, Any] | None:
    """`thinkingConfig`, None when the model cannot be told."""
    name = model.rpartition("/")[2]
    version = _version(name)
    if not _thinks(name, version):
        losses.append(Loss(field="reasoning"))
        return None
    effort, budget = reasoning.effort, reasoning.budget_tokens
    config: dict[str, Any] = {}
    if version is not None and version[0] >= 3:
        effort = reasoning.meant_effort
        if effort != reasoning.effort:
            losses.append(Loss(field="reasoning.budget_tokens", action="converted"))
        if effort is not None:
            config["thinkingLevel"] = _level(effort, version)
    else:
        if budget is None and effort is not None:
            budget = _BUDGETS[effort]
        if budget is not None:
            config["thinkingBudget"] = _within(budget, version[2] if version is not None else None)
            if reasoning.budget_tokens not in (None, 0, config["thinkingBudget"]):
                losses.append(Loss(field="reasoning.budget_tokens", action="converted"))
    thinks = effort != "none" and budget != 0
    if not thinks and config.get("thinkingBudget") != 0:
        # The model cannot be kept from it.
        losses.append(Loss(field="reasoning.effort", action="converted"))
    if config.get("thinkingBudget") == 0:
        # "include_thoughts is only enabled when thinking is enabled", says the 400.
        return config
    if reasoning.include_thoughts is not None:
        config["includeThoughts"] = reasoning.include_thoughts
    elif thinks:
        config["includeThoughts"] = True
    return config or None


def _thinks(name: str, version: tuple[int, int, str] | None) -> bool:
    if version is None:
        return name.startswith("gemini")
    return version[0] >= 3 or (version[:2] == (2, 5) and not any(word in name for word in _THOUGHTLESS))


def _level(effort: Effort, version: tuple[int, int, str]) -> str:
    """The level that the effort means, or the next one up that the model has."""
    wanted = _LEVEL_OF_EFFORT[effort]
    return next(level for level in _LEVELS[_LEVELS.index(wanted) :] if _has_level(version, level))


def _within(budget: int, kind: str | None) -> int:
    if budget < 0 or kind is None:
        return budget
    low, high = _RANGES[kind]
    if budget == 0 and kind != "pro":
        return 0
    return min(max(budget, low), high)


class _Thinking(msgspec.Struct):
    """Google's JSON takes either spelling of a name, and numbers as strings (protobuf.dev/programming-guides/json)."""

    level: str | None = msgspec.field(name="thinkingLevel", default=None)
    budget: int | float | str | None = msgspec.field(name="thinkingBudget", default=None)
    snake_level: str | None = msgspec.field(name="thinking_level", default=None)
    snake_budget: int | float | str | None = msgspec.field(name="thinking_budget", default=None)


class _Generation(msgspec.Struct):
    thinking: _Thinking | None = msgspec.field(name="thinkingConfig", default=None)
    snake: _Thinking | None = msgspec.field(name="thinking_config", default=None)


class _Body(msgspec.Struct):
    generation: _Generation | None = msgspec.field(name="generationConfig", default=None)
    snake: _Generation | None = msgspec.field(name="generation_config", default=None)


_GENERATION = ("generationConfig", "generation_config")
_THINKING = ("thinkingConfig", "thinking_config")
_decode = msgspec.json.Decoder(_Body).decode


def reasoning_of(body: bytes) -> str | None:
    """What a request says about thinking, in a few words."""
    if not may_say(body, b'"thinking'):
        return None
    try:
        found = _decode(body)
    except json.MALFORMED:
        return UNREADABLE_REASONING
    generations = (found.generation, found.snake)
    configs = [config for generation in generations if generation is not None for config in (generation.thinking, generation.snake)]
    return " ".join(words for config in configs if config is not None for words in _words(config)) or None


def _words(config: _Thinking) -> Iterator[str]:
    for level in (config.level, config.snake_level):
        if level is not None:
            yield f"level {level.lower() if level.lower() in EFFORT_OF_LEVEL else 'other'}"
    for budget in (config.budget, config.snake_budget):
        if budget is not None:
            yield f"budget {_tokens(budget)}"


def _tokens(budget: float | str) -> int | str:
    try:
        tokens = float(budget)
    except (ValueError, OverflowError):
        return "other"
    return int(tokens) if tokens.is_integer() else "other"


def apply_reasoning(body: bytes, reasoning: ReasoningConfig, model: str, losses: list[Loss]) -> bytes:
    """The body with that instead of what it says itself. Raises `InvalidRequest`."""
    fields = json.raw_fields(body)
    names = [name for name in _GENERATION if name in fields] or list(_GENERATION[:1])
    for name in names:
        fields[name] = json.inner_fields(fields, name)
        for inner in _THINKING:
            fields[name].pop(inner, None)
    thinking = encode_thinking(reasoning, model, losses)
    if thinking is not None:
        fields[names[0]]["thinkingConfig"] = thinking
    return json.encode(fields)
