"""Names of models. Floor 0."""

from __future__ import annotations

__all__ = ["bare"]


def bare(name: str) -> str:
    """A model's name without the collection that Google has it in, however often that is said: vendors take it for the same model."""
    while name.startswith("models/"):
        name = name[len("models/") :]
    return name
