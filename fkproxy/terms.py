"""What a key's calls are bound to, besides its limits: which models, and how much thinking. Floor 1. Pure.

Made once for each key of a directory, so that a call only looks things up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise

from fkproxy.directory import ClientKey
from fkproxy.model.names import any_of, ways_to
from fkproxy.model.request import Effort, ReasoningConfig
from fkproxy.routing import MAX_NAME_CHARS, RoutingTable
from fkproxy.suffix import reasoning_of_word

__all__ = ["ModelPolicy", "Terms", "exceeds"]

_KNOWN_MODELS = 1024
"""Verdicts that are remembered; callers choose the names, so the memory has a bound."""

_TOKENS: dict[Effort, float] = {"none": 0, "minimal": 512, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 32768, "max": 65536}
"""Efforts on one scale with budgets. Those from low to xhigh are what the codecs make of them; they differ, and this only orders them."""

_OPEN_ENDED = float("inf")
_OFF = "disabled"


class ModelPolicy:
    """Names and patterns (`*`, `?`) that may be asked for, and those that may not, whatever their case. The second ones win."""

    def __init__(self, models: Iterable[str], excluded: Iterable[str] = ()) -> None:
        self._models = tuple(models)
        self._excluded_models = tuple(pattern.lower() for pattern in excluded)
        self.open = "*" in self._models and not self._excluded_models
        self._known: dict[str, bool] = {}
        self._table: RoutingTable | None = None

    def allows(self, model: str, table: RoutingTable) -> bool:
        """Whether `model` may be asked for, under this name or the one that it has behind its prefix or its provider's name."""
        if self.open:
            return True
        if table is not self._table:
            self._known, self._table = {}, table
        verdict = self._known.get(model)
        if verdict is None:
            if len(model) > MAX_NAME_CHARS:
                return False
            names = (model, *table.names(model))
            # Compiled when first asked: a directory may have thousands of policies.
            verdict = any(map(self._allowed.match, names))
            verdict = verdict and not any(self._excluded.match(way) for name in names for way in ways_to(name))
            if len(self._known) < _KNOWN_MODELS:
                self._known[model] = verdict
        return verdict

    @cached_property
    def _allowed(self) -> re.Pattern[str]:
        return any_of(self._models)

    @cached_property
    def _excluded(self) -> re.Pattern[str]:
        return any_of(self._excluded_models)


class Terms:
    """One key's. `enforced_thinking` is for every call, `maximum_thinking` for those that ask for more."""

    __slots__ = ("_own", "_pools", "enforced_model", "enforced_thinking", "limits", "limits_thinking", "maximum_thinking", "open")

    def __init__(self, key: ClientKey, pools: ModelPolicy) -> None:
        self.limits = key.limits
        self.enforced_model = key.enforced_model
        self.enforced_thinking = reasoning_of_word(key.enforced_thinking or "")
        self.maximum_thinking = reasoning_of_word(key.maximum_thinking or "")
        self.limits_thinking = self.enforced_thinking is not None or self.maximum_thinking is not None
        self._own = ModelPolicy(key.models)
        self._pools = pools
        self.open = self._own.open and pools.open

    def allows(self, model: str, table: RoutingTable) -> bool:
        """Whether the key may ask for `model`."""
        return self.open or (self._own.allows(model, table) and self._pools.allows(model, table))

    def allows_beside(self, model: str, other: str, table: RoutingTable) -> bool:
        """Whether a request for `model` may name `other`, too, which the vendor would ask: as it is known behind the same prefix."""
        if self.enforced_model is not None and other not in (self.enforced_model, *table.names(self.enforced_model)):
            return False
        prefix = next((model.removesuffix(name) for name in table.names(model) if model.endswith(f"/{name}")), "")
        return self.allows(prefix + other, table)

    def thinking(self, asked: str | None) -> ReasoningConfig | None:
        """What is to be asked for instead of `asked` (see `Dialect.reasoning_of`); None where it may stay as it is.

        A call that says nothing keeps what the model does by itself, which need not be thinking at all.
        """
        if self.enforced_thinking is not None:
            return self.enforced_thinking
        maximum = self.maximum_thinking
        return maximum if maximum is not None and asked is not None and exceeds(asked, maximum) else None


def exceeds(asked: str, maximum: ReasoningConfig) -> bool:
    """Whether words such as `effort high`, `budget 8192` or `adaptive` ask for more than `maximum`."""
    return _most(asked.split()) > _level(maximum)


def _level(reasoning: ReasoningConfig) -> float:
    if reasoning.effort is not None:
        return _TOKENS[reasoning.effort]
    budget = reasoning.budget_tokens
    return _OPEN_ENDED if budget is None or budget < 0 else budget


def _most(words: Sequence[str]) -> float:
    """An effort bounds a mode that is open-ended; of an effort and a budget the larger one counts. What is off asks for nothing."""
    if _OFF in words:
        return 0
    return max((_bound(word) for kind, word in pairwise(words) if kind in ("effort", "level", "budget")), default=_OPEN_ENDED)


def _bound(word: str) -> float:
    reasoning = reasoning_of_word(word)
    return _level(reasoning) if reasoning is not None else _OPEN_ENDED
