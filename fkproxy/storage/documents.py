"""The document and its revisions, as rows. Floor 2. Every function works within the caller's transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from fkproxy.directory import Document
from fkproxy.storage.secrets import SecretBox
from fkproxy.storage.tables import documents
from fkproxy.storage.values import RevisionInfo, StoreUnavailable
from fkproxy.storage.words import actor_of, document_of

__all__ = ["KEPT", "at", "newest", "put", "reseal", "revisions"]

KEPT = 200
"""Revisions that are kept. The newest is always among them."""

_Kind = TypeVar("_Kind")


async def newest(connection: AsyncConnection) -> tuple[int, Document]:
    """Its revision and itself; 0 and an empty one before the first."""
    row = (await connection.execute(select(documents.c.revision, documents.c.body).order_by(documents.c.revision.desc()).limit(1))).first()
    return (0, Document()) if row is None else (row.revision, _decoded(row.body, document_of, row.revision))


async def at(connection: AsyncConnection, revision: int) -> Document | None:
    """As it was; None for a revision that never was, or is not kept any more."""
    body = (await connection.execute(select(documents.c.body).where(documents.c.revision == revision))).scalar_one_or_none()
    return None if body is None else _decoded(body, document_of, revision)


async def revisions(connection: AsyncConnection, limit: int, before: int | None) -> list[RevisionInfo]:
    """The newest first."""
    query = select(documents.c.revision, documents.c.at_s, documents.c.actor, documents.c.summary)
    if before is not None:
        query = query.where(documents.c.revision < before)
    rows = await connection.execute(query.order_by(documents.c.revision.desc()).limit(limit))
    return [
        RevisionInfo(revision=row.revision, at_s=row.at_s, actor=_decoded(row.actor, actor_of, row.revision), summary=row.summary)
        for row in rows
    ]


async def put(connection: AsyncConnection, document: Document, info: RevisionInfo) -> None:
    """Add a revision, the one after the newest, and forget the oldest."""
    actor, body = msgspec.json.encode(info.actor).decode(), msgspec.json.encode(document).decode()
    row = {"revision": info.revision, "at_s": info.at_s, "actor": actor, "summary": info.summary, "body": body}
    await connection.execute(insert(documents).values(row))
    await connection.execute(delete(documents).where(documents.c.revision <= info.revision - KEPT))


async def reseal(connection: AsyncConnection, box: SecretBox) -> int:
    """Seal the secrets of every revision with the newest key; how many revisions that changed. They say the same as before."""
    changed = 0
    for row in (await connection.execute(select(documents.c.revision, documents.c.body))).all():
        # As plain JSON: what a newer program wrote in it stays.
        before = _decoded(row.body, msgspec.json.decode, row.revision)
        after = box.reseal(before)
        if after != before:
            body = msgspec.json.encode(after).decode()
            await connection.execute(update(documents).where(documents.c.revision == row.revision).values(body=body))
            changed += 1
    return changed


def _decoded(text: str, decode: Callable[[str], _Kind], revision: int) -> _Kind:
    try:
        return decode(text)
    except msgspec.DecodeError:
        raise StoreUnavailable("broken", f"revision {revision} of the document cannot be read by this program") from None
