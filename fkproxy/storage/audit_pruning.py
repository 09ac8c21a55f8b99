"""Taking away what is old of the audit log, so that the rest can be verified still. Floor 2. Works within the caller's transaction.

The rows, the entry that says so, and the guards against deletion that stand aside meanwhile: all of it happens, or nothing. Only rows
that are as they were written are taken away: what somebody did to the log is not covered up by its age.
"""

from __future__ import annotations

from sqlalchemy import delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from fkproxy.storage.audit import PRUNE, anchor, append, walk
from fkproxy.storage.database import Kind
from fkproxy.storage.tables import audit
from fkproxy.storage.values import Actor, AuditEntry

__all__ = ["Altered", "prune"]

_GUARD = {"sqlite": "audit_loses_nothing", "postgresql": "audit_keeps_rows"}
"""The trigger that refuses to delete."""

_AT_ONCE = 1000


class Altered(Exception):
    """The rows are not as they were written; nothing was taken away. `number`: the first that does not fit."""

    def __init__(self, number: int) -> None:
        super().__init__(f"entry {number} of the audit log is missing or altered: nothing of it is taken away")
        self.number = number


async def prune(connection: AsyncConnection, kind: Kind, key: bytes, before_s: float, now_s: float) -> int:
    """How many of the oldest rows were taken away, some hundred at most: those before the first that is not older than `before_s`.

    The caller is the only one who writes. Raises `Altered`.
    """
    begin = await anchor(connection)
    first_kept = (await connection.execute(select(func.min(audit.c.id)).where(audit.c.at_s >= before_s))).scalar()
    newest = (await connection.execute(select(func.max(audit.c.id)))).scalar() or 0
    last = min((newest if first_kept is None else first_kept) - 1, begin[0] + _AT_ONCE)
    # Entries of earlier removals alone are no reason for another one, which would be the reason for the next.
    others = select(func.count()).select_from(audit).where(audit.c.id <= last, audit.c.action != PRUNE)
    if last <= begin[0] or not (await connection.execute(others)).scalar():
        return 0
    seen, sealed, whole = await walk(connection, key, begin, last)
    if not whole or seen != last:
        raise Altered(seen + 1)
    said = AuditEntry(actor=Actor(kind="system"), action=PRUNE, target_kind="audit", target=str(last), note=sealed)
    await append(connection, key, [said], now_s)
    await _delete(connection, kind, last)
    return last - begin[0]


async def _delete(connection: AsyncConnection, kind: Kind, last: int) -> None:
    guard, rows = _GUARD[kind], delete(audit).where(audit.c.id <= last)
    if kind == "postgresql":
        await connection.execute(text(f"ALTER TABLE audit DISABLE TRIGGER {guard}"))
        await connection.execute(rows)
        await connection.execute(text(f"ALTER TABLE audit ENABLE TRIGGER {guard}"))
        return
    made = (await connection.execute(text("SELECT sql FROM sqlite_master WHERE name = :guard"), {"guard": guard})).scalar_one()
    await connection.execute(text(f"DROP TRIGGER {guard}"))
    await connection.execute(rows)
    await connection.execute(text(made))
