"""The whole of what is managed: taken out, put back, compared, rolled back. Floor 3."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fkproxy.control import checks
from fkproxy.control.documents import Documents, changed_fields
from fkproxy.control.fallback_list import MASKED, WrongList, as_list, entries_of
from fkproxy.control.ledger import By
from fkproxy.control.pools import MAX_POOLS, checked_pool
from fkproxy.control.providers import MAX_PROVIDERS, sealed_entries
from fkproxy.control.refusals import Fault, Forbidden, Invalid, Unknown
from fkproxy.control.seams import Change
from fkproxy.control.secret_fields import is_masked, masked, opened
from fkproxy.directory import Document, Pool
from fkproxy.storage.values import RevisionInfo

__all__ = ["ConfigControl", "Exported", "Replaced"]

_LOOKED_BACK = 50
"""Revisions in which the secrets of a backup are looked for."""

_MAX_PAGE = 1000
_MAX_REVISION = 2**31 - 1
"""What the store counts with."""


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What is managed, as `restore` takes it. With secrets it does not show itself in logs."""

    revision: int
    providers: list[dict[str, Any]]
    pools: list[Pool]
    settings: dict[str, str]

    def __repr__(self) -> str:
        return f"Exported(revision={self.revision}, …)"


class Replaced(msgspec.Struct, frozen=True, kw_only=True):
    """How many providers a list left, and what of it was not taken."""

    count: int
    ignored: tuple[str, ...] = ()


def _with(document: Document, forgotten: Sequence[dict[str, Any]]) -> Document:
    """The document, and providers that it has no more."""
    there = {entry.get("name") for entry in document.providers}
    return msgspec.structs.replace(
        document, providers=(*document.providers, *(entry for entry in forgotten if entry.get("name") not in there))
    )


def _shows_secrets(given: Any) -> bool:
    """Whether something in it may be what was shown of a secret."""
    if isinstance(given, Mapping):
        return is_masked(given) or any(map(_shows_secrets, given.values()))
    if isinstance(given, str):
        return given.startswith(MASKED)
    return isinstance(given, Sequence) and any(map(_shows_secrets, given))


