"""Who did what: rows that are only added, each sealing all before it. Floor 2. Works within the caller's transaction.

A row's hash is HMAC-SHA256, with a key derived from the installation's pepper, over its number, its content and the hash before it. So a
row that was changed, moved or taken out breaks the chain where it stood, and nobody mends it who has the database but not the key.
`meta` counts the rows and holds the newest hash, both under an HMAC of their own, so that rows cut off at the end are missed as well.
What this cannot show is a whole database put back to an earlier day; the hash of the newest row, noted elsewhere, can.

What is old may be taken away (`storage.audit_pruning`). Then an entry of the log itself says up to which number, and with which hash
the chain goes on from there: without the key nobody can write such an entry, so rows that were taken away by anybody else are missed.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import Select

from fkproxy.storage.tables import audit, meta
from fkproxy.storage.values import ACTIONS, Actor, AuditEntry, AuditRow, AuditVerdict
from fkproxy.storage.words import fields_of
from fkproxy.wire.numbers import whole_number

__all__ = ["MAX_PAGE", "PRUNE", "anchor", "append", "begin", "search", "verify", "walk"]

MAX_PAGE = 1000
PRUNE = "audit.prune"
"""The action of entries that say what was taken away: `target` is the last number, `note` its hash."""

_BATCH = 500


async def begin(connection: AsyncConnection, key: bytes) -> None:
    """Seal the empty log."""
    await connection.execute(update(meta).values(audit_rows=0, audit_hash="", audit_seal=_seal(key, 0, "")))


async def append(connection: AsyncConnection, key: bytes, entries: Sequence[AuditEntry], now_s: float) -> None:
    """Add these, in order. The caller is the only one who does. Raises ValueError for an action that is not in ACTIONS."""
    if unknown := {entry.action for entry in entries} - ACTIONS:
        raise ValueError(f"not an action of the audit log: {', '.join(sorted(unknown))}")
    count, newest = (await connection.execute(select(meta.c.audit_rows, meta.c.audit_hash))).one()
    rows = []
    for entry in entries:
        count += 1
        timed = entry if entry.at_s else msgspec.structs.replace(entry, at_s=now_s)
        body = msgspec.json.encode(timed).decode()
        newest = _hash(key, newest, count, body)
        rows.append({"id": count, **_columns(timed), "body": body, "hash": newest})
    await connection.execute(insert(audit), rows)
    await connection.execute(update(meta).values(audit_rows=count, audit_hash=newest, audit_seal=_seal(key, count, newest)))


async def search(
    connection: AsyncConnection,
    *,
    limit: int = 50,
    before_id: int | None = None,
    action: str | None = None,
    outcome: str | None = None,
    target: str | None = None,
    since_s: float | None = None,
    until_s: float | None = None,
) -> list[AuditRow]:
    """The newest first, at most `limit`, MAX_PAGE. See `AuditQuery`."""
    query: Select[tuple[int, str, str]] = select(audit.c.id, audit.c.body, audit.c.hash)
    if before_id is not None:
        query = query.where(audit.c.id < before_id)
    if action is not None:
        query = query.where(audit.c.action == action if "." in action else audit.c.action.startswith(f"{action}.", autoescape=True))
    if outcome is not None:
        query = query.where(audit.c.outcome == outcome)
    if target is not None:
        query = query.where(audit.c.target == target)
    if since_s is not None:
        query = query.where(audit.c.at_s >= since_s)
    if until_s is not None:
        query = query.where(audit.c.at_s < until_s)
    rows = await connection.execute(query.order_by(audit.c.id.desc()).limit(min(limit, MAX_PAGE)))
    return [_row(row.id, row.body, row.hash) for row in rows]


async def anchor(connection: AsyncConnection) -> tuple[int, str]:
    """(the number, the hash) that the chain goes on from, as the log says; whether that is so is for the walk to show."""
    query = select(audit.c.body).where(audit.c.action == PRUNE).order_by(audit.c.id.desc()).limit(1)
    body = (await connection.execute(query)).scalar_one_or_none()
    if body is None:
        return 0, ""
    said = msgspec.json.decode(body, type=dict[str, Any])
    number = whole_number(str(said.get("target", "")))
    return (number, str(said.get("note", ""))) if number is not None else (0, "")


async def walk(connection: AsyncConnection, key: bytes, begin: tuple[int, str], until: int | None = None) -> tuple[int, str, bool]:
    """(the last number that fits, its hash, whether all rows do) from behind `begin`, up to `until` or to the end."""
    (seen, newest), read = begin, 0
    ending = [] if until is None else [audit.c.id <= until]
    while rows := (await connection.execute(select(audit).where(audit.c.id > read, *ending).order_by(audit.c.id).limit(_BATCH))).all():
        for row in rows:
            expected = _hash(key, newest, seen + 1, row.body)
            if row.id != seen + 1 or not hmac.compare_digest(expected, row.hash) or not _agrees(row):
                return seen, newest, False
            seen, newest = row.id, expected
        read = seen
    return seen, newest, True


async def verify(connection: AsyncConnection, key: bytes) -> AuditVerdict:
    """Walk the whole chain, from where it begins."""
    head = (await connection.execute(select(meta.c.audit_rows, meta.c.audit_hash, meta.c.audit_seal))).one()
    begin = await anchor(connection)
    seen, newest, whole = await walk(connection, key, begin)
    rows, pruned = seen - begin[0], begin[0]
    if not whole:
        return AuditVerdict(ok=False, rows=rows, pruned=pruned, first_bad_id=seen + 1)
    if seen != head.audit_rows or newest != head.audit_hash or not hmac.compare_digest(head.audit_seal, _seal(key, seen, newest)):
        return AuditVerdict(ok=False, rows=rows, pruned=pruned, first_bad_id=min(seen, head.audit_rows) + 1)
    return AuditVerdict(ok=True, rows=rows, pruned=pruned)


def _hash(key: bytes, before: str, number: int, body: str) -> str:
    return hmac.digest(key, f"{before}\n{number}\n{body}".encode(), "sha256").hex()


def _seal(key: bytes, count: int, newest: str) -> str:
    return hmac.digest(key, f"head\n{count}\n{newest}".encode(), "sha256").hex()


def _columns(entry: AuditEntry) -> dict[str, str | float]:
    """What is repeated beside the content, for searching."""
    return {"at_s": entry.at_s, "action": entry.action, "outcome": entry.outcome, "target": entry.target}


def _agrees(row: Row[tuple[int, float, str, str, str, str, str]]) -> bool:
    columns = _columns(_row(row.id, row.body, row.hash))
    return all(row._mapping[name] == value for name, value in columns.items())


def _row(number: int, body: str, sealed: str) -> AuditRow:
    """Words of a newer program are shown as they are."""
    said = fields_of(msgspec.json.decode(body, type=dict[str, Any]), AuditEntry)
    said["actor"] = Actor(**fields_of(said["actor"], Actor))
    said["changed"] = tuple(said.get("changed", ()))
    return AuditRow(**said, id=number, hash=sealed)
