"""Model name in, ordered targets out. Floor 1. Pure."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence

import msgspec

from fkproxy.model.errors import UnknownModel

__all__ = ["RoutingTable", "Rule", "Target"]

_CACHED_MODELS = 1024
"""Names resolved before are remembered; callers choose the names, so the memory has a bound."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """An upstream and the models it serves, as shell patterns (`gemini-*`). `*` alone takes what no other rule names."""

    provider_key: str
    models: tuple[str, ...]


class Target(msgspec.Struct, frozen=True):
    """The upstream at this index of the table, and what it calls the model."""

    upstream: int
    model: str


class RoutingTable:
    """Immutable: a change builds a new table, calls under way keep theirs. Order of the rules is order of preference."""

    __slots__ = ("_cache", "_rest", "_rules")

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(
            (rule.provider_key, re.compile("|".join(fnmatch.translate(pattern) for pattern in rule.models if pattern != "*") or r"(?!)"))
            for rule in rules
        )
        self._rest = tuple(index for index, rule in enumerate(rules) if "*" in rule.models)
        self._cache: dict[str, tuple[Target, ...]] = {}

    def candidates(self, model: str) -> tuple[Target, ...]:
        """Where `model` may go, best first. Raises `UnknownModel`.

        `provider_key/model` asks for that provider only and skips its patterns: the operator may know a model that we do not.
        """
        found = self._cache.get(model)
        if found is None:
            found = self._resolve(model)
            if not found:
                raise UnknownModel(model, self._hint())
            if len(self._cache) < _CACHED_MODELS:
                self._cache[model] = found
        return found

    def _resolve(self, model: str) -> tuple[Target, ...]:
        provider, slash, rest = model.partition("/")
        if slash and rest:
            chosen = tuple(Target(index, rest) for index, (key, _) in enumerate(self._rules) if key == provider)
            if chosen:
                return chosen
        name = model.removeprefix("models/")
        named = [index for index, (_, pattern) in enumerate(self._rules) if pattern.match(name)]
        return tuple(Target(index, name) for index in named or (self._rest if name else ()))

    def _hint(self) -> str:
        return "GET /v1/models lists what is" if self._rules else "no provider is configured"
