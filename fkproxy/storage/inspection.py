"""A database file looked at from outside, changing nothing: for whoever looks after a host. Floor 2. Blocking; standard library only."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path

import msgspec

from fkproxy.storage.copies import uri
from fkproxy.storage.values import Reason, StoreUnavailable

__all__ = ["Inspection", "inspect"]

_STEPS = 10_000
"""Of SQLite's machine, between two looks at the clock: some milliseconds."""
_TOLD = 5
"""Faults that are told of many."""

_REASONS: dict[int, Reason] = {
    sqlite3.SQLITE_BUSY: "locked",
    sqlite3.SQLITE_CANTOPEN: "gone",
    sqlite3.SQLITE_PERM: "read_only",
    sqlite3.SQLITE_READONLY: "read_only",
}


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """What the file says of itself; level 0: nothing was made in it yet. `faults`: of its structure; None: there was no time for it."""

    level: int = 0
    oldest_reader: int = 0
    written_by: str = ""
    faults: tuple[str, ...] | None = ()


def inspect(path: Path, within_s: float | None = None) -> Inspection:
    """Beside whoever uses it. `within_s`: for how long to look for faults. Raises StoreUnavailable."""
    # Without a WAL nobody has it open, and it can be read without making one.
    mode = "ro" if path.with_name(f"{path.name}-wal").exists() else "ro&immutable=1"
    try:
        with contextlib.closing(sqlite3.connect(uri(path, mode), uri=True, timeout=1.0)) as connection:
            if not connection.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'meta'").fetchone()[0]:
                return Inspection()
            level, oldest_reader, written_by = connection.execute("SELECT schema_level, oldest_reader, written_by FROM meta").fetchone()
            return Inspection(level=level, oldest_reader=oldest_reader, written_by=written_by, faults=_faults(connection, within_s))
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        name = getattr(error, "sqlite_errorname", None) or type(error).__name__
        raise StoreUnavailable(_REASONS.get(code, "broken"), f"{path.name} cannot be read as a database", name) from error


def _faults(connection: sqlite3.Connection, within_s: float | None) -> tuple[str, ...] | None:
    """https://sqlite.org/pragma.html#pragma_quick_check: one row, `ok`, or a row for each fault."""
    if within_s is not None:
        until = time.monotonic() + within_s
        connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
    try:
        found = [str(row[0]) for row in connection.execute(f"PRAGMA quick_check({_TOLD})")]
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return None
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
            raise
        found = [str(error)]
    return () if found == ["ok"] else tuple(found)
