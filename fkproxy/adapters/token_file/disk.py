"""Reading, replacing and locking the file.

Floor 2. All of it blocks but `stamp`, which is one system call; `locked` keeps that in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

from fkproxy.model.errors import UpstreamUnavailable

__all__ = ["MAX_BYTES", "Stamp", "locked", "read", "stamp", "write"]

MAX_BYTES = 1024 * 1024
_TRY_LOCK_EVERY_S = 0.05


class Stamp(NamedTuple):
    """Differs when the file was written or replaced."""

    modified_ns: int
    size_bytes: int
    inode: int


def stamp(path: Path) -> Stamp | None:
    """None for a file that is not there or may not be seen."""
    try:
        return _stamp(path.stat())
    except OSError:
        return None


def _stamp(found: os.stat_result) -> Stamp:
    return Stamp(found.st_mtime_ns, found.st_size, found.st_ino)


def read(path: Path) -> tuple[bytes, Stamp]:
    """Raises `OSError`, and `ValueError` for what is no file or too large."""
    with open(path, "rb", opener=_open) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is not a regular file")
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES} bytes")
    return data, _stamp(found)


def _open(path: str, flags: int) -> int:
    """Not blocking: a pipe of this name would never answer."""
    return os.open(path, flags | os.O_NONBLOCK)


def write(path: Path, data: bytes) -> Stamp:
    """Replace the file at once and whole, on the disk when this returns. Raises `OSError`, and then the old one stands.

    Owner and mode stay; where the owner may not be given away, it is ours and nobody else's. A link stays one: its target is replaced.
    """
    place = Path(os.path.realpath(path))
    before = place.stat()
    descriptor, name = tempfile.mkstemp(prefix=f".{place.name}.", suffix=".tmp", dir=place.parent)
    fresh = Path(name)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            # EPERM, or EINVAL where a user namespace does not know the owner.
            with contextlib.suppress(OSError):
                os.fchown(descriptor, before.st_uid, before.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
            file.write(data)
            file.flush()
            os.fsync(descriptor)
            made = _stamp(os.fstat(descriptor))
        fresh.replace(place)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    _sync_directory(place.parent)
    return made


def _sync_directory(path: Path) -> None:
    """The new name, too, is on the disk; some file systems cannot say so of a directory."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.asynccontextmanager
async def locked(path: Path, timeout_s: float) -> AsyncIterator[None]:
    """Alone among all processes that refresh this file, by a lock on `<name>.lock` beside it, which stays there.

    Where no such file can be made there is nothing to write either, and no lock. Raises `UpstreamUnavailable` after `timeout_s`.
    """
    descriptor = await asyncio.to_thread(_open_lock, path)
    if descriptor is None:
        yield
        return
    try:
        await _lock(descriptor, timeout_s)
        yield
    finally:
        os.close(descriptor)


async def _lock(descriptor: int, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            while not await asyncio.to_thread(_try_lock, descriptor):  # noqa: ASYNC110 - a thread that waits for a lock cannot be called back
                await asyncio.sleep(_TRY_LOCK_EVERY_S)
    except TimeoutError as error:
        raise UpstreamUnavailable("another process holds the lock of the token file") from error


def _open_lock(path: Path) -> int | None:
    place = Path(os.path.realpath(path))
    try:
        return os.open(place.with_name(place.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return None


def _try_lock(descriptor: int) -> bool:
    """True when it is ours, or when this file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
