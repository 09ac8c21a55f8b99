"""A store made of lists, and a box of secrets that can lose its key."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from fkproxy.directory import ClientKey, Document
from fkproxy.storage.values import (
    ACTIONS,
    Actor,
    AuditEntry,
    AuditRow,
    AuditVerdict,
    Conflict,
    Picture,
    RevisionInfo,
    SecretLost,
    StoreUnavailable,
)


class FakeBox:
    """What it seals is here and not in the document. `lost`: versions whose key is gone."""

    def __init__(self) -> None:
        self.lost: set[int] = set()
        self._held: dict[str, str] = {}

    def seal(self, value: str) -> dict[str, Any]:
        number = str(len(self._held))
        self._held[number] = value
        return {"sealed": {"id": number, "version": 1, "data": "", "fingerprint": self.fingerprint(value)}}

    def open(self, sealed: Mapping[str, Any]) -> str:
        parts = sealed["sealed"]
        if parts["version"] in self.lost:
            raise SecretLost(parts["version"], "the key of that version is not there")
        return self._held[parts["id"]]

    def fingerprint(self, value: str) -> str:
        return f"sha256:{hashlib.sha256(value.encode()).hexdigest()[:12]}"


class FakeChange:
    """What one transaction would write."""

    def __init__(self, revision: int, document: Document, keys: Mapping[str, ClientKey], target: str) -> None:
        self.revision = revision
        self.document = document
        self.keys = keys
        self.changed: tuple[str, ...] = ()
        self.target = target
        self.new_document: tuple[Document, str] | None = None
        self.new_keys: dict[str, ClientKey | None] = {}

    def put_document(self, document: Document, summary: str) -> None:
        self.new_document = (msgspec.json.decode(msgspec.json.encode(document), type=Document), summary)

    def put_key(self, key: ClientKey) -> None:
        self.new_keys[key.id] = key

    def delete_key(self, key_id: str) -> None:
        self.new_keys[key_id] = None


class FakeStore:
    """`away`: everything raises `StoreUnavailable`."""

    def __init__(self) -> None:
        self.documents: list[tuple[RevisionInfo, Document]] = []
        self.keys: dict[str, ClientKey] = {}
        self.entries: list[AuditEntry] = []
        self.uses: dict[str, float] = {}
        self.away = False
        self.changes = 0

    def _here(self) -> None:
        if self.away:
            raise StoreUnavailable("locked", "somebody else writes")

    @property
    def newest(self) -> Document:
        return self.documents[-1][1] if self.documents else Document()

    async def picture(self) -> Picture:
        self._here()
        return Picture(revision=self.changes, document=self.newest, keys=tuple(self.keys.values()), document_revision=len(self.documents))

    @asynccontextmanager
    async def change(self, entry: AuditEntry, *, based_on: int | None = None) -> AsyncIterator[FakeChange]:
        self._here()
        revision = len(self.documents)
        if based_on is not None and based_on != revision:
            raise Conflict(based_on, revision)
        change = FakeChange(revision, self.newest, dict(self.keys), entry.target)
        yield change
        if change.new_document is not None:
            document, summary = change.new_document
            info = RevisionInfo(revision=revision + 1, at_s=entry.at_s, actor=entry.actor, summary=summary)
            self.documents.append((info, document))
        for id_, key in change.new_keys.items():
            if key is None:
                del self.keys[id_]
            else:
                self.keys[id_] = key
        self.changes += 1
        await self.record([msgspec.structs.replace(entry, changed=change.changed, target=change.target)])

    async def revisions(self, *, limit: int = 50, before: int | None = None) -> list[RevisionInfo]:
        found = [info for info, _ in reversed(self.documents) if before is None or info.revision < before]
        return found[:limit]

    async def document(self, revision: int) -> Document | None:
        return next((document for info, document in self.documents if info.revision == revision), None)

    async def record(self, entries: Sequence[AuditEntry]) -> None:
        self._here()
        assert {entry.action for entry in entries} <= ACTIONS
        self.entries += entries

    async def audit(self, *, limit: int = 50, before_id: int | None = None, **wanted: Any) -> list[AuditRow]:
        rows = [AuditRow(id=number, hash="", **msgspec.structs.asdict(entry)) for number, entry in enumerate(self.entries, 1)]
        chosen = [row for row in rows if all(value is None or getattr(row, name) == value for name, value in wanted.items())]
        return [row for row in reversed(chosen) if before_id is None or row.id < before_id][:limit]

    async def verify_audit(self) -> AuditVerdict:
        return AuditVerdict(ok=True, rows=len(self.entries))

    async def key_uses(self) -> dict[str, float]:
        self._here()
        return self.uses


ADMINISTRATOR = Actor(kind="administrator", name="master", peer="192.0.2.0/24")
