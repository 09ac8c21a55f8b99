"""Model name in, where it may go out: in which order, and where when all of that fails.

Floor 1. Pure.

    Route      the way of one asked name
      stages   the name itself, then what its fallbacks name
        tiers  providers of one priority, the highest first
          groups   one provider: the upstreams (credentials) that have the model, and what it calls it

Which provider of a tier comes first, and which upstream of a group, is `selection.py`'s: this file knows nothing that changes.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain
from typing import Literal, get_args

import msgspec

from fkproxy.model.errors import UnknownModel
from fkproxy.model.names import any_of, dated, fits, forms, is_pattern, ways_to

__all__ = ["MAX_NAME_CHARS", "STRATEGIES", "Group", "Member", "Route", "RoutingTable", "Rule", "Stage", "Strategy", "Target"]

Strategy = Literal["ordered", "round_robin", "weighted", "fill_first", "least_busy", "sticky"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

_CACHED_MODELS = 1024
"""Names resolved before are remembered; callers choose the names, so the memory has a bound."""

MAX_NAME_CHARS = 512
"""Longer ones are nobody's. The longest that vendors use, a Bedrock profile's ARN, has a third of it."""


_Fallbacks = Mapping[str, tuple[str, ...]]


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One credential of a provider. `account`: members that share one differ in the project only."""

    weight: int = 1
    priority: int = 0
    account: str = ""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A provider and the models it serves.

    `models` are shell patterns (`gemini-*`); `*` alone takes what no other rule names. `names`: what clients say → what the provider
    calls it, for exact names and for patterns; the first that fits wins. `excluded`: patterns that are not served, whatever else says
    so. `prefix`: its models can be had as `prefix/model` too. `previews`: for a model the name of its preview, which has a quota of its
    own. `fallbacks`: providers to ask when this one has failed. `date_mark`: what the provider writes in front of a model's date, where
    clients may write something else; "" where that is not known.
    """

    provider_key: str
    models: tuple[str, ...]
    members: tuple[Member, ...] = (Member(),)
    names: Mapping[str, str] = {}
    excluded: tuple[str, ...] = ()
    prefix: str = ""
    previews: Mapping[str, str] = {}
    fallbacks: tuple[str, ...] = ()
    priority: int = 0
    weight: int = 1
    strategy: Strategy = "ordered"
    date_mark: str = ""


class Target(msgspec.Struct, frozen=True):
    """The upstream at this index of the table, and what it calls the model."""

    upstream: int
    model: str


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """One provider on the way of one name. `tiers`: the indices of its upstreams by priority. `preview`: another model's quota."""

    provider_key: str
    model: str
    tiers: tuple[tuple[int, ...], ...]
    strategy: Strategy
    weight: int
    preview: str | None = None

    @property
    def indices(self) -> Iterator[int]:
        """Of all its upstreams, the highest priority first."""
        return chain.from_iterable(self.tiers)


class Stage(msgspec.Struct, frozen=True):
    """One model name: providers by priority. `name` is what the client asked for, or a fallback; `keys`: the providers of each tier.

    `places`: where turns in each tier are kept, "" where there are none. They are the tier's, not the model's: callers choose the names
    of models.
    """

    name: str
    tiers: tuple[tuple[Group, ...], ...]
    keys: tuple[tuple[str, ...], ...]
    places: tuple[str, ...]

    @property
    def targets(self) -> Iterator[Target]:
        """All of them, in the order of the configuration."""
        for tier in self.tiers:
            for group in tier:
                for index in group.indices:
                    yield Target(index, group.model)


class Route(msgspec.Struct, frozen=True):
    """Where a name may go. `targets`: all of them, in the order of the configuration; `only`: the one that there is, with no fallback,
    None where there are several."""

    stages: tuple[Stage, ...]
    only: Target | None
    targets: tuple[Target, ...]


