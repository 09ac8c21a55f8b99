"""The administrator's store, as its verbs use it. Floor 2.

Every change is one transaction: the new revision of the document, the rows of keys, the entry of the audit log, and the revision that
other processes poll. Either all of it is there, or nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Unpack

import msgspec
from sqlalchemy import select, update

from fkproxy.directory import ClientKey, Document
from fkproxy.storage import audit, audit_pruning, client_keys, copies, documents
from fkproxy.storage.database import Database
from fkproxy.storage.secrets import SecretBox, derived
from fkproxy.storage.tables import meta
from fkproxy.storage.values import (
    AuditEntry,
    AuditQuery,
    AuditRow,
    AuditVerdict,
    BackupFailed,
    Conflict,
    Picture,
    RevisionInfo,
    Tombstone,
)

__all__ = ["Change", "Store", "audit_key"]

_LONG_S = 600.0
"""For walking or rewriting everything there is."""


class Change:
    """What one transaction will write. `document` and `keys` show what is there, with what was put already."""

    def __init__(self, revision: int, document: Document, keys: Mapping[str, ClientKey], entry: AuditEntry) -> None:
        self.revision = revision
        self.document = document
        self.summary: str | None = None
        self.changed: tuple[str, ...] = entry.changed
        self.target: str = entry.target
        self._keys = dict(keys)
        self._put: dict[str, ClientKey] = {}
        self._deleted: dict[str, ClientKey] = {}

    @property
    def keys(self) -> Mapping[str, ClientKey]:
        """By id."""
        return MappingProxyType(self._keys)

    @property
    def put(self) -> list[ClientKey]:
        """Keys to write."""
        return list(self._put.values())

    @property
    def deleted(self) -> list[ClientKey]:
        """Keys to delete, as they were in the store."""
        return list(self._deleted.values())

    def put_document(self, document: Document, summary: str) -> None:
        """Make this the newest revision. `summary` is a safe label."""
        self.document = document
        self.summary = summary

    def put_key(self, key: ClientKey) -> None:
        """Add it, or replace the one with its id."""
        self._keys[key.id] = self._put[key.id] = key
        self._deleted.pop(key.id, None)

    def delete_key(self, key_id: str) -> None:
        """Raises KeyError when there is no such key."""
        self._deleted[key_id] = self._keys.pop(key_id)
        self._put.pop(key_id, None)


def audit_key(pepper: bytes) -> bytes:
    """What seals the audit log of an installation."""
    return derived(pepper, "audit")


class Store:
    """Made by `fkproxy.storage.open_store`. Everything raises StoreUnavailable when the database cannot be used now."""

    def __init__(self, database: Database, secrets: SecretBox, pepper: bytes, clock: Callable[[], float] = time.time) -> None:
        self.database = database
        self.secrets = secrets
        self._audit_key = audit_key(pepper)
        self._clock = clock

    async def picture(self) -> Picture:
        """Everything a worker needs, of one moment."""
        async with self.database.read() as connection:
            revision, pepper = (await connection.execute(select(meta.c.revision, meta.c.pepper))).one()
            document_revision, document = await documents.newest(connection)
            keys = await client_keys.everyone(connection, unreadable=True)
        return Picture(
            revision=revision,
            document=document,
            keys=tuple(keys.values()),
            pepper=msgspec.json.decode(pepper, type=dict[str, Any]),
            document_revision=document_revision,
        )

    async def revision(self) -> int:
        """Another one than that of a picture: something has changed since. Cheap, to be polled."""
        async with self.database.read() as connection:
            return int((await connection.execute(select(meta.c.revision))).scalar_one())

    @contextlib.asynccontextmanager
    async def change(self, entry: AuditEntry, *, based_on: int | None = None) -> AsyncIterator[Change]:
        """One transaction, written when the body ends; an exception in it changes nothing, the audit log neither.

        `based_on`: the revision of the document that the change was thought out for. Raises Conflict when it is not the newest any more,
        and when a new key has a secret that another one has.
        """
        async with self.database.begin(lock="control") as connection:
            revision, document = await documents.newest(connection)
            if based_on is not None and based_on != revision:
                raise Conflict(based_on, revision)
            change = Change(revision, document, await client_keys.everyone(connection), entry)
            yield change
            now_s = self._clock()
            if change.summary is not None:
                info = RevisionInfo(revision=revision + 1, at_s=now_s, actor=entry.actor, summary=change.summary)
                await documents.put(connection, change.document, info)
            if change.deleted:
                await client_keys.bury(connection, change.deleted, now_s)
            if change.put:
                await client_keys.put(connection, change.put)
            if change.summary is not None or change.deleted or change.put:
                await connection.execute(update(meta).values(revision=meta.c.revision + 1))
            said = msgspec.structs.replace(entry, changed=change.changed, target=change.target)
            await audit.append(connection, self._audit_key, [said], now_s)

    async def revisions(self, *, limit: int = 50, before: int | None = None) -> list[RevisionInfo]:
        """Of the document, the newest first."""
        async with self.database.read() as connection:
            return await documents.revisions(connection, limit, before)

    async def document(self, revision: int) -> Document | None:
        """As it was; None when it is not kept."""
        async with self.database.read() as connection:
            return await documents.at(connection, revision)

    async def tombstones(self) -> dict[str, Tombstone]:
        """Deleted keys by id."""
        async with self.database.read() as connection:
            return await client_keys.tombstones(connection)

    async def key_uses(self) -> dict[str, float]:
        """Key → when it was last used, unix seconds."""
        async with self.database.read() as connection:
            return await client_keys.uses(connection)

    async def touch_keys(self, uses: Mapping[str, float]) -> None:
        """Note when keys were used; an earlier time than the one noted changes nothing, unless that is still to come."""
        if not uses:
            return
        async with self.database.begin() as connection:
            await client_keys.touch(connection, uses, self._clock())

    async def record(self, entries: Sequence[AuditEntry]) -> None:
        """Write in the audit log what changed nothing in the store."""
        if not entries:
            return
        async with self.database.begin(lock="control") as connection:
            await audit.append(connection, self._audit_key, entries, self._clock())

    async def audit(self, **asked: Unpack[AuditQuery]) -> list[AuditRow]:
        """See `storage.audit.search`."""
        async with self.database.read() as connection:
            return await audit.search(connection, **asked)

    async def verify_audit(self) -> AuditVerdict:
        """Whether the audit log is whole and as it was written."""
        async with self.database.read(timeout_s=_LONG_S) as connection:
            return await audit.verify(connection, self._audit_key)

    async def prune_audit(self, before_s: float) -> int:
        """See `storage.audit_pruning.prune`; 0 when there is nothing left to take away. Raises `Altered`."""
        async with self.database.begin(lock="control") as connection:
            return await audit_pruning.prune(connection, self.database.kind, self._audit_key, before_s, self._clock())

    async def reseal(self, entry: AuditEntry) -> int:
        """Seal everything with the newest key, old revisions too; how many places that changed. After that older keys open backups only."""
        async with self.database.begin(lock="control", timeout_s=_LONG_S) as connection:
            changed = await documents.reseal(connection, self.secrets)
            text = (await connection.execute(select(meta.c.pepper))).scalar_one()
            pepper = msgspec.json.decode(text)
            fresh = self.secrets.reseal(pepper)
            if fresh != pepper:
                await connection.execute(update(meta).values(pepper=msgspec.json.encode(fresh).decode()))
                changed += 1
            if changed:
                await connection.execute(update(meta).values(revision=meta.c.revision + 1))
                await audit.append(connection, self._audit_key, [entry], self._clock())
        return changed

    async def backup(self, path: Path) -> None:
        """A whole copy while everybody goes on. Raises BackupFailed, which for PostgreSQL says how it is done."""
        if self.database.path is None:
            raise BackupFailed(f"a PostgreSQL database is copied by its own tool: {self.database.dump_command(path)}")
        await asyncio.to_thread(copies.copy, self.database.path, path)

    async def close(self) -> None:
        """Close the connections."""
        await self.database.close()
