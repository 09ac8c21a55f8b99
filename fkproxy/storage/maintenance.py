"""What an administrator does to a store from the command line. Floor 2. Each verb gives a report; the words are for people.

They open the store for themselves, also beside a running service, and raise what `open_store` raises.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
from sqlalchemy import select

from fkproxy.storage import audit, copies, open_store
from fkproxy.storage.database import Database
from fkproxy.storage.inspection import inspect
from fkproxy.storage.schema import THIS, Level, due, level_of
from fkproxy.storage.secrets import add_key, open_box
from fkproxy.storage.store import Store, audit_key
from fkproxy.storage.tables import LEVEL, meta
from fkproxy.storage.values import Actor, AuditEntry, AuditVerdict, Opened

__all__ = ["Report", "migrate", "rotate_secrets", "standing", "verify", "verify_copy"]

_LOCAL = Actor(kind="local")
_WALK_S = 600.0
"""For looking at everything there is."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`ok` is for the exit code."""

    ok: bool
    lines: tuple[str, ...]


async def migrate(url: str, *, secret_keys: str | None = None, key_file: Path | None = None) -> Report:
    """Make the store, or bring it to this program's level, and say where it stands."""
    async with _opened(url, secret_keys, key_file) as (store, opened):
        found = await level_of(store.database)
        lines = [_went(opened), f"level {found.level}, written by version {found.written_by}; this program has level {LEVEL}"]
        if opened.backup:
            lines.append(f"the database as it was is kept as {opened.backup}")
        if opened.key_file_made:
            lines.append(f"a key for secrets was made: {opened.key_file_made}; keep a copy, nothing sealed can be read without it")
    return Report(ok=True, lines=tuple(lines))


async def standing(url: str) -> Report:
    """What `migrate` would do; `ok` when that is nothing. Changes nothing."""
    database = Database(url)
    try:
        if database.path is not None and not database.path.exists():
            return Report(ok=False, lines=("there is no store yet: the service makes one at its first start",))
        found = await _level_of(database)
    finally:
        await database.close()
    waits = due(found, THIS, database.path)
    lines = [f"from level {found.level} to {LEVEL}: a migration is due" if waits else "nothing to migrate"]
    if found.level:
        lines.append(f"level {found.level}, written by version {found.written_by}; this program has level {LEVEL}")
    return Report(ok=not waits, lines=tuple(lines))


async def _level_of(database: Database) -> Level:
    if database.path is None:
        return await level_of(database)
    seen = await asyncio.to_thread(inspect, database.path, 0.0)
    return Level(level=seen.level, oldest_reader=seen.oldest_reader, written_by=seen.written_by)


def _went(opened: Opened) -> str:
    if opened.migrated_from is None:
        return "nothing to migrate"
    return "a new store was made" if opened.migrated_from == 0 else f"migrated from level {opened.migrated_from}"


async def rotate_secrets(url: str, *, secret_keys: str | None = None, key_file: Path | None = None) -> Report:
    """Seal everything with a newer key. A key file gets one; configured keys must have a newer version in front of the old ones.

    The old key stays where it is: backups and snapshots made before need it, and so do processes until they read the store again.
    """
    async with _opened(url, secret_keys, key_file) as (store, _):
        if not secret_keys:
            store.secrets.learn(add_key(key_file or _beside(store.database)))
        version = store.secrets.versions[-1]
        changed = await store.reseal(AuditEntry(actor=_LOCAL, action="secret.rotate", note=f"version {version}"))
    if not changed:
        return Report(ok=True, lines=(f"everything is sealed with version {version} already; a higher version in front would be used",))
    return Report(
        ok=True,
        lines=(
            f"sealed with version {version} now: {changed} {'place' if changed == 1 else 'places'}",
            "keep the older keys as long as older backups",
        ),
    )


def _beside(database: Database) -> Path:
    assert database.path is not None  # open_store refused anything else
    return database.path.with_name("secrets.key")


def _walked(verdict: AuditVerdict) -> str:
    if verdict.ok:
        removed = f", behind {verdict.pruned} older ones that were removed in time" if verdict.pruned else ""
        return f"the audit log is whole: {verdict.rows} entries{removed}"
    where = f"{verdict.rows} entries are as they were written, entry {verdict.first_bad_id} is missing or altered"
    return f"the audit log was tampered with: {where}"


async def verify(url: str, *, secret_keys: str | None = None, key_file: Path | None = None) -> Report:
    """Look at all of it without bringing it to this program's level: the structure of a file, its keys for secrets, the audit log."""
    database = Database(url)
    lines = []
    try:
        if database.path is not None:
            faults = (await asyncio.to_thread(inspect, database.path)).faults or ()
            if faults:
                return Report(ok=False, lines=(f"{database.path} is damaged; restore a backup", *faults))
            lines.append(f"{database.path} is whole")
        if not (await level_of(database)).level:
            return Report(ok=False, lines=(*lines, "there is nothing in it"))
        async with database.read(timeout_s=_WALK_S) as connection:
            pepper = msgspec.json.decode((await connection.execute(select(meta.c.pepper))).scalar_one())
            _, key = open_box(secret_keys, key_file or _beside(database), pepper)
            lines.append("the keys for secrets are those that it was made with")
            verdict = await audit.verify(connection, audit_key(key))
    finally:
        await database.close()
    return Report(ok=verdict.ok, lines=(*lines, _walked(verdict)))


async def verify_copy(file: Path, *, secret_keys: str | None = None, key_file: Path | None = None) -> Report:
    """The same for a backup, which is not touched: a copy of it is looked at. Raises StoreUnavailable for what is no database."""
    await asyncio.to_thread(inspect, file, 0.0)
    with tempfile.TemporaryDirectory(prefix="fkllmproxy-") as directory:
        copy = Path(directory, "copy.db")
        await asyncio.to_thread(copies.copy, file, copy)
        report = await verify(f"sqlite://{copy}", secret_keys=secret_keys, key_file=key_file)
    return Report(ok=report.ok, lines=tuple(line.replace(str(copy), str(file)) for line in report.lines))


@contextlib.asynccontextmanager
async def _opened(url: str, secret_keys: str | None, key_file: Path | None) -> AsyncIterator[tuple[Store, Opened]]:
    store, opened = await open_store(url, secret_keys=secret_keys, key_file=key_file)
    try:
        yield store, opened
    finally:
        await store.close()
