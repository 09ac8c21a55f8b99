"""Files of the store: made with tight modes, and watched. Floor 2. Blocking; loads no database library."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
from pathlib import Path

from fkproxy.storage.values import Reason, StoreUnavailable

__all__ = ["create", "identity", "prepare", "remove_strays", "said", "unwritable", "write_beside"]

_STRAY_AFTER_S = 30.0


def prepare(path: Path) -> bool:
    """Make the file, empty and 0600, and its directory, 0700, if they are missing. True when it was made.

    SQLite gives `-wal` and `-shm` the mode of the file itself.
    """
    if path.exists():
        return False
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(create(path))
    except OSError as error:
        if path.exists():
            return False  # another process was quicker
        raise unwritable(error, f"the database file {path.name} cannot be made") from error
    return True


def unwritable(error: OSError, message: str) -> StoreUnavailable:
    """What to raise in its place."""
    reason: Reason = "full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "read_only"
    return StoreUnavailable(reason, message, said(error))


def said(error: OSError) -> str:
    """What the system calls it; never the exception's own words."""
    return os.strerror(error.errno) if error.errno else type(error).__name__


def create(path: Path) -> int:
    """A descriptor of a new file, mode 0600. Raises FileExistsError and other OSError.

    What root makes in somebody's directory is theirs: the service may not run as root, and its administrator may.
    """
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    if os.geteuid() == 0:
        owner = path.parent.stat()
        with contextlib.suppress(OSError):  # a user namespace does not know everybody
            os.fchown(handle, owner.st_uid, owner.st_gid)
    return handle


def write_beside(path: Path, data: bytes) -> Path:
    """A new file in the directory of `path` that holds `data` and is on the disk. Raises OSError, and then there is none."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(create(part), "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    return part


def remove_strays(path: Path) -> None:
    """What `write_beside` had begun for `path` when its process was killed. Somebody else may be writing one at this moment."""
    for part in path.parent.glob(f".{path.name}.*"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > _STRAY_AFTER_S:
                part.unlink()


def identity(path: Path) -> tuple[int, int] | None:
    """Device and inode, which change when the file is replaced; None when it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
