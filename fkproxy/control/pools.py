"""Pools: made, changed, held and put away. Floor 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from fkproxy.control import checks
from fkproxy.control.documents import Documents, changed_fields, upstream_faults
from fkproxy.control.key_views import EffectiveState, effective_state
from fkproxy.control.ledger import By
from fkproxy.control.refusals import Fault, Forbidden, Invalid, Unknown
from fkproxy.directory import ClientKey, Document, Pool, PoolState
from fkproxy.routing import Strategy

__all__ = ["MAX_POOLS", "NewPool", "PoolControl", "PoolPatch", "PoolView", "checked_pool"]

MAX_POOLS = 1000
_MAX_FALLBACKS = 1000

_FIELDS = ("label", "upstreams", "strategy", "models", "excluded_models", "fallbacks")


class PoolPatch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The fields to change; what they mean is said in `Pool`."""

    label: str | UnsetType = UNSET
    upstreams: tuple[str, ...] | UnsetType = UNSET
    strategy: Strategy | UnsetType | None = UNSET
    models: tuple[str, ...] | UnsetType = UNSET
    excluded_models: tuple[str, ...] | UnsetType = UNSET
    fallbacks: dict[str, tuple[str, ...]] | UnsetType = UNSET


class NewPool(PoolPatch, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A pool to be made; what is not said is as in `Pool`."""

    name: str


class PoolView(msgspec.Struct, frozen=True, kw_only=True):
    """One pool. `keys`: how many it has by what their calls meet. `revision`: of the document it was read from."""

    name: str
    label: str
    state: PoolState
    upstreams: tuple[str, ...]
    strategy: Strategy | None
    models: tuple[str, ...]
    excluded_models: tuple[str, ...]
    fallbacks: dict[str, tuple[str, ...]]
    created_s: float
    keys: dict[EffectiveState, int]
    revision: int


_Verb = Literal["pause", "resume", "disable", "archive"]
_STATES: Mapping[_Verb, PoolState] = {"pause": "paused", "resume": "active", "disable": "disabled", "archive": "archived"}
_REFUSED: Mapping[_Verb, tuple[PoolState, ...]] = {"pause": ("disabled", "archived"), "resume": (), "disable": ("archived",), "archive": ()}
"""Verb → the states in which it would say less than was said already: resume it first."""


class PoolControl:
    """The verbs. `based_on`: the revision that somebody looked at; `Conflict` if there is a newer one. All raise `Refused`."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def all(self, *, archived: bool = True) -> list[PoolView]:
        """All of them, in the order in which they were made."""
        picture = await self._documents.picture()
        keys = {key.id: key for key in picture.keys}
        pools = [pool for pool in picture.document.pools if archived or pool.state != "archived"]
        return [self._view(pool, keys, picture.document_revision) for pool in pools]

    async def get(self, name: str) -> PoolView:
        """One."""
        picture = await self._documents.picture()
        return self._view(_find(picture.document, name), {key.id: key for key in picture.keys}, picture.document_revision)

    async def create(self, new: NewPool, *, by: By, based_on: int | None = None) -> PoolView:
        """Make a pool, which is active."""
        async with self._documents.ledger.change(by, "pool.create", "pool", new.name, based_on=based_on) as change:
            document = change.document
            faults: list[Fault] = []
            checks.slug("name", new.name, faults)
            if any(pool.name == new.name for pool in document.pools):
                faults.append(Fault("name", "is the name of a pool already"))
            if len(document.pools) >= MAX_POOLS:
                raise Forbidden("too_many", f"there are {MAX_POOLS} pools already")
            pool = Pool(name=new.name, created_s=self._documents.ledger.now())
            pool = checked_pool(_patched(pool, new), self._documents.upstreams(document), faults)
            if faults:
                raise Invalid(faults)
            change.changed = tuple(name for name in _FIELDS if getattr(new, name) is not UNSET)
            change.put_document(msgspec.structs.replace(document, pools=(*document.pools, pool)), f"pool {pool.name} created")
            return self._view(pool, change.keys, change.revision + 1)

    async def update(self, name: str, patch: PoolPatch, *, by: By, based_on: int | None = None) -> PoolView:
        """Change the fields that are given."""

        def act(pool: Pool, document: Document) -> Pool:
            faults: list[Fault] = []
            new = checked_pool(_patched(pool, patch), self._known(pool, patch, document), faults)
            if faults:
                raise Invalid(faults)
            return new

        return await self._steer(name, "update", act, by, based_on)

    async def pause(self, name: str, *, by: By, based_on: int | None = None) -> PoolView:
        """Refuse its calls for now."""
        return await self._state(name, "pause", by, based_on)

    async def resume(self, name: str, *, by: By, based_on: int | None = None) -> PoolView:
        """Let its calls in again, whatever kept them out."""
        return await self._state(name, "resume", by, based_on)

    async def disable(self, name: str, *, by: By, based_on: int | None = None) -> PoolView:
        """Refuse its calls until further notice."""
        return await self._state(name, "disable", by, based_on)

    async def archive(self, name: str, *, by: By, based_on: int | None = None) -> PoolView:
        """Refuse its calls, and leave it out of lists."""
        return await self._state(name, "archive", by, based_on)

    async def delete(self, name: str, *, by: By, based_on: int | None = None) -> None:
        """Remove one that is archived and has only revoked keys, or none."""
        async with self._documents.ledger.change(by, "pool.delete", "pool", name, based_on=based_on) as change:
            document = change.document
            pool = _find(document, name)
            if pool.state != "archived":
                raise Forbidden("not_archived", "only an archived pool can be deleted; archive it first")
            left = sum(key.pool == name and key.state != "revoked" for key in change.keys.values())
            if left:
                raise Forbidden("has_keys", f"the pool has {left} keys that are not revoked; revoke or move them first")
            rest = tuple(each for each in document.pools if each.name != name)
            change.put_document(msgspec.structs.replace(document, pools=rest), f"pool {name} deleted")

    async def _state(self, name: str, verb: _Verb, by: By, based_on: int | None) -> PoolView:
        def act(pool: Pool, _: Document) -> Pool:
            if pool.state in _REFUSED[verb]:
                raise Forbidden(pool.state, f"the pool is {pool.state}; resume it first")
            return msgspec.structs.replace(pool, state=_STATES[verb])

        return await self._steer(name, verb, act, by, based_on)

    async def _steer(self, name: str, verb: str, act: Any, by: By, based_on: int | None) -> PoolView:
        async with self._documents.ledger.change(by, f"pool.{verb}", "pool", name, based_on=based_on) as change:
            before = _find(change.document, name)
            after: Pool = act(before, change.document)
            revision = change.revision
            if after != before:
                pools = tuple(after if pool.name == name else pool for pool in change.document.pools)
                change.changed = changed_fields(msgspec.structs.asdict(before), msgspec.structs.asdict(after))
                change.put_document(msgspec.structs.replace(change.document, pools=pools), f"pool {name}: {verb}")
                revision += 1
            return self._view(after, change.keys, revision)

    def _known(self, pool: Pool, patch: PoolPatch, document: Document) -> frozenset[str]:
        """What it names already it may go on naming, unless that is what changes."""
        known = self._documents.upstreams(document)
        return known if patch.upstreams is not UNSET else known | set(pool.upstreams)

    def _view(self, pool: Pool, keys: Mapping[str, ClientKey], revision: int) -> PoolView:
        now_s = self._documents.ledger.now()
        counts: dict[EffectiveState, int] = {}
        for key in keys.values():
            if key.pool == pool.name:
                state = effective_state(key, pool, now_s)
                counts[state] = counts.get(state, 0) + 1
        return PoolView(**msgspec.structs.asdict(pool), keys=counts, revision=revision)


def checked_pool(pool: Pool, known: frozenset[str], faults: list[Fault], at: str = "") -> Pool:
    """The pool as it is kept; what is wrong with it is added to the faults, its paths beginning with `at`."""
    label = checks.label(f"{at}label", pool.label, faults)
    checks.strategy(f"{at}strategy", pool.strategy, faults)
    faults += upstream_faults(f"{at}upstreams", pool.upstreams, known)
    if len(pool.fallbacks) > _MAX_FALLBACKS:
        faults.append(Fault(f"{at}fallbacks", f"holds more than {_MAX_FALLBACKS} models"))
    checks.patterns(f"{at}fallbacks", tuple(pool.fallbacks)[:_MAX_FALLBACKS], faults)
    fallbacks = {}
    for position, (model, others) in enumerate(pool.fallbacks.items()):
        field = f"{at}fallbacks[{position}]"
        fallbacks[model] = checks.patterns(field, others, faults)
        if model in others:
            faults.append(Fault(field, "names the model itself"))
    return msgspec.structs.replace(
        pool,
        label=label,
        upstreams=tuple(dict.fromkeys(pool.upstreams)),
        models=checks.patterns(f"{at}models", pool.models, faults),
        excluded_models=checks.patterns(f"{at}excluded_models", pool.excluded_models, faults),
        fallbacks=fallbacks,
    )


def _patched(pool: Pool, patch: PoolPatch) -> Pool:
    values = {name: value for name in _FIELDS if (value := getattr(patch, name)) is not UNSET}
    return msgspec.structs.replace(pool, **values)


def _find(document: Document, name: str) -> Pool:
    for pool in document.pools:
        if pool.name == name:
            return pool
    raise Unknown("pool", name, [pool.name for pool in document.pools])
