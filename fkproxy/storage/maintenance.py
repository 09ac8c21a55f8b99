"""What an administrator does to a store from the command line. Floor 2. Each verb gives a report; the words are for people.

They open the store for themselves, also beside a running service, and raise what `open_store` raises.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from fkproxy.storage import open_store
from fkproxy.storage.database import Database
from fkproxy.storage.schema import level_of
from fkproxy.storage.secrets import add_key
from fkproxy.storage.store import Store
from fkproxy.storage.tables import LEVEL
from fkproxy.storage.values import Actor, AuditEntry, Opened

__all__ = ["Report", "backup", "migrate", "rotate_secrets", "verify_audit"]

_LOCAL = Actor(kind="local")


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


def _went(opened: Opened) -> str:
    if opened.migrated_from is None:
        return "nothing to migrate"
    return "a new store was made" if opened.migrated_from == 0 else f"migrated from level {opened.migrated_from}"


async def backup(url: str, path: Path, *, secret_keys: str | None = None, key_file: Path | None = None) -> Report:
    """Copy the database to `path` while it is used. Raises BackupFailed, which for PostgreSQL holds the command that does it."""
    async with _opened(url, secret_keys, key_file) as (store, _):
        await store.backup(path)
        await store.record([AuditEntry(actor=_LOCAL, action="store.backup")])
    lines = [f"copied to {path}"]
    if not secret_keys:
        lines.append("the key for secrets is not in it; it is the file secrets.key beside the database, or the one configured")
    return Report(ok=True, lines=tuple(lines))


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
        ok=True, lines=(f"{changed} places are sealed with version {version} now", "keep the older keys as long as older backups")
    )


def _beside(database: Database) -> Path:
    assert database.path is not None  # open_store refused anything else
    return database.path.with_name("secrets.key")


async def verify_audit(url: str, *, secret_keys: str | None = None, key_file: Path | None = None) -> Report:
    """Walk the audit log."""
    async with _opened(url, secret_keys, key_file) as (store, _):
        verdict = await store.verify_audit()
    if verdict.ok:
        return Report(ok=True, lines=(f"the audit log is whole: {verdict.rows} entries",))
    where = f"{verdict.rows} entries are as they were written, entry {verdict.first_bad_id} is missing or altered"
    return Report(ok=False, lines=(f"the audit log was tampered with: {where}",))


@contextlib.asynccontextmanager
async def _opened(url: str, secret_keys: str | None, key_file: Path | None) -> AsyncIterator[tuple[Store, Opened]]:
    store, opened = await open_store(url, secret_keys=secret_keys, key_file=key_file)
    try:
        yield store, opened
    finally:
        await store.close()
