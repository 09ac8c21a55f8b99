"""Names that stand for models of the Codex CLI, and how much to think. Floor 4."""

from __future__ import annotations

from fkproxy.dialects.codex.plan import OWN_MODEL
from fkproxy.settings.providers_schema import ModelEntry

__all__ = ["codex_aliases"]

_WORDS = {"low": "low", "medium": "medium", "high": "high"}
_LETTERS = {"L": "low", "M": "medium", "H": "high", "XH": "xhigh"}
_LOCAL = ModelEntry(alias="gpt-5.2-LOCAL", name="gpt-5.2(low)")


def codex_aliases(profile: str | None, model: str | None) -> tuple[ModelEntry, ...]:
    """By profile, so that a name says which gateway was meant: those of `dev` are not known to any other one.

    `model`: what the names without a release of their own stand for; None for what the Codex CLI is set to.
    """
    if profile != "dev":
        return (*_row("codex-5", model or OWN_MODEL, _WORDS, plain=True), *_row("gpt-5.2-codex", "gpt-5.2", _LETTERS), _LOCAL)
    first_letters = {letter: effort for letter, effort in _LETTERS.items() if effort != "xhigh"}
    return (
        *_row("codev-5", model or OWN_MODEL, _WORDS, plain=True),
        *_row("codev-5.1", "gpt-5.1", first_letters),
        *_row("codev-5.2", "gpt-5.2", _LETTERS),
        *_row("gpt-5.2-codev", "gpt-5.2", _LETTERS),
        _LOCAL,
    )


def _row(stem: str, model: str, endings: dict[str, str], *, plain: bool = False) -> list[ModelEntry]:
    named = [ModelEntry(alias=f"{stem}-{ending}", name=f"{model}({effort})") for ending, effort in endings.items()]
    return [ModelEntry(alias=stem, name=model), *named] if plain else named
