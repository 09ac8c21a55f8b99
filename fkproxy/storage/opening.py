"""From a URL to a store that can be used. Floor 2. Loads the database libraries; `fkproxy.storage.open_store` does so when it is called."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import select, update

from fkproxy.storage import audit, files
from fkproxy.storage.database import Database
from fkproxy.storage.engines import Deadlines
from fkproxy.storage.schema import Migrated, bring_up, level_of
from fkproxy.storage.secrets import KeyFile, SecretBox, load_keys, open_box
from fkproxy.storage.store import Store, audit_key
from fkproxy.storage.tables import meta
from fkproxy.storage.values import Actor, AuditEntry, Opened, StoreUnavailable

__all__ = ["open_at"]

_SYSTEM = Actor(kind="system")


async def open_at(
    url: str,
    *,
    secret_keys: str | None = None,
    key_file: Path | None = None,
    deadlines: Deadlines | None = None,
    may_make: bool = True,
    clock: Callable[[], float] = time.time,
) -> tuple[Store, Opened]:
    """See `fkproxy.storage.open_store`."""
    database = Database(url, deadlines)
    file = key_file or (database.path.with_name("secrets.key") if database.path else None)
    if file is None and not secret_keys:
        raise ValueError("a store in PostgreSQL needs keys for secrets, or the name of a file for them")
    try:
        if not may_make and not (await level_of(database)).level:
            raise StoreUnavailable("gone", "the database is empty, and there was a store in it")
        if database.path is not None:
            await asyncio.to_thread(files.prepare, database.path)
        migrated = await bring_up(database)
        box, pepper, kept_in = await _secrets(database, secret_keys, file or Path())
        store = Store(database, box, pepper, clock)
        await store.record(_told(migrated, kept_in))
    except BaseException:
        await database.close()
        raise
    opened = Opened(
        migrated_from=migrated.before if migrated else None,
        backup=migrated.backup if migrated else None,
        key_file_made=kept_in.path if kept_in and kept_in.made else None,
    )
    return store, opened


async def _secrets(database: Database, configured: str | None, file: Path) -> tuple[SecretBox, bytes, KeyFile | None]:
    sealed = await _pepper(database)
    keys, kept_in = await asyncio.to_thread(load_keys, configured, file, may_make=not sealed)
    if not sealed:
        await _make_pepper(database, SecretBox(keys))
        sealed = await _pepper(database)
    box, pepper = await asyncio.to_thread(open_box, configured, file, sealed)
    return box, pepper, kept_in


async def _pepper(database: Database) -> dict[str, Any]:
    """As it is sealed; empty before the first opening."""
    async with database.read() as connection:
        text = (await connection.execute(select(meta.c.pepper))).scalar_one()
    return msgspec.json.decode(text, type=dict[str, Any]) if text else {}


async def _make_pepper(database: Database, box: SecretBox) -> None:
    """Of several processes that open a new store at once, one makes it."""
    sealed = box.fresh_pepper()
    _, pepper = box.peppered(sealed)
    async with database.begin(lock="control") as connection:
        if (await connection.execute(select(meta.c.pepper))).scalar_one() == "":
            await connection.execute(update(meta).values(pepper=msgspec.json.encode(sealed).decode()))
            await audit.begin(connection, audit_key(pepper))


def _told(migrated: Migrated | None, kept_in: KeyFile | None) -> list[AuditEntry]:
    entries = []
    if migrated is not None:
        action = "store.migrate" if migrated.before else "store.create"
        entries.append(AuditEntry(actor=_SYSTEM, action=action, note=f"level {migrated.before} to {migrated.after}"))
    if kept_in is not None and kept_in.made:
        entries.append(AuditEntry(actor=_SYSTEM, action="secret.make", target=kept_in.path.name))
    return entries
