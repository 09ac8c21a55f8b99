"""From nothing to this program's level, on to a later one, and back to the older program."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

import fkproxy.storage.calls_tables  # noqa: F401 - its tables are of METADATA too
from fkproxy import __version__
from fkproxy.storage.database import Database
from fkproxy.storage.opening import open_at
from fkproxy.storage.schema import KEPT_BACKUPS, THIS, Migrated, Program, bring_up, level_of
from fkproxy.storage.tables import LEVEL, METADATA
from fkproxy.storage.values import Actor, AuditEntry, StoreUnavailable
from tests.storage.conftest import KEYS, PATIENT
from tests.storage.postgres import Server

NEXT = LEVEL + 1
LATER = f"""
import sqlalchemy as sa
from alembic import op

revision = "{NEXT:04}"
down_revision = "{LEVEL:04}"


def upgrade():
    op.create_table("alerts", sa.Column("id", sa.Integer, primary_key=True))
    op.add_column("documents", sa.Column("colour", sa.Text, nullable=False, server_default=""))
"""
FAILING = LATER + '    op.execute("INSERT INTO nowhere VALUES (1)")\n'
ENTRY = AuditEntry(actor=Actor(kind="local"), action="pool.update")


def program(tmp_path: Path, *, oldest_reader: int, script: str = LATER) -> Program:
    """A release to come, with one more migration."""
    scripts = tmp_path / "migrations"
    if not scripts.exists():
        shutil.copytree(THIS.scripts, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / f"level_{NEXT:04}.py").write_text(script)
    return Program(version="9.9.9", level=NEXT, oldest_reader=oldest_reader, scripts=scripts)


def backups(database: Database) -> list[Path]:
    return sorted(database.path.parent.glob("*.backup")) if database.path else []


async def test_the_tables_are_what_the_migrations_make(database: Database) -> None:
    async with database.read() as connection:
        context = await connection.run_sync(lambda sync: MigrationContext.configure(sync, opts={"compare_type": True}))
        differences = await connection.run_sync(lambda _: compare_metadata(context, METADATA))
        number = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one()
    assert differences == []
    assert int(number) == LEVEL


async def test_a_database_says_its_level_and_who_brought_it_there(database: Database) -> None:
    found = await level_of(database)
    assert (found.level, found.oldest_reader, found.written_by) == (LEVEL, THIS.oldest_reader, __version__)


async def test_a_database_at_its_level_is_left_alone(database: Database) -> None:
    assert await bring_up(database) is None
    assert backups(database) == []


def test_a_database_at_its_level_does_not_load_what_migrates(tmp_path: Path) -> None:
    code = f"""
import asyncio, sys
from fkproxy.storage import open_store
async def main():
    store, opened = await open_store("sqlite:///{tmp_path}/s/store.db")
    await store.close()
    print(opened.migrated_from, "alembic" in sys.modules)
