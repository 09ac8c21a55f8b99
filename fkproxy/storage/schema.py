"""Bring a database to the schema of this program, or say why not. Floor 2.

A database says in `meta` which level it has, and which is the lowest level of a program that can use it. At this program's own level, or
above it and still usable, nothing happens, and Alembic is not even imported. Behind it, one process at a time copies the file (SQLite)
and runs what is missing in one transaction. The lower half of an upgrade and a rollback both rest on this: while an older program runs,
the newer one may migrate under it, and the older one may be started again afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
from sqlalchemy import select, text, update
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from fkproxy import __version__
from fkproxy.storage import copies, files
from fkproxy.storage.database import Database
from fkproxy.storage.engines import Deadlines
from fkproxy.storage.tables import LEVEL, OLDEST_READER, meta
from fkproxy.storage.values import BackupFailed, StoreUnavailable
from fkproxy.telemetry.journal_files import lock

__all__ = ["KEPT_BACKUPS", "MIGRATION_S", "THIS", "Level", "Migrated", "Program", "bring_up", "due", "level_of"]

KEPT_BACKUPS = 3
MIGRATION_S = 600.0
"""How long a migration may take, and how long another process waits for it."""
_PATIENT = Deadlines(lock_s=MIGRATION_S, statement_s=MIGRATION_S, transaction_s=MIGRATION_S)

_EXISTS = {
    "sqlite": "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'meta'",
    "postgresql": "SELECT count(*) FROM pg_class WHERE oid = to_regclass('meta')",
}


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """What a version of the program knows of schemas. `scripts` is the directory of its migrations."""

    version: str = __version__
    level: int = LEVEL
    oldest_reader: int = OLDEST_READER
    scripts: Path = Path(__file__).parent / "migrations"


THIS = Program()


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """What a database says of itself; all zero and empty before the first migration."""

    level: int = 0
    oldest_reader: int = 0
    written_by: str = ""


class Migrated(msgspec.Struct, frozen=True, kw_only=True):
    """From which level to which; `backup` is the name of the copy made before, None without one."""

    before: int
    after: int
    backup: str | None = None


async def level_of(database: Database) -> Level:
    """What is there now."""
    async with database.read() as connection:
        return await _level(connection)


async def bring_up(database: Database, program: Program = THIS) -> Migrated | None:
    """Migrate if that is needed; None when nothing was done. Raises StoreUnavailable."""
    if not due(await level_of(database), program, database.path):
        return None
    patient = database.patient(_PATIENT)
    try:
        async with _alone(database.path):
            return await _migrate(patient, program)
    finally:
        await patient.close()


async def _migrate(database: Database, program: Program) -> Migrated | None:
    found = await level_of(database)
    backup = None
    if database.path is not None and 0 < found.level < program.level:
        backup = await asyncio.to_thread(_back_up, database.path, found.level)
    async with database.begin(lock="migration") as connection:
        found = await _level(connection)
        if not due(found, program, database.path):
            return None  # another process did it meanwhile
        if not found.level:
            await _check_encoding(connection)
        await connection.run_sync(_upgrade, program.scripts)
        done = {"schema_level": program.level, "oldest_reader": program.oldest_reader, "written_by": program.version}
        await connection.execute(update(meta).values(done))
    return Migrated(before=found.level, after=program.level, backup=backup)


async def _check_encoding(connection: AsyncConnection) -> None:
    """A record with one letter that the database cannot hold, in a model's name, would keep all others waiting for ever.

    Raises StoreUnavailable. SQL_ASCII takes every byte as it is.
    """
    if connection.dialect.name == "postgresql":
        encoding = (await connection.execute(text("SHOW server_encoding"))).scalar_one()
        if encoding not in ("UTF8", "SQL_ASCII"):
            raise StoreUnavailable("broken", f"the database has the encoding {encoding}; it has to be made with ENCODING 'UTF8'")


async def _level(connection: AsyncConnection) -> Level:
    if not (await connection.execute(text(_EXISTS[connection.dialect.name]))).scalar_one():
        return Level()
    row = (await connection.execute(select(meta.c.schema_level, meta.c.oldest_reader, meta.c.written_by))).one()
    return Level(level=row.schema_level, oldest_reader=row.oldest_reader, written_by=row.written_by)


def due(found: Level, program: Program, path: Path | None) -> bool:
    """Whether a migration is due. Raises StoreUnavailable when the program cannot use what is there."""
    if program.level < found.oldest_reader:
        raise StoreUnavailable("too_new", _too_new(found, program, path))
    return found.level < program.level


def _too_new(found: Level, program: Program, path: Path | None) -> str:
    copies = [copy for copy in _backups(path) if _level_of_backup(copy) <= program.level] if path else []
    way_back = f", or stop the service and put {copies[-1].name} in its place, which was made before the migration" if copies else ""
    return (
        f"the store has level {found.level}, written by version {found.written_by}, and needs a program of level {found.oldest_reader} or "
        f"above; this one, version {program.version}, has level {program.level}: use version {found.written_by} or a newer one{way_back}"
    )


def _upgrade(connection: Connection, scripts: Path) -> None:
    """Run what is missing on `connection`, in its transaction."""
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    directory = ScriptDirectory.from_config(config)
    with EnvironmentContext(config, directory, fn=lambda revision, _: directory._upgrade_revs("head", revision)) as environment:
        environment.configure(connection=connection)
        environment.run_migrations()


@contextlib.asynccontextmanager
async def _alone(path: Path | None) -> AsyncIterator[None]:
    """One process at a time, also while it copies the file. PostgreSQL has its advisory lock for that, in the transaction."""
    if path is None:
        yield
        return
    try:
        handle = _lock_file(path.with_name(f"{path.name}.lock"))
    except OSError as error:
        raise files.unwritable(error, "the store cannot be migrated: its directory cannot be written") from error
    try:
        until = time.monotonic() + MIGRATION_S
        while not lock(handle):
            if time.monotonic() > until:
                raise StoreUnavailable("locked", "another process has been migrating the store for too long")
            await asyncio.sleep(0.1)
        yield
    finally:
        os.close(handle)


def _lock_file(path: Path) -> int:
    with contextlib.suppress(FileExistsError):
        return files.create(path)
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def _back_up(path: Path, level: int) -> str:
    """Copy the file beside itself, keep the newest copy of each level and of these the newest few, and give the copy's name.

    A database that still is at the level of an earlier copy was not migrated after it, however often that is tried.
    """
    target = path.with_name(f"{path.name}.level-{level}.{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.backup")
    try:
        if not target.exists():
            copies.copy(path, target)
    except BackupFailed as error:
        raise StoreUnavailable("broken", f"the store was not migrated, because it could not be copied first: {error}") from error
    found = _backups(path)
    of_others = [copy for copy in found if _level_of_backup(copy) != level]
    for copy in {*found} - {target, *of_others[1 - KEPT_BACKUPS :]}:
        copy.unlink(missing_ok=True)
    return target.name


def _backups(path: Path) -> list[Path]:
    """The oldest first."""
    return sorted(path.parent.glob(f"{path.name}.level-*.backup"), key=lambda copy: copy.name.split(".")[-2])


def _level_of_backup(copy: Path) -> int:
    word = copy.name.split(".")[-3].removeprefix("level-")
    return int(word) if word.isdecimal() else LEVEL + 1
