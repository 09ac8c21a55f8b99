"""All upstreams and the way to each: one picture that calls read and a reload replaces whole. Floor 3."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain

import msgspec

from fkproxy.dialects.base import Dialect
from fkproxy.hedging import Hedger
from fkproxy.limits.changes import CHANGES
from fkproxy.limits.takeover import Takeover
from fkproxy.routing import Group, Route, RoutingTable, Stage, Strategy
from fkproxy.selection import Selector
from fkproxy.telemetry.record import Skipped
from fkproxy.upstream import Lease, Upstream

__all__ = ["Course", "Fleet", "QuotaPolicy", "Stand"]

_SPENT = frozenset(("rate_limited", "quota", "model_quota"))
"""Causes of holds for which a model's preview may step in."""

logger = logging.getLogger("fkproxy.fleet")


class QuotaPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What is tried when a quota is used up: the account's other projects, and a model's preview, which has a quota of its own."""

    switch_project: bool = True
    switch_preview_model: bool = False


class Stand(msgspec.Struct, frozen=True):
    """A model that another one stands in for while too many of its calls fail."""

    takeover: Takeover
    by: str


class Party(msgspec.Struct, frozen=True):
    """Upstreams that one is chosen of, as `Selector.choose` asks for them: made once, and not for each call."""

    names: tuple[str, ...]
    weight: Callable[[int], int]
    busy: Callable[[int], int]

    @classmethod
    def of(cls, upstreams: Sequence[Upstream]) -> Party:
        """They are asked by their positions."""
        return cls(
            tuple(upstream.key for upstream in upstreams),
            lambda position: upstreams[position].terms.weight,
            lambda position: upstreams[position].in_flight,
        )


class Fleet:
    """`table` numbers the upstreams as `upstreams` does. `stands`: by the name that clients ask for."""

    __slots__ = (
        "_changes",
        "_parties",
        "_troubled",
        "accounts",
        "counts_tokens",
        "hedger",
        "quota",
        "selector",
        "stands",
        "strategy",
        "table",
        "upstreams",
    )

    def __init__(
        self,
        upstreams: Sequence[Upstream],
        table: RoutingTable,
        *,
        strategy: Strategy = "ordered",
        accounts: Sequence[str] = (),
        quota: QuotaPolicy | None = None,
        stands: Mapping[str, Stand] | None = None,
        selector: Selector | None = None,
        hedger: Hedger | None = None,
    ) -> None:
        self.upstreams = tuple(upstreams)
        self.table = table
        self.strategy = strategy
        self.accounts = tuple(accounts) or tuple("" for _ in upstreams)
        self.quota = quota or QuotaPolicy()
        self.stands = dict(stands or {})
        self.selector = selector or Selector()
        self.hedger = hedger
        self.counts_tokens = any(upstream.terms.tokens_per_minute for upstream in upstreams)
        self._parties: dict[tuple[int, ...], Party] = {}
        self._changes = -1
        self._troubled = False

    @property
    def troubled(self) -> bool:
        """Some upstream has a hold, or a breaker that is not closed."""
        if self._changes != CHANGES.count:
            self._changes = CHANGES.count
            self._troubled = any(upstream.standing.holds or upstream.breaker.tripped for upstream in self.upstreams)
        return self._troubled

    def party(self, members: tuple[int, ...]) -> Party:
        """These upstreams, which are a part of the table."""
        found = self._parties.get(members)
        if found is None:
            found = self._parties[members] = Party.of([self.upstreams[index] for index in members])
        return found

    def route(self, model: str) -> Route:
        """See `RoutingTable.route`. A model that another may stand in for has that one behind it. Raises `UnknownModel`."""
        route = self.table.route(model)
        stand = self.stands.get(route.stages[0].name) if self.stands else None
        if stand is None:
            return route
        known = {stage.name for stage in route.stages}
        further = tuple(stage for stage in self.table.route(stand.by).stages if stage.name not in known)
        stages = (*route.stages, *further)
        return Route(stages, None, tuple(chain.from_iterable(stage.targets for stage in stages)))

    def stages(self, route: Route, now: float) -> tuple[Stage, ...]:
        """The stages in the order of this call: another model first while it stands in."""
        stand = self.stands.get(route.stages[0].name) if self.stands else None
        if stand is None or not stand.takeover.steps_back(now):
            return route.stages
        first = [stage for stage in route.stages if stage.name == stand.by]
        return (*first, *(stage for stage in route.stages if stage.name != stand.by))

    def report(self, model: str, failed: bool, now: float, lasted_s: float) -> None:
        """How a call at `model` itself ended, `lasted_s` after it began."""
        stand = self.stands.get(model)
        if stand is not None and stand.takeover.report(failed, now, lasted_s):
            happened = "another model stands in for one that fails" if stand.takeover.active else "a model serves itself again"
            logger.warning(happened, extra={"model": model, "by": stand.by, "error_ratio": round(stand.takeover.error_ratio, 3)})


class Course:
    """The way of one call through its candidates: gives out one lease after another, and remembers whom it passed over.

    Who is next is decided when it is asked for, by what holds then. `quota_spent` is set by whoever holds the lease, and `served` when
    nobody else is needed: who asks for the next one then, is given none. To be closed instead would cost each generator an exception.
    """

    def __init__(
        self,
        fleet: Fleet,
        stages: Sequence[Stage],
        *,
        conversation: Callable[[], bytes | None],
        tokens: int,
        now: Callable[[], float],
        skip: Callable[[Skipped], None],
    ) -> None:
        self.quota_spent = self.joined = self.served = False
        self._passed: set[tuple[int, str]] = set()
        self.tried: set[tuple[int, str]] = set()
        self.stage: Stage = stages[0]
        self.place = self.tier_place = ""
        self._fleet = fleet
        self._stages = stages
        self._conversation = conversation
        self.tokens = tokens
        self._now = now
        self._skip = skip

    def leases(self) -> Iterator[Lease]:
        """The next best, and the next, until there is none that may be asked now."""
        for stage in self._stages:
            self.stage = stage
            for tier, keys, place in zip(stage.tiers, stage.keys, stage.places, strict=True):
                self.tier_place = place
                if self._fleet.troubled:
                    self._note_held(tier)
                rest: Sequence[int] = range(len(tier))
                while rest:
                    first = self._first(place, tier, keys, rest) if len(rest) > 1 else rest[0]
                    if first is None:
                        break
                    yield from self._group(tier[first])
                    if self.served:
                        return
                    rest = [position for position in rest if position != first]

    def remember(self, conversation: bytes, upstream: Upstream) -> None:
        """This conversation is from now on the upstream's that served, and its provider's."""
        selector, now = self._fleet.selector, self._now()
        selector.bind(self.place, conversation, upstream.key, now)
        if self.tier_place and self._fleet.strategy == "sticky":
            selector.bind(self.tier_place, conversation, upstream.provider_key, now)

    def spare(self, spoken: str, codec: Dialect) -> Lease | None:
        """One more upstream for the same request, beside the one that is asked: another of this stage that takes the very same body."""
        now = self._now()
        for stage, group, index in self._places():
            upstream = self._fleet.upstreams[index]
            takes = spoken if spoken in upstream.adapter.spoken else upstream.codec.name
            if stage is not self.stage or takes != codec.name or not self._able(index, group.model, now):
                continue
            lease = upstream.lease(group.model, now, tokens=self.tokens)
            if isinstance(lease, Lease):
                self.tried.add((index, group.model))
                return lease
        return None

    def joins(self) -> Iterator[Lease]:
        """When nobody else is left: who was passed over and is back by now, and who is finding out whether it is."""
        for stage, group, index in self._places():
            upstream, now, model = self._fleet.upstreams[index], self._now(), group.model
            if (index, model) in self.tried or (index, model) not in self._passed:
                continue
            lease: Lease | Skipped = upstream.lease(model, now, tokens=self.tokens)
            if isinstance(lease, Skipped):
                if not upstream.finding_out(model, now) or upstream.full(model, now, self.tokens) is not None:
                    continue
                self.joined = True
                lease = upstream.join(model, now, self.tokens)
            self.tried.add((index, model))
            self.stage, self.tier_place, self.place = stage, "", group.provider_key
            yield lease
            if self.served:
                return

    def valve(self) -> Lease | None:
        """For the upstream that recovers first, where our own guesses are all that keeps it out; one call at a time."""
        now = self._now()
        found: tuple[float, Stage, Group, Upstream] | None = None
        for stage, group, index in self._places():
            upstream = self._fleet.upstreams[index]
            obstacle = upstream.obstacle(group.model, now, self.tokens)
            if obstacle is None or not obstacle.guessed or upstream.valve_open or (index, group.model) in self.tried:
                continue
            wait_s = obstacle.retry_after_s
            if wait_s is None or (found is not None and wait_s >= found[0]) or upstream.full(group.model, now, self.tokens) is not None:
                continue
            found = (wait_s, stage, group, upstream)
        if found is None:
            return None
        _, self.stage, group, upstream = found
        self.tier_place = ""
        self.place = group.provider_key
        return upstream.valve(group.model, now, self.tokens)

    def _places(self) -> Iterator[tuple[Stage, Group, int]]:
        for stage in self._stages:
            for tier in stage.tiers:
                for group in tier:
                    for index in group.indices:
                        yield stage, group, index

    def _note_held(self, groups: Sequence[Group]) -> None:
        """Whoever asks why a call did not go somewhere is told of all that were kept out, also where it was not their turn."""
        upstreams, now = self._fleet.upstreams, self._now()
        for group in groups:
            for index in group.indices:
                if upstreams[index].standing.holds or upstreams[index].breaker.tripped:
                    self._able(index, group.model, now)

    def _first(self, place: str, groups: Sequence[Group], keys: Sequence[str], rest: Sequence[int]) -> int | None:
        """The position of the provider that is next, out of `rest`; None when none of them may be asked."""
        upstreams = self._fleet.upstreams
        return self._fleet.selector.choose(
            place,
            self._fleet.strategy,
            keys,
            rest,
            lambda position: self._any_able(groups[position]),
            weight=lambda position: groups[position].weight,
            busy=lambda position: sum(upstreams[index].in_flight for index in groups[position].indices),
            conversation=self._conversation() if self._fleet.strategy == "sticky" else None,
            now=self._now(),
        )

    def _any_able(self, group: Group) -> bool:
        models, now = (group.model, self._preview(group)), self._now()
        return any(self._able(index, model, now) for model in models if model is not None for index in group.indices)

    def _group(self, group: Group) -> Iterator[Lease]:
        self.quota_spent = False
        for members in group.tiers:
            yield from self._members(group, members, group.model)
            if self.served:
                return
        preview = self._preview(group, spent=self.quota_spent)
        if preview is not None:
            for members in group.tiers:
                yield from self._members(group, members, preview)
                if self.served:
                    return

    def _preview(self, group: Group, *, spent: bool = False) -> str | None:
        """The preview that is to be asked instead of the group's model: when the model's quota is spent, now or since an earlier call."""
        if group.preview is None or not self._fleet.quota.switch_preview_model:
            return None
        now = self._now()
        holds = (self._fleet.upstreams[index].standing.keeping_out(group.model, now) for index in group.indices)
        return group.preview if spent or any(hold is not None and hold.cause in _SPENT for hold in holds) else None

    def _members(self, group: Group, members: tuple[int, ...], model: str) -> Iterator[Lease]:
        fleet, upstreams = self._fleet, self._fleet.upstreams
        party, several = fleet.party(members), len(members) > 1
        rest: Sequence[int] = range(len(members))
        if self.tried:
            rest = [position for position in rest if (members[position], model) not in self.tried]
        while rest:
            self.place = group.provider_key
            now = self._now()
            position = fleet.selector.choose(
                self.place,
                group.strategy,
                party.names,
                rest,
                partial(self._able_member, members, model, now),
                weight=party.weight,
                busy=party.busy,
                conversation=self._conversation() if several and group.strategy == "sticky" else None,
                now=now,
            )
            if position is None:
                return
            index = members[position]
            lease = upstreams[index].lease(model, now, tokens=self.tokens, room=True)
            if isinstance(lease, Lease):
                self.tried.add((index, model))
                yield lease
                if self.served:
                    return
                if self.quota_spent and not fleet.quota.switch_project and fleet.accounts[index]:
                    rest = [other for other in rest if fleet.accounts[members[other]] != fleet.accounts[index]]
            rest = [other for other in rest if other != position]

    def _able_member(self, members: Sequence[int], model: str, now: float, position: int) -> bool:
        return self._able(members[position], model, now)

    def _able(self, index: int, model: str, now: float) -> bool:
        """Whether it may be asked now; one that may not is noted."""
        if (index, model) in self.tried:
            return False
        obstacle = self._fleet.upstreams[index].obstacle(model, now, self.tokens)
        if obstacle is not None:
            self._passed.add((index, model))
            self._skip(obstacle)
        return obstacle is None