class _Compiled:
    """A rule with its patterns ready."""

    __slots__ = ("excluded", "indices", "mapped", "named", "rest", "rule")

    def __init__(self, rule: Rule, first: int) -> None:
        self.rule = rule
        self.indices = range(first, first + len(rule.members))
        self.named = any_of(pattern for pattern in rule.models if pattern != "*")
        self.rest = "*" in rule.models
        self.excluded = any_of(pattern.lower() for pattern in rule.excluded)
        self.mapped = [(re.compile(fnmatch.translate(name)), model) for name, model in rule.names.items() if is_pattern(name)]

    def excludes(self, name: str) -> bool:
        return any(map(self.excluded.match, ways_to(name)))

    def own_name(self, name: str) -> str | None:
        """What the provider calls what clients call `name`; None if nobody said so."""
        exact = self.rule.names.get(name)
        return exact if exact is not None else next((model for pattern, model in self.mapped if pattern.match(name)), None)

    def spelled(self, name: str) -> str:
        return dated(name, self.rule.date_mark) if self.rule.date_mark else name

    def serves(self, name: str) -> bool:
        known = self.own_name(name) is not None or any(self.named.match(each) for each in (name, self.spelled(name)))
        return known and not self.excludes(name)

    def group(self, name: str) -> Group:
        members = self.rule.members
        by_priority: dict[int, list[int]] = {}
        for index, member in zip(self.indices, members, strict=True):
            by_priority.setdefault(member.priority, []).append(index)
        model = self.spelled(self.own_name(name) or name)
        return Group(
            provider_key=self.rule.provider_key,
            model=model,
            tiers=tuple(tuple(by_priority[priority]) for priority in sorted(by_priority, reverse=True)),
            strategy=self.rule.strategy,
            weight=self.rule.weight,
            preview=self.rule.previews.get(model),
        )


