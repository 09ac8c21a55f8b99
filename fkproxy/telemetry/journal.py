"""The journal: every call leaves a line in a file, and nobody who serves a call waits for a disk or a store.

Floor 2.

    write (event loop)  →  queue in memory  →  a thread, four times a second  →  a file  →  `storage.calls`, into the store

A line is in the file half a second after its call at the latest, and what is in the file outlives the process, kill -9 included. While
the file cannot be written (disk full, directory read-only or gone, the bound of the directory reached) lines wait in memory; when there
are too many of them the oldest go, and are counted. Every flush tries again, so it ends by itself. The thread makes the lines, too: many
in a row.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from fkproxy.telemetry.entry import EntryEncoder
from fkproxy.telemetry.journal_files import JournalTrouble, JournalWriter, Trouble
from fkproxy.telemetry.record import RECORD_BYTES, CallRecord

__all__ = ["Journal", "JournalFigures"]

_MAX_BYTES = 512 * 1024 * 1024
_MAX_FILE_BYTES = 8 * 1024 * 1024
_MAX_FILE_AGE_S = 300.0
_MAX_PENDING_BYTES = 32 * 1024 * 1024
_GATHER_S = 0.25
"""Lines of so long a time are written together."""
_BATCH_LINES = 2000

logger = logging.getLogger("fkproxy.telemetry.journal")


class JournalFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How the journal is. `pending_*`: what waits in memory. `files` and `disk_bytes`: of every process, as last looked at.

    `dropped`: lines that are lost, since the start. `trouble`: why nothing can be written now; None while it can.
    """

    pending_lines: int
    pending_bytes: int
    files: int
    disk_bytes: int
    dropped: int
    trouble: Trouble | None


class Journal:
    """See the top of this file. `write` and `close` are called by one thread, in the process that serves.

    `max_bytes` bounds what the directory holds, every process's files together; `max_pending_bytes` what waits in memory.
    """

    def __init__(
        self,
        directory: Path,
        *,
        max_bytes: int = _MAX_BYTES,
        max_file_bytes: int = _MAX_FILE_BYTES,
        max_file_age_s: float = _MAX_FILE_AGE_S,
        max_pending_bytes: int = _MAX_PENDING_BYTES,
        gather_s: float = _GATHER_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._files = JournalWriter(directory, max_bytes=max_bytes, max_file_bytes=max_file_bytes, max_file_age_s=max_file_age_s, now=now)
        self._max_pending_bytes = max_pending_bytes
        self._gather_s = gather_s
        self._encode = EntryEncoder().encode
        # Nothing is locked: each counter has one thread that adds to it, and a deque's own steps are whole ones.
        self._lines: deque[bytes | CallRecord] = deque()
        self._queued_bytes = 0
        self._shed_bytes = 0
        self._encoded_bytes = 0
        self._written_bytes = 0
        self._dropped = 0
        self._unfit = 0
        self._trouble: Trouble | None = None
        self._awake = False
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def write(self, record: CallRecord) -> None:
        """Queue the line of one call, which is made when it is written. Never waits, never raises."""
        self._lines.append(record)
        self._queued_bytes += RECORD_BYTES
        if self._pending_bytes > self._max_pending_bytes:
            self._shed()
        if not self._awake:
            self._rouse()

    @property
    def figures(self) -> JournalFigures:
        """How it is now."""
        return JournalFigures(
            pending_lines=len(self._lines),
            pending_bytes=self._pending_bytes,
            files=self._files.files,
            disk_bytes=self._files.disk_bytes,
            dropped=self._dropped + self._unfit,
            trouble=self._trouble,
        )

    @property
    def ending(self) -> str:
        """What the names of this process's own files end with."""
        return self._files.ending

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what is queued, as far as it can be, tell what is left, and let go of the file. A later `write` begins again."""
        thread = self._thread
        if thread is None:
            return
        self._closing.set()
        self._wake.set()
        thread.join(timeout_s)
        if not thread.is_alive():
            self._thread = None
        if self._lines:
            lost = {"lost": len(self._lines), "reason": self._trouble}
            logger.error("records of calls that cannot be written end with the process", extra=lost)

    @property
    def _pending_bytes(self) -> int:
        return self._queued_bytes + self._encoded_bytes - self._shed_bytes - self._written_bytes

    def _shed(self) -> None:
        """Drop the oldest lines down to the bound. What the thread holds at this moment is no longer in the queue and stays."""
        while self._lines and self._pending_bytes > self._max_pending_bytes:
            try:
                line = self._lines.popleft()
            except IndexError:
                return
            self._shed_bytes += len(line) if isinstance(line, bytes) else RECORD_BYTES
            self._dropped += 1

    def _rouse(self) -> None:
        self._awake = True
        if self._thread is None:
            self._closing = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(self._closing,), name="journal", daemon=True)
            self._thread.start()
        self._wake.set()

    # --- the thread

    def _run(self, closing: threading.Event) -> None:
        last = False
        while not last:
            self._wake.wait()
            last = closing.wait(self._gather_s)
            # In this order: a line that is queued from here on wakes the thread again, or is seen by this flush.
            self._wake.clear()
            self._awake = False
            if not self._flush():
                self._wake.set()
        self._files.close()

    def _flush(self) -> bool:
        """Write what is queued; False if some of it could not be."""
        while batch := self._taken():
            try:
                self._files.append(batch)
            except JournalTrouble as trouble:
                self._written_bytes += sum(map(len, batch[: trouble.written]))
                self._lines.extendleft(reversed(batch[trouble.written :]))
                self._begin(trouble)
                return False
            self._written_bytes += sum(map(len, batch))
            self._end()
        return True

    def _taken(self) -> list[bytes]:
        batch: list[bytes] = []
        # `_shed` may have been here between a look at the length and the step after it.
        with contextlib.suppress(IndexError):
            while len(batch) < _BATCH_LINES:
                queued = self._lines.popleft()
                if isinstance(queued, bytes):
                    batch.append(queued)
                    continue
                try:
                    line = self._encode(queued)
                except (ValueError, TypeError):
                    # Text that is not Unicode, in a field that no client chooses: a name in the configuration.
                    self._unfit += 1
                    self._encoded_bytes -= RECORD_BYTES
                    continue
                self._encoded_bytes += len(line) - RECORD_BYTES
                batch.append(line)
        return batch

    def _begin(self, trouble: JournalTrouble) -> None:
        if self._trouble is None:
            logger.error("the records of calls cannot be written and wait in memory", extra={"reason": trouble.reason})
        self._trouble = trouble.reason

    def _end(self) -> None:
        if self._trouble is not None:
            logger.warning("the records of calls are written again", extra={"dropped": self._dropped})
            self._trouble = None