asyncio.run(main())
"""
    outputs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert outputs == ["0 True\n", "None False\n"]


async def test_two_processes_that_migrate_at_once_do_it_once(url: str) -> None:
    both = [Database(url, PATIENT), Database(url, PATIENT)]
    done = await asyncio.gather(*(bring_up(database) for database in both))
    assert sorted(migrated is None for migrated in done) == [False, True]
    for database in both:
        assert (await level_of(database)).level == LEVEL
        await database.close()


async def test_a_later_release_copies_the_file_first_and_migrates(database: Database, tmp_path: Path) -> None:
    migrated = await bring_up(database, program(tmp_path, oldest_reader=1))
    assert migrated == Migrated(before=LEVEL, after=NEXT, backup=backups(database)[0].name if database.path else None)
    assert (await level_of(database)).written_by == "9.9.9"
    async with database.read() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM alerts"))).scalar_one() == 0
    for copy in backups(database):
        assert copy.stat().st_mode & 0o777 == 0o600
        assert sqlite3.connect(copy).execute("SELECT schema_level FROM meta").fetchone() == (LEVEL,)


async def test_a_migration_that_fails_leaves_everything_as_it_was(database: Database, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        await bring_up(database, program(tmp_path, oldest_reader=1, script=FAILING))
    assert caught.value.reason == "broken"
    assert (await level_of(database)).level == LEVEL
    assert await bring_up(database, program(tmp_path, oldest_reader=1)) is not None


async def test_after_a_rollback_the_older_program_works_on_the_newer_schema(url: str, tmp_path: Path) -> None:
    database = Database(url, PATIENT)
    await bring_up(database)
    await bring_up(database, program(tmp_path, oldest_reader=LEVEL))
    await database.close()
    store, opened = await open_at(url, secret_keys=KEYS, deadlines=PATIENT)
    assert opened.migrated_from is None
    async with store.change(ENTRY) as change:
        change.put_document(change.document, "by the older program")
    assert (await store.picture()).document_revision == 1
    assert (await store.verify_audit()).ok
    await store.close()


async def test_an_older_program_works_on_while_the_newer_one_migrates(url: str, tmp_path: Path) -> None:
    store, _ = await open_at(url, secret_keys=KEYS, deadlines=PATIENT)
    await store.picture()
    newer = Database(url, PATIENT)
    await bring_up(newer, program(tmp_path, oldest_reader=LEVEL))
    async with store.change(ENTRY) as change:
        change.put_document(change.document, "by the older program")
    assert await store.revision() == 1
    await newer.close()
    await store.close()


async def test_a_schema_the_older_program_cannot_use_is_refused_with_the_way_out(database: Database, url: str, tmp_path: Path) -> None:
    await bring_up(database, program(tmp_path, oldest_reader=NEXT))
    with pytest.raises(StoreUnavailable) as caught:
        await open_at(url, secret_keys=KEYS, deadlines=PATIENT)
    assert caught.value.reason == "too_new"
    said = str(caught.value)
    for word in (f"level {NEXT}", f"level {LEVEL}", "version 9.9.9", f"version {__version__}"):
        assert word in said
    assert all(copy.name in said for copy in backups(database))
    assert ("put " in said) == bool(backups(database))


async def test_the_copy_that_the_refusal_names_is_the_way_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state/store.db"
    store, _ = await open_at(url, secret_keys=KEYS)
    async with store.change(ENTRY) as change:
        change.put_document(change.document, "before the upgrade")
    await bring_up(store.database, program(tmp_path, oldest_reader=NEXT))
    await store.close()
    backups(store.database)[0].replace(tmp_path / "state" / "store.db")
    store, _ = await open_at(url, secret_keys=KEYS)
    assert [info.summary for info in await store.revisions()] == ["before the upgrade"]
    assert (await store.verify_audit()).ok
    await store.close()


@pytest.mark.parametrize("kind", ["sqlite"])
async def test_the_newest_copies_are_kept(database: Database, tmp_path: Path) -> None:
    assert database.path is not None
    for day in range(1, 6):
        database.path.with_name(f"store.db.level-1.2020010{day}T000000Z.backup").touch()
    migrated = await bring_up(database, program(tmp_path, oldest_reader=1))
    names = [path.name for path in backups(database)]
    assert len(names) == KEPT_BACKUPS
    assert migrated is not None
    assert names[:2] == ["store.db.level-1.20200104T000000Z.backup", "store.db.level-1.20200105T000000Z.backup"]
    assert names[2] == migrated.backup


@pytest.mark.parametrize("kind", ["sqlite"])
async def test_copies_of_attempts_that_fail_do_not_add_up(database: Database, tmp_path: Path) -> None:
    assert database.path is not None
    before = ["store.db.level-1.20200101T000000Z.backup", "store.db.level-1.20200102T000000Z.backup"]
    for name in (*before, f"store.db.level-{LEVEL}.20200103T000000Z.backup"):
        database.path.with_name(name).touch()
    with pytest.raises(StoreUnavailable):
        await bring_up(database, program(tmp_path, oldest_reader=1, script=FAILING))
    names = [path.name for path in backups(database)]
    assert names[:2] == before, "those of other levels stay"
    assert len(names) == 3
    assert names[2] > f"store.db.level-{LEVEL}.20200103T000000Z.backup"


@pytest.mark.parametrize("kind", ["sqlite"])
async def test_a_copy_that_fails_stops_the_migration(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fkproxy.storage.copies._sync", lambda _: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(StoreUnavailable, match="was not migrated"):
        await bring_up(database, program(tmp_path, oldest_reader=1))
    assert (await level_of(database)).level == LEVEL
    assert database.path is not None
    assert not [path for path in database.path.parent.iterdir() if "backup" in path.name]


@pytest.mark.parametrize("kind", ["sqlite"])
async def test_whoever_else_migrates_is_waited_for(database: Database, tmp_path: Path) -> None:
    assert database.path is not None
    with database.path.with_name("store.db.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = asyncio.create_task(bring_up(database, program(tmp_path, oldest_reader=1)))
        done, _ = await asyncio.wait([waiting], timeout=0.3)
        assert not done
        assert backups(database) == []
    assert (await waiting) is not None


@pytest.mark.parametrize("kind", ["sqlite"])
async def test_a_directory_without_room_for_the_lock_is_full(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> int:
        raise OSError(errno.ENOSPC, "canary")

    monkeypatch.setattr("fkproxy.storage.schema._lock_file", refuse)
    with pytest.raises(StoreUnavailable) as refused:
        await bring_up(database, program(tmp_path, oldest_reader=1))
    assert (refused.value.reason, refused.value.code) == ("full", "No space left on device")


async def test_a_database_that_cannot_hold_every_name_is_not_begun_with(postgres: Server) -> None:
    await postgres.execute("CREATE DATABASE narrow ENCODING 'LATIN1' TEMPLATE template0")
    database = Database(postgres.url("narrow"), PATIENT)
    with pytest.raises(StoreUnavailable, match="has the encoding LATIN1"):
        await bring_up(database)
    assert (await level_of(database)).level == 0
    await database.close()
    await postgres.execute("DROP DATABASE narrow")


async def test_migrations_are_found_and_run_from_another_directory(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = nowhere\n")
    monkeypatch.chdir(tmp_path)
    database = Database(url, PATIENT)
    assert await bring_up(database) is not None
    await database.close()
