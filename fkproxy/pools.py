"""Pools as routing boundaries: for each one a fleet of its own, over the same upstreams. Floor 3.

What was seen of an upstream (breaker, standing, calls under way) is seen by every pool that has it, for it is the same object. Turns and
conversations are the pool's own. Fleets are made when a call first needs them; one whose pool and upstreams are as before stays.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from fkproxy.directory import Pool
from fkproxy.fleet import Fleet
from fkproxy.model.errors import PoolInactive
from fkproxy.selection import Selector
from fkproxy.terms import ModelPolicy

__all__ = ["Pools", "narrowed"]


class _Made(msgspec.Struct, frozen=True):
    whole: Fleet
    fleet: Fleet


class Pools:
    """The fleets of pools, by name."""

    def __init__(self, pools: Iterable[Pool] = ()) -> None:
        self._pools = {pool.name: pool for pool in pools}
        self._made: dict[str, _Made] = {}

    def replace(self, pools: Iterable[Pool]) -> None:
        """These are the pools from now on. Calls under way keep the fleets they have."""
        before, self._pools = self._pools, {pool.name: pool for pool in pools}
        self._made = {name: made for name, made in self._made.items() if before[name] == self._pools.get(name)}

    def of(self, name: str | None, whole: Fleet) -> Fleet:
        """The pool's part of the whole fleet; the whole for no pool. Raises `PoolInactive` for one that is not there."""
        if name is None:
            return whole
        made = self._made.get(name)
        if made is None or made.whole is not whole:
            pool = self._pools.get(name)
            if pool is None:
                raise PoolInactive("missing")
            made = self._made[name] = _Made(whole, narrowed(whole, pool, made.fleet.selector if made is not None else None))
        return made.fleet

    def warnings(self, whole: Fleet) -> list[str]:
        """What pools name that is not there. Nothing else depends on it: it may come back."""
        found = []
        for pool in self._pools.values():
            missing = [name for name in pool.upstreams if not any(_means(name, each.provider_key, each.key) for each in whole.upstreams)]
            found += [f"pool {pool.name}: there is no upstream {name}" for name in missing]
            if pool.upstreams and len(missing) == len(pool.upstreams):
                found.append(f"pool {pool.name}: it has no upstream at all, so every call of its keys is refused")
        return found


def narrowed(whole: Fleet, pool: Pool, selector: Selector | None = None) -> Fleet:
    """The part of a fleet that the pool's calls may go to. Models outside of the pool's policy are no fallbacks either."""
    policy = ModelPolicy(pool.models, pool.excluded_models)
    keep = [
        index
        for index, upstream in enumerate(whole.upstreams)
        if not pool.upstreams or any(_means(name, upstream.provider_key, upstream.key) for name in pool.upstreams)
    ]
    table = whole.table.narrowed(frozenset(keep), pool.fallbacks, policy.allows)
    fleet = Fleet(
        [whole.upstreams[index] for index in keep],
        table,
        strategy=pool.strategy or whole.strategy,
        accounts=[whole.accounts[index] for index in keep],
        quota=whole.quota,
        selector=selector,
        hedger=whole.hedger,
    )
    fleet.stands = {model: stand for model, stand in whole.stands.items() if policy.allows(stand.by, table) and table.serves(stand.by)}
    return fleet


def _means(name: str, provider_key: str, key: str) -> bool:
    return name in (provider_key, key)
