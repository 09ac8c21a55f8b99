"""The files of the journal: what they are called, who owns them, how they are written and read.

Floor 2.

    calls-<unix ms>-<pid>-<random, of the process>.jsonl

A process writes only to files it made itself, one at a time, and holds a lock (flock(2)) on that one: whoever gets the lock knows that
nobody writes to the file any more. The kernel lets go of the lock when the process dies, whatever it dies of.

A line counts once its end is there. So a reader stops at the last line end, and what a crash left behind it is no line.

Nothing is synced: what was written survives the death of the process in the page cache, and the importer moves it into the store,
which syncs, a second later. A sync here would hold up the lines behind it for as long as the disk takes, and those are lost with the
process. What a crash of the whole machine can cost is what the kernel had not written back (30 s at most as Linux is set up).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

__all__ = ["MAX_LINE_BYTES", "JournalTrouble", "JournalWriter", "Trouble", "journal_files", "lock", "read_lines"]

Trouble = Literal["full", "read_only", "gone", "at_limit", "broken"]

MAX_LINE_BYTES = 1024 * 1024
"""A line longer than this is none: there is no record that needs a hundredth of it."""

_NAME = re.compile(r"calls-\d{13,}-\d+-[0-9a-f]{8}\.jsonl")
_LOOK_EVERY_S = 5.0
_TROUBLES: dict[int | None, Trouble] = {
    errno.ENOSPC: "full",
    errno.EDQUOT: "full",
    errno.EFBIG: "full",
    errno.EROFS: "read_only",
    errno.EACCES: "read_only",
    errno.EPERM: "read_only",
    errno.ENOENT: "gone",
    errno.ENOTDIR: "gone",
    errno.ESTALE: "gone",
}


class JournalTrouble(Exception):
    """The lines could not be written. `written` of them were."""

    def __init__(self, reason: Trouble, written: int) -> None:
        super().__init__(reason)
        self.reason: Trouble = reason
        self.written = written


def journal_files(directory: Path) -> list[Path]:
    """Everybody's files, oldest first; none where there is no directory. Raises `OSError`."""
    try:
        with os.scandir(directory) as entries:
            return sorted(Path(entry.path) for entry in entries if _NAME.fullmatch(entry.name))
    except FileNotFoundError:
        return []


def lock(descriptor: int) -> bool:
    """Take the lock of an open file, for as long as it is open; False where somebody else has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_lines(descriptor: int, offset: int, max_bytes: int) -> bytes:
    """Whole lines from `offset` on, about `max_bytes` of them; none at the end, or where the next line has no end yet.

    Where more than `MAX_LINE_BYTES` have no line end they are given back as they are: they are not going to be a line.
    """
    data = os.pread(descriptor, max_bytes, offset)
    end = data.rfind(b"\n") + 1
    if end or len(data) < max_bytes:
        return data[:end]
    data = os.pread(descriptor, MAX_LINE_BYTES, offset)
    end = data.rfind(b"\n") + 1
    return data[:end] if end or len(data) < MAX_LINE_BYTES else data


class JournalWriter:
    """The file that this process writes to, and the next one when it is full or old. Used by one thread.

    `max_bytes`: what the files of everybody in the directory may hold together.
    """

    def __init__(
        self, directory: Path, *, max_bytes: int, max_file_bytes: int, max_file_age_s: float, now: Callable[[], float] = time.time
    ) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._max_file_bytes = max_file_bytes
        self._max_file_age_s = max_file_age_s
        self._now = now
        self._descriptor: int | None = None
        self._path = directory
        self._mark = os.urandom(4).hex()
        self._opened_s = 0.0
        self._stamp_ms = 0
        self._size = 0
        self._looked_s = float("-inf")
        self.files = 0
        self.disk_bytes = 0

    @property
    def ending(self) -> str:
        """What the names of all files of this process end with, and no others."""
        return f"-{os.getpid()}-{self._mark}.jsonl"

    def append(self, lines: Sequence[bytes]) -> None:
        """Write lines, their ends included. Raises `JournalTrouble`; what it counts as written is written, whole."""
        data = b"".join(lines)
        try:
            self._make_room(len(data))
            descriptor = self._usable()
        except OSError as error:
            self.close()
            raise JournalTrouble(_TROUBLES.get(error.errno, "broken"), 0) from error
        done = 0
        try:
            while done < len(data):
                done += os.write(descriptor, memoryview(data)[done:])
        except OSError as error:
            whole = data.rfind(b"\n", 0, done) + 1
            self._leave_at(descriptor, whole)
            raise JournalTrouble(_TROUBLES.get(error.errno, "broken"), data.count(b"\n", 0, whole)) from error
        self._size += done
        self.disk_bytes += done

    def close(self) -> None:
        """Let go of the file; one with nothing in it is removed. The next line goes to another one."""
        if self._descriptor is None:
            return
        with contextlib.suppress(OSError):
            if not self._size:
                self._path.unlink()
        with contextlib.suppress(OSError):
            os.close(self._descriptor)
        self._descriptor = None

    def _make_room(self, size: int) -> None:
        """Raises `JournalTrouble` where the directory holds as much as it may; the own file is let go of, so that it can be moved away."""
        now = self._now()
        if self.disk_bytes + size > self._max_bytes or not 0 <= now - self._looked_s < _LOOK_EVERY_S:
            self._looked_s = now
            self._look()
        if self.disk_bytes + size > self._max_bytes:
            self.close()
            raise JournalTrouble("at_limit", 0)

    def _look(self) -> None:
        sizes = []
        for path in journal_files(self._directory):
            with contextlib.suppress(FileNotFoundError):
                sizes.append(path.stat().st_size)
        self.files, self.disk_bytes = len(sizes), sum(sizes)

    def _usable(self) -> int:
        """The descriptor of a file that is still in its place, and neither full nor old. Raises `OSError`."""
        if self._descriptor is not None:
            if self._size < self._max_file_bytes and 0 <= self._now() - self._opened_s < self._max_file_age_s and self._in_place():
                return self._descriptor
            self.close()
        return self._open()

    def _in_place(self) -> bool:
        assert self._descriptor is not None
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self._descriptor))

    def _open(self) -> int:
        """A file of our own, locked before anybody could take it for one that was left behind."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        while self._descriptor is None:
            # Names grow, also within a millisecond and when the clock is set back.
            self._stamp_ms = max(self._stamp_ms + 1, int(self._now() * 1000))
            self._path = self._directory / f"calls-{self._stamp_ms:013d}{self.ending}"
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._descriptor, self._size = descriptor, 0
            if not (lock(descriptor) and self._in_place()):
                self.close()
        self._opened_s = self._now()
        self.files += 1
        return self._descriptor

    def _leave_at(self, descriptor: int, size: int) -> None:
        """After a failure: keep the whole lines and go on in another file. Where even this fails a reader stops at the last line end."""
        self._size += size
        self.disk_bytes += size
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, self._size)
        self.close()
