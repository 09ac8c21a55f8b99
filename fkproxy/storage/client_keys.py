"""Client keys as rows, what is left of deleted ones, and when they were last used. Floor 2. Works within the caller's transaction."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence

import msgspec
from sqlalchemy import bindparam, delete, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from fkproxy.directory import ClientKey
from fkproxy.storage.tables import client_keys, key_secrets, key_tombstones, key_uses
from fkproxy.storage.values import Tombstone
from fkproxy.storage.words import key_of

__all__ = ["bury", "everyone", "put", "tombstones", "touch", "uses"]

_log = logging.getLogger(__name__)

_DELETE_KEY = delete(client_keys).where(client_keys.c.id == bindparam("name"))
"""Its secrets go with it."""
_DELETE_TOMBSTONE = delete(key_tombstones).where(key_tombstones.c.id == bindparam("name"))

# The same words in both databases. Never back in time: several processes report. But for a time to come: some clock was wrong.
_TOUCH = text(
    "INSERT INTO key_uses (key_id, last_used_s) VALUES (:key_id, :at_s) ON CONFLICT (key_id) "
    "DO UPDATE SET last_used_s = excluded.last_used_s "
    "WHERE key_uses.last_used_s < excluded.last_used_s OR key_uses.last_used_s > :now_s"
)


async def everyone(connection: AsyncConnection, *, unreadable: bool = False) -> dict[str, ClientKey]:
    """All keys by id. For one that this program cannot read, which the log names, stands a paused one without secrets: it admits nobody,
    and still there is a key. Only with `unreadable`: nobody is to write what he could not read."""
    found: dict[str, ClientKey] = {}
    for row in await connection.execute(select(client_keys.c.id, client_keys.c.pool, client_keys.c.body).order_by(client_keys.c.id)):
        try:
            found[row.id] = key_of(row.body)
        except msgspec.DecodeError:
            _log.warning("client key %s cannot be read by this program and is not let in", row.id)
            if unreadable:
                found[row.id] = ClientKey(id=row.id, pool=row.pool, state="paused")
    return found


async def put(connection: AsyncConnection, keys: Sequence[ClientKey]) -> None:
    """Write these, new or not. A secret that another key has is a Conflict at the door."""
    names = [{"name": key.id} for key in keys]
    await connection.execute(_DELETE_KEY, names)
    await connection.execute(_DELETE_TOMBSTONE, names)
    rows = [{"id": key.id, "state": key.state, "pool": key.pool, "body": msgspec.json.encode(key).decode()} for key in keys]
    await connection.execute(insert(client_keys), rows)
    if digests := [{"digest": secret.digest, "key_id": key.id} for key in keys for secret in key.secrets]:
        await connection.execute(insert(key_secrets), digests)


async def bury(connection: AsyncConnection, keys: Collection[ClientKey], at_s: float) -> None:
    """Delete these, with their secrets; a name stays for their usage."""
    await connection.execute(_DELETE_KEY, [{"name": key.id} for key in keys])
    rows = [{"id": key.id, "label": key.label, "prefix": key.prefix, "pool": key.pool, "deleted_s": at_s} for key in keys]
    await connection.execute(insert(key_tombstones), rows)


async def tombstones(connection: AsyncConnection) -> dict[str, Tombstone]:
    """By id."""
    rows = await connection.execute(select(key_tombstones))
    return {row.id: Tombstone(**row._mapping) for row in rows}


async def uses(connection: AsyncConnection) -> dict[str, float]:
    """Key → when it was last used, unix seconds."""
    return {row.key_id: row.last_used_s for row in await connection.execute(select(key_uses))}


async def touch(connection: AsyncConnection, seen: Mapping[str, float], now_s: float) -> None:
    """Note uses. In one order, so that two processes that do this cannot wait for each other."""
    await connection.execute(_TOUCH, [{"key_id": key_id, "at_s": at_s, "now_s": now_s} for key_id, at_s in sorted(seen.items())])
