"""The command line's verbs over a store."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import update

from fkproxy import __version__
from fkproxy.storage import maintenance, open_store
from fkproxy.storage.database import Database
from fkproxy.storage.store import Store
from fkproxy.storage.tables import LEVEL, meta
from fkproxy.storage.values import Actor, AuditEntry, SecretLost, StoreUnavailable
from tests.fakes.sealed import sealed_in
from tests.storage.conftest import KEYS, NEWER_KEYS


async def put_secret(store: Store, value: str) -> None:
    async with store.change(AuditEntry(actor=Actor(kind="local"), action="provider.create")) as change:
        change.put_document(type(change.document)(providers=({"name": "x", "api_key": store.secrets.seal(value)},)), "one")


async def secrets_of(store: Store) -> list[tuple[int, str]]:
    document = (await store.picture()).document
    return [(sealed["sealed"]["version"], store.secrets.open(sealed)) for sealed in sealed_in(document)]


async def test_migrate_says_what_was_done_and_where_it_stands(url: str, tmp_path: Path) -> None:
    file = tmp_path / "secrets.key"
    first = await maintenance.migrate(url, key_file=file)
    second = await maintenance.migrate(url, key_file=file)
    assert first.ok
    assert first.lines[0] == "a new store was made"
    assert any(str(file) in line for line in first.lines)
    assert second.lines[0] == "nothing to migrate"
    assert not any(str(file) in line for line in second.lines)


async def test_a_key_file_is_rotated_beside_a_running_service(url: str, tmp_path: Path) -> None:
    file = tmp_path / "secrets.key"
    running, _ = await open_store(url, key_file=file)
    await put_secret(running, "value")
    report = await maintenance.rotate_secrets(url, key_file=file)
    assert report.ok
    assert "2 places" in report.lines[0]
    assert await secrets_of(running) == [(2, "value")]
    await put_secret(running, "another")
    assert await secrets_of(running) == [(2, "another")]
    await running.close()


async def test_configured_keys_are_rotated_by_a_newer_one_in_front(store: Store, url: str) -> None:
    await put_secret(store, "value")
    same = await maintenance.rotate_secrets(url, secret_keys=KEYS)
    assert "version 1 already" in same.lines[0]
    report = await maintenance.rotate_secrets(url, secret_keys=NEWER_KEYS)
    assert "version 2 now" in report.lines[0]
    newest, _ = await open_store(url, secret_keys=NEWER_KEYS.split(",")[0])
    assert await secrets_of(newest) == [(2, "value")]
    await newest.close()


async def test_a_store_and_a_copy_of_it_are_looked_at_as_a_whole(url: str, tmp_path: Path) -> None:
    file = tmp_path / "secrets.key"
    store, _ = await open_store(url, key_file=file)
    await put_secret(store, "value")
    report = await maintenance.verify(url, key_file=file)
    assert (report.ok, report.lines[-1]) == (True, "the audit log is whole: 3 entries")
    assert "the keys for secrets are those that it was made with" in report.lines
    if store.database.path is not None:
        await store.backup(tmp_path / "copy.db")
        before = (tmp_path / "copy.db").read_bytes()
        copied = await maintenance.verify_copy(tmp_path / "copy.db", key_file=file)
        assert copied == maintenance.Report(ok=True, lines=(f"{tmp_path}/copy.db is whole", *report.lines[1:]))
        assert (tmp_path / "copy.db").read_bytes() == before
    await store.close()


async def test_what_is_wrong_with_a_store_is_told(tmp_path: Path) -> None:
    url, file = f"sqlite:///{tmp_path}/store.db", tmp_path / "store.db"
    store, _ = await open_store(url)
    await put_secret(store, "value")
    await store.close()
    with pytest.raises(SecretLost):
        await maintenance.verify(url, secret_keys=KEYS)
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.executescript("DROP TRIGGER audit_loses_nothing; DELETE FROM audit WHERE id = 2")
    altered = await maintenance.verify(url)
    assert not altered.ok
    assert "entry 2 is missing or altered" in altered.lines[-1]
    with file.open("r+b") as out:
        out.seek(file.stat().st_size - 20_000)
        out.write(b"\xff" * 16_000)
    damaged = await maintenance.verify(url)
    assert not damaged.ok
    assert damaged.lines[0] == f"{file} is damaged; restore a backup"
    (tmp_path / "text.db").write_text("no database")
    for name, code in (("nothing.db", "SQLITE_CANTOPEN"), ("text.db", "SQLITE_NOTADB")):
        with pytest.raises(StoreUnavailable, match=f"^{name} cannot be read as a database .{code}"):
            await maintenance.verify_copy(tmp_path / name)


async def test_where_a_store_stands_is_told_without_touching_it(database: Database, url: str) -> None:
    assert await maintenance.standing(url) == maintenance.Report(
        ok=True, lines=("nothing to migrate", f"level {LEVEL}, written by version {__version__}; this program has level {LEVEL}")
    )
    async with database.begin() as connection:
        await connection.execute(update(meta).values(schema_level=LEVEL - 1, written_by="0.0.9"))
    behind = await maintenance.standing(url)
    assert (behind.ok, behind.lines[0]) == (False, f"from level {LEVEL - 1} to {LEVEL}: a migration is due")
    async with database.begin() as connection:
        await connection.execute(update(meta).values(schema_level=LEVEL + 2, oldest_reader=LEVEL + 1, written_by="9.0.0"))
    with pytest.raises(StoreUnavailable, match=r"use version 9\.0\.0 or a newer one"):
        await maintenance.standing(url)


def test_what_is_not_there_is_neither_made_nor_verified(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    assert not asyncio.run(maintenance.standing(url)).ok
    with pytest.raises(StoreUnavailable):
        asyncio.run(maintenance.verify(url))
    assert list(tmp_path.iterdir()) == []
