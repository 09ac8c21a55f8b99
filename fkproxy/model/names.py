"""Names of models. Floor 0."""

from __future__ import annotations

import re

__all__ = ["bare", "dated", "forms", "undated"]

_ROUTED = re.compile(r"(?::(?:nitro|floor|exacto|online))+$", re.IGNORECASE)
"""Other words behind a colon are models of their own: `:free`, `:batch`, `:thinking`, `:extended`, a size of Ollama's.

Source: openrouter.ai/docs/guides/routing/model-variants/overview, read 2026-11.
"""

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


def undated(name: str) -> str:
    """A model's name without its date."""
    return _DATE.sub("", name)
