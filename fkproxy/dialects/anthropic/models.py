"""What the models differ in, by name. Floor 1. Pure.

Sources, read 2026-11, below platform.claude.com/docs/en: build-with-claude/thinking-troubleshooting (kinds of thinking, what each model
refuses), build-with-claude/effort, about-claude/models/overview (longest answers), models/opus-5-5, sonnet-5-5 and haiku-5-5
(migration guides: sampling, forced tools, prefill), build-with-claude/structured-outputs.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

__all__ = ["Traits", "traits_of"]

_NAME = re.compile(r"claude-([a-z]+)-(\d{1,2})(?:[.-](\d{1,2}))?(?!\d)")
_OLD_NAME = re.compile(r"claude-(\d)(?:[.-](\d{1,2}))?-([a-z]+)")


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """What a request to a model may say.

    `thinking` is how it is asked to think: never, with a budget in tokens, or adaptively with an effort. `off` is the
    `thinking.type` that keeps it from thinking, None for a model that always thinks; one that does not think `by_default` need
    not be told. `one_sampling`: temperature or top_p, not both. `known`: its `max_output_tokens` is a limit, not a guess.
    """

    max_output_tokens: int
    thinking: Literal["never", "budget", "adaptive"] = "adaptive"
    by_default: bool = False
    off: Literal["disabled", "between_tools"] | None = "disabled"
    efforts: tuple[str, ...] = ()
    sampling: bool = False
    one_sampling: bool = False
    prefill: bool = False
    forced_tools: bool = True
    schemas: bool = True
    known: bool = True


_TO_MAX = ("low", "medium", "high", "max")
_ALL = ("low", "medium", "high", "xhigh", "max")

_THIRD = Traits(max_output_tokens=8_192, thinking="never", sampling=True, prefill=True, schemas=False)
_FIRST_THINKERS = Traits(max_output_tokens=64_000, thinking="budget", sampling=True, prefill=True, schemas=False)
_BUDGETED = Traits(max_output_tokens=64_000, thinking="budget", sampling=True, one_sampling=True, prefill=True)
_ADAPTIVE = Traits(max_output_tokens=64_000, efforts=_TO_MAX, sampling=True, one_sampling=True)
_CURRENT = Traits(max_output_tokens=128_000, by_default=True, efforts=_ALL)
_ALWAYS = Traits(max_output_tokens=128_000, by_default=True, efforts=_ALL, off=None)
_LAST = Traits(max_output_tokens=128_000, by_default=True, efforts=_ALL, off=None, forced_tools=False)

# From which version on, newest first.
_FAMILIES: dict[str, tuple[tuple[tuple[int, int], Traits], ...]] = {
    "opus": (
        ((5, 5), _LAST),
        ((5, 0), _CURRENT),
        ((4, 7), Traits(max_output_tokens=128_000, efforts=_ALL)),
        ((4, 6), Traits(max_output_tokens=128_000, efforts=_TO_MAX, sampling=True, one_sampling=True)),
        ((4, 5), _BUDGETED),
        ((4, 1), Traits(max_output_tokens=32_000, thinking="budget", sampling=True, one_sampling=True, prefill=True)),
        ((4, 0), Traits(max_output_tokens=32_000, thinking="budget", sampling=True, prefill=True, schemas=False)),
        ((0, 0), Traits(max_output_tokens=4_096, thinking="never", sampling=True, prefill=True, schemas=False)),
    ),
    "sonnet": (
        ((5, 5), Traits(max_output_tokens=128_000, by_default=True, off="between_tools", efforts=_ALL, forced_tools=False)),
        ((5, 0), _CURRENT),
        ((4, 6), _ADAPTIVE),
        ((4, 5), _BUDGETED),
        ((3, 7), _FIRST_THINKERS),
        ((3, 5), _THIRD),
        ((0, 0), Traits(max_output_tokens=4_096, thinking="never", sampling=True, prefill=True, schemas=False)),
    ),
    "haiku": (
        ((5, 0), _CURRENT),
        ((4, 5), _BUDGETED),
        ((3, 5), _THIRD),
        ((0, 0), Traits(max_output_tokens=4_096, thinking="never", sampling=True, prefill=True, schemas=False)),
    ),
    "fable": (((5, 1), _LAST), ((0, 0), _ALWAYS)),
    "mythos": (((5, 1), _LAST), ((0, 0), _ALWAYS)),
}

_OTHERS = Traits(max_output_tokens=8_192, thinking="budget", sampling=True, prefill=True, known=False)
"""A model of another house behind this dialect: what all of them were built to follow, the dialect as of its first thinking models."""


def traits_of(model: str) -> Traits:
    """By the family and the version in the name; a new family is taken for one of today's."""
    name = model.lower()
    if match := _NAME.search(name):
        family, version = match[1], (int(match[2]), int(match[3] or 0))
    elif match := _OLD_NAME.search(name):
        family, version = match[3], (int(match[1]), int(match[2] or 0))
    elif "claude-mythos" in name:
        return _LAST
    else:
        return _CURRENT if "claude-" in name else _OTHERS
    rows = _FAMILIES.get(family)
    if rows is None:
        return _CURRENT if version >= (5, 0) else _THIRD
    return next(traits for least, traits in rows if version >= least)
