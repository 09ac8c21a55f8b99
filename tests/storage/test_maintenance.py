"""The command line's verbs over a store."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from fkproxy.storage import maintenance, open_store
from fkproxy.storage.secrets import sealed_in
from fkproxy.storage.store import Store
from fkproxy.storage.values import Actor, AuditEntry, BackupFailed
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


async def test_a_backup_can_be_opened(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    store, _ = await open_store(url)
    await put_secret(store, "value")
    report = await maintenance.backup(url, tmp_path / "copy.db")
    assert "secrets.key" in report.lines[-1]
    assert (await store.audit(limit=1))[0].action == "store.backup"
    await store.close()
    store, _ = await open_store(f"sqlite:///{tmp_path}/copy.db")
    assert await secrets_of(store) == [(1, "value")]
    await store.close()


@pytest.mark.parametrize("kind", ["postgresql"])
async def test_a_server_is_backed_up_by_its_own_tool(url: str, tmp_path: Path) -> None:
    with pytest.raises(BackupFailed, match="pg_dump"):
        await maintenance.backup(url, tmp_path / "copy", secret_keys=KEYS)


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


async def test_the_audit_log_is_verified(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    store, _ = await open_store(url)
    await put_secret(store, "value")
    await store.close()
    assert await maintenance.verify_audit(url) == maintenance.Report(ok=True, lines=("the audit log is whole: 3 entries",))
    with contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        connection.executescript("DROP TRIGGER audit_loses_nothing; DELETE FROM audit WHERE id = 2")
    report = await maintenance.verify_audit(url)
    assert not report.ok
    assert "entry 2 is missing or altered" in report.lines[0]