class ConfigControl:
    """The verbs. `based_on`: the revision that somebody looked at; `Conflict` if there is a newer one. All raise `Refused`."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def export(self, *, with_secrets: bool = False, by: By) -> Exported:
        """All of it; secrets are masked unless they are asked for, which is written down first."""
        if not with_secrets:
            picture = await self._documents.picture()
            return self._exported(picture.document_revision, picture.document, with_secrets)
        # One transaction: without its entry in the audit log no secret leaves.
        async with self._documents.ledger.change(by, "config.export_secrets", "config") as change:
            return self._exported(change.revision, change.document, with_secrets)

    async def restore(self, given: Mapping[str, Any], *, by: By, based_on: int | None = None) -> Exported:
        """Put all of it in place of what there is. Masked secrets keep what is stored, by names of provider and credential."""
        checks.bounded(given)
        empty = not any(given.get(name) for name in ("providers", "pools", "settings"))
        forgotten = await self._forgotten(given)
        async with self._documents.ledger.change(by, "config.clear" if empty else "config.restore", "config", based_on=based_on) as change:
            faults: list[Fault] = []
            after = self._document(given, _with(change.document, forgotten), faults)
            if faults:
                raise Invalid(faults)
            revision = await self._take(change, after, "cleared" if empty else "restored")
        return self._exported(revision, after, with_secrets=False)

    async def revisions(self, *, limit: int = 50, before: int | None = None) -> list[RevisionInfo]:
        """The newest first."""
        before = None if before is None else max(0, min(before, _MAX_REVISION))
        return await self._documents.ledger.store().revisions(limit=max(1, min(limit, _MAX_PAGE)), before=before)

    async def diff(self, older: int, newer: int) -> tuple[str, ...]:
        """The paths of what differs between two revisions, without any value."""
        return changed_fields(await self._revision(older), await self._revision(newer))

    async def rollback(self, revision: int, *, by: By, based_on: int | None = None) -> Exported:
        """Make an older revision the newest, with the secrets that it had."""
        document = await self._revision(revision) if revision else Document()
        async with self._documents.ledger.change(by, "config.roll_back", "config", str(revision), based_on=based_on) as change:
            newest = await self._take(change, document, f"rolled back to {revision}")
        return self._exported(newest, document, with_secrets=False)

    # --- providers as another system has them

    async def as_fallback_list(self, *, with_secrets: bool = False, by: By) -> list[dict[str, Any]]:
        """The managed providers in the shape of `fallback_list`."""
        exported = await self.export(with_secrets=with_secrets, by=by)
        return as_list(exported.providers)

    async def replace_from_fallback_list(self, given: Any, *, by: By) -> Replaced:
        """Put these in place of all managed providers; an empty list clears them. Raises `Invalid` with the words of that system."""
        checks.bounded(given)
        if isinstance(given, list) and len(given) > MAX_PROVIDERS:
            raise WrongList(f"Config must be an array of at most {MAX_PROVIDERS} providers")
        action = "config.clear" if given == [] else "config.restore"
        forgotten = await self._forgotten(given)
        async with self._documents.ledger.change(by, action, "config", "providers") as change:
            document = change.document
            configuration = self._documents.configuration
            declared = {provider.name for provider in configuration.providers(Document())}
            known = _with(document, forgotten)
            before = [masked(entry, self._documents.box) for entry in known.providers]
            entries, ignored = entries_of(given, before, configuration.provider_fields, declared)
            faults: list[Fault] = []
            kept = sealed_entries(entries, known, self._documents, faults)
            if faults:
                raise Invalid(faults)
            await self._take(change, msgspec.structs.replace(document, providers=kept), "providers replaced")
        return Replaced(count=len(kept), ignored=ignored)

    async def _forgotten(self, given: Any) -> tuple[dict[str, Any], ...]:
        """Providers of earlier revisions, the newest of each name, where secrets that were shown may be theirs: a backup is put back after
        everything was cleared."""
        if not await asyncio.to_thread(_shows_secrets, given):
            return ()
        store = self._documents.ledger.store()
        found: dict[Any, dict[str, Any]] = {}
        for revision in await store.revisions(limit=_LOOKED_BACK):
            document = await store.document(revision.revision)
            for entry in document.providers if document is not None else ():
                found.setdefault(entry.get("name"), entry)
        return tuple(found.values())

    def _exported(self, revision: int, document: Document, with_secrets: bool) -> Exported:
        return Exported(
            revision=revision,
            providers=[self._shown(entry, with_secrets) for entry in document.providers],
            pools=list(document.pools),
            settings=dict(document.settings),
        )

    def _shown(self, entry: dict[str, Any], with_secrets: bool) -> dict[str, Any]:
        if not with_secrets:
            return masked(entry, self._documents.box)
        plain, lost = opened(entry, self._documents.box)
        if lost:
            raise Forbidden("secret_lost", f"a secret of {entry.get('name')} cannot be opened: the key that sealed it is not there")
        return plain

    async def _revision(self, revision: int) -> Document:
        known = 0 < revision <= _MAX_REVISION
        document = await self._documents.ledger.store().document(revision) if known else None
        if document is None:
            raise Unknown("revision")
        return document

    async def _take(self, change: Change, after: Document, summary: str) -> int:
        """Which revision it is."""
        await self._documents.check(after, keys=change.keys)
        change.changed = changed_fields(change.document, after)
        if after == change.document:
            return change.revision
        change.put_document(after, summary)
        return change.revision + 1

    def _document(self, given: Mapping[str, Any], before: Document, faults: list[Fault]) -> Document:
        unknown = [name for name in given if name not in ("revision", "providers", "pools", "settings")]
        if unknown:
            faults.append(Fault("configuration", "holds more than providers, pools and settings"))
        providers = given.get("providers") or []
        if not isinstance(providers, Sequence) or isinstance(providers, str):
            faults.append(Fault("providers", "is not a list"))
            providers = []
        settings = given.get("settings") or {}
        if not isinstance(settings, Mapping) or not all(isinstance(text, str) for text in settings.values()):
            faults.append(Fault("settings", "is not a table of texts"))
            settings = {}
        draft = Document(
            providers=sealed_entries(providers, before, self._documents, faults),
            pools=_pools(given.get("pools") or [], faults),
            settings=dict(settings),
        )
        known = self._documents.upstreams(draft)
        pools = tuple(checked_pool(pool, known, faults, f"pools.{pool.name}.") for pool in draft.pools)
        return msgspec.structs.replace(draft, pools=pools)


def _pools(given: Any, faults: list[Fault]) -> tuple[Pool, ...]:
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) > MAX_POOLS:
        faults.append(Fault("pools", f"is not a list of at most {MAX_POOLS}"))
        return ()
    pools: dict[str, Pool] = {}
    for number, each in enumerate(given):
        at = f"pools[{number}]"
        try:
            pool = msgspec.convert(each, Pool)
        except msgspec.ValidationError:
            faults.append(Fault(at, "is not a pool", "fields and their kinds as an export has them"))
            continue
        if isinstance(each, Mapping) and not set(each) <= set(Pool.__struct_fields__):
            faults.append(Fault(at, "holds fields that a pool does not have", ", ".join(Pool.__struct_fields__)))
        checks.slug(f"{at}.name", pool.name, faults)
        if pool.name in pools:
            faults.append(Fault(f"{at}.name", "is there twice"))
        pools[pool.name] = pool
    return tuple(pools.values())
