"""A copy of an SQLite database while others read and write it. Floor 2. Blocking."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from fkproxy.storage import files
from fkproxy.storage.values import BackupFailed

__all__ = ["copy", "uri"]


def uri(path: Path, mode: str = "rw") -> str:
    """`rw` does not make a file that is missing: a lost database must not come back empty."""
    return f"file:{quote(str(path.absolute()))}?mode={mode}"


def copy(source: Path, target: Path) -> None:
    """A whole and consistent copy at `target`, mode 0600, while others read and write `source`. Raises BackupFailed.

    The copy appears under its name when it is complete. An existing file is not touched.
    """
    part = target.with_name(f".{target.name}.part")
    try:
        if target.exists():
            raise BackupFailed(f"{target.name} is there already")
        part.unlink(missing_ok=True)
        os.close(files.create(part))
        with (
            contextlib.closing(sqlite3.connect(uri(source, "ro"), uri=True)) as reading,
            contextlib.closing(sqlite3.connect(part)) as writing,
        ):
            # One step for all pages: the copy is of one moment, however much is written meanwhile.
            reading.backup(writing)
            # The copy is one file, wherever it is carried.
            writing.execute("PRAGMA journal_mode=DELETE")
        _sync(part)
        part.rename(target)
        _sync(target.parent)
    except (OSError, sqlite3.Error) as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        code = files.said(error) if isinstance(error, OSError) else getattr(error, "sqlite_errorname", None) or type(error).__name__
        raise BackupFailed(f"the copy {target.name} could not be made ({code})") from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
