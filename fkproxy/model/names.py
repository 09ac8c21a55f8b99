"""Names of models. Floor 0."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

__all__ = ["any_of", "bare", "dated", "fits", "forms", "is_pattern", "undated", "ways_to"]

_ROUTED = re.compile(r"(?::(?:nitro|floor|exacto|online))+$", re.IGNORECASE)
"""Other words behind a colon are models of their own: `:free`, `:batch`, `:thinking`, `:extended`, a size of Ollama's.

Source: openrouter.ai/docs/guides/routing/model-variants/overview, read 2026-11.
"""

_WILDCARDS = frozenset("*?[")
_DATE = re.compile(r"[-@](\d{8})$")


def bare(name: str) -> str:
    """A model's name without the collection that Google has it in, however often that is said, and without the way to it that OpenRouter's
    clients may add to any: vendors take it for the same model, at the same price.
    """
    while name.startswith("models/"):
        name = name[len("models/") :]
    return _ROUTED.sub("", name)


def dated(name: str, mark: str) -> str:
    """A model's name with its date behind `mark`: who made a model writes `model-20251001`, and whose cloud it is in `model@20251001`."""
    return _DATE.sub(rf"{mark}\1", name)


def forms(name: str) -> tuple[str, ...]:
    """A model's name, or a pattern of names, as it is, and with its date in each way that there is."""
    return name, dated(name, "-"), dated(name, "@")


def ways_to(name: str) -> tuple[str, ...]:
    """Every name of the model that is asked for as `name`, in lower case: what is excluded is so by whatever way to it."""
    return tuple(form.lower() for form in (name, *forms(bare(name))))


def is_pattern(text: str) -> bool:
    """Whether it may stand for several names."""
    return not _WILDCARDS.isdisjoint(text)


def fits(name: str, pattern: str) -> bool:
    """Whether a name is one of the pattern's, however its date is written; of an exact name it has to be that one."""
    return any(fnmatch.fnmatchcase(form, pattern) for form in (forms(name) if is_pattern(pattern) else (name,)))


def any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    """What matches a name that is one of these, or of their patterns, as it is written; nothing where there are none."""
    return re.compile("|".join(map(fnmatch.translate, patterns)) or r"(?!)")


def undated(name: str) -> str:
    """A model's name without its date."""
    return _DATE.sub("", name)