class RoutingTable:
    """Immutable: a change builds a new table, calls under way keep theirs. Order of the rules is order of preference.

    The members of the rules, in order, are the upstreams 0, 1, 2 …. `fallbacks`: one or several mappings, in this order, of a name (or a
    pattern) to the models to ask for when everybody who has it failed; `may_fall_to` says which of those may be. `force_prefix`: what has
    a prefix is served under it only.
    """

    __slots__ = ("_cache", "_compiled", "_fallbacks", "_force_prefix", "_may_fall_to", "_rules")

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        fallbacks: _Fallbacks | Sequence[_Fallbacks] = (),
        force_prefix: bool = False,
        may_fall_to: Callable[[str, RoutingTable], bool] = lambda name, table: True,
    ) -> None:
        compiled: list[_Compiled] = []
        first = 0
        for rule in rules:
            compiled.append(_Compiled(rule, first))
            first += len(rule.members)
        self._rules = tuple(compiled)
        self._compiled = {id(each.rule): each for each in compiled}
        self._fallbacks = tuple(dict(each) for each in ([fallbacks] if isinstance(fallbacks, Mapping) else fallbacks))
        self._may_fall_to = may_fall_to
        self._force_prefix = force_prefix
        self._cache: dict[str, Route] = {}

    @property
    def providers(self) -> list[tuple[Rule, range]]:
        """Each rule with the numbers of its upstreams."""
        return [(each.rule, each.indices) for each in self._rules]

    def narrowed(self, keep: Collection[int], fallbacks: _Fallbacks, may_fall_to: Callable[[str, RoutingTable], bool]) -> RoutingTable:
        """A table of these upstreams only, numbered anew in their order. `fallbacks` come before its own; `may_fall_to` is for
        previews, too.
        """
        rules = []
        for each in self._rules:
            members = tuple(member for index, member in zip(each.indices, each.rule.members, strict=True) if index in keep)
            if members:
                previews = {name: preview for name, preview in each.rule.previews.items() if may_fall_to(preview, self)}
                rules.append(msgspec.structs.replace(each.rule, members=members, previews=previews))
        return RoutingTable(rules, fallbacks=(fallbacks, *self._fallbacks), force_prefix=self._force_prefix, may_fall_to=may_fall_to)

    def names(self, model: str) -> list[str]:
        """What the providers that serve `model` know it as, behind a prefix or a provider's name, and with its date as they write it; none
        where nobody does."""
        return [known for each, name in self._resolve(model) for known in (name, each.spelled(name))]

    def shown(self, rule: Rule, name: str) -> list[str]:
        """Under which names clients may ask this provider for what they call `name`; none where they may not."""
        names = [] if self._force_prefix and rule.prefix else [name]
        if rule.prefix:
            names.append(f"{rule.prefix}/{name}")
        return [each for each in names if self._leads_to(rule, each)]

    def _leads_to(self, rule: Rule, name: str) -> bool:
        if "/" not in name and self._compiled[id(rule)].serves(name):
            # Most names: nobody else has to be looked at.
            return not (self._force_prefix and rule.prefix)
        return any(each.rule is rule for each, _ in self._resolve(name))

    def route(self, model: str) -> Route:
        """Where `model` may go. Raises `UnknownModel`.

        `prefix/model` asks for the providers with that prefix. `provider_key/model` asks for that provider only and skips its patterns:
        the operator may know a model that we do not.
        """
        found = self._cache.get(model)
        if found is None:
            if len(model) > MAX_NAME_CHARS:
                raise UnknownModel(f"{model[:40]}…", f"no name is longer than {MAX_NAME_CHARS} characters")
            found = self._route(model)
            if len(self._cache) < _CACHED_MODELS:
                self._cache[model] = found
        return found

    def candidates(self, model: str) -> tuple[Target, ...]:
        """The targets of `route`, in the order of the configuration. Raises `UnknownModel`."""
        return self.route(model).targets

    def serves(self, model: str) -> bool:
        """Somebody has it."""
        try:
            self.route(model)
        except UnknownModel:
            return False
        return True

    def _route(self, model: str) -> Route:
        name = model.removeprefix("models/")
        stages = [self._stage(name, self._resolve(model))]
        stages += [self._stage(other, self._resolve(other)) for other in self._fallbacks_of(name) if self._may_fall_to(other, self)]
        kept = tuple(stage for stage in stages if stage.tiers)
        if not kept:
            raise UnknownModel(model, "GET /v1/models lists what is" if self._rules else "no provider is configured, or all are disabled")
        targets = tuple(chain.from_iterable(stage.targets for stage in kept))
        preview = any(group.preview is not None for stage in kept for tier in stage.tiers for group in tier)
        return Route(kept, targets[0] if len(targets) == 1 and not preview else None, targets)

    def _fallbacks_of(self, name: str) -> list[str]:
        """Of each mapping the exact name's, else those of the first pattern that fits, however the date is written."""
        found: list[str] = []
        for mapping in self._fallbacks:
            exact = next((mapping[form] for form in forms(name) if form in mapping), None)
            if exact is None:
                patterns = (pattern for pattern in mapping if is_pattern(pattern))
                exact = next((mapping[pattern] for pattern in patterns if fits(name, pattern)), ())
            found += [model for model in exact if model not in found]
        return found

    def _resolve(self, model: str) -> list[tuple[_Compiled, str]]:
        """The rules that serve it, and under which name."""
        head, slash, rest = model.partition("/")
        if slash and rest:
            prefixed = [(each, rest) for each in self._rules if each.rule.prefix == head and self._has(each, rest)]
            if prefixed:
                return prefixed
            chosen = [each for each in self._rules if each.rule.provider_key == head]
            if chosen:
                return [(each, rest) for each in chosen if not each.excludes(rest)]
        name = model.removeprefix("models/")
        open_ = [each for each in self._rules if not (self._force_prefix and each.rule.prefix)]
        named = [(each, name) for each in open_ if each.serves(name)]
        return named or [(each, name) for each in open_ if name and each.rest and not each.excludes(name)]

    @staticmethod
    def _has(each: _Compiled, name: str) -> bool:
        return each.serves(name) or (each.rest and not each.excludes(name))

    def _stage(self, name: str, served: Sequence[tuple[_Compiled, str]]) -> Stage:
        by_priority: dict[int, list[Group]] = {}
        for each, own in served:
            by_priority.setdefault(each.rule.priority, []).append(each.group(own))
        tiers = [tuple(by_priority[priority]) for priority in sorted(by_priority, reverse=True)]
        known = {each.rule.provider_key for each, _ in served}
        for each, own in served:
            for key in each.rule.fallbacks:
                further = [other for other in self._rules if other.rule.provider_key == key and not other.excludes(own)]
                if further and key not in known:
                    known.add(key)
                    tiers.append((further[0].group(own),))
        keys = tuple(tuple(group.provider_key for group in tier) for tier in tiers)
        return Stage(name, tuple(tiers), keys, tuple("\x00".join(each) if len(each) > 1 else "" for each in keys))
