"""Where lines go: one thread writes them to stdout, so that nobody who logs ever waits for whoever reads.

Floor 2.

A pipe that nobody empties blocks its writer; the event loop must not be that writer. Lines are put in a bounded queue; when it is
full they are dropped and counted, as are those that cannot be written, and a line tells so when there is room again. Writes end at
line ends and hold at most `PIPE_BUF` bytes (or one line), which pipe(7) promises not to mix with those of the supervising process on
the same pipe.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

__all__ = ["Output"]

_MAX_QUEUED_BYTES = 8 * 1024 * 1024
_PIPE_BUF = 4096
_GATHER_S = 0.05
"""Lines of so long a time are written together."""


class Output:
    """A file descriptor with a thread in front. Survives a fork: the child starts a thread of its own and leaves what was queued."""

    def __init__(self, descriptor: int, *, max_queued_bytes: int = _MAX_QUEUED_BYTES) -> None:
        self.dropped = 0
        self._descriptor = descriptor
        self._max_queued_bytes = max_queued_bytes
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lines: deque[bytes | Callable[[], bytes]] = deque()
        self._queued_bytes = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._thread: threading.Thread | None = None

    def write(self, line: bytes) -> None:
        """Queue one line, its end included. Never waits, never raises."""
        self._queue(line, len(line))

    def write_later(self, make: Callable[[], bytes], size_bytes: int) -> None:
        """The same for a line that `make` gives when it is written. `size_bytes`: what it takes up until then."""
        self._queue(make, size_bytes)

    def _queue(self, line: bytes | Callable[[], bytes], size_bytes: int) -> None:
        with self._lock:
            if self._queued_bytes + size_bytes > self._max_queued_bytes:
                self.dropped += 1
                return
            self._lines.append(line)
            self._queued_bytes += size_bytes
            if self._idle.is_set():
                self._rouse()

    def _rouse(self) -> None:
        """With the lock held."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
            self._thread.start()
        self._idle.clear()
        self._wake.set()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all is written, for at most `timeout_s` seconds; True if it is."""
        return self._idle.wait(timeout_s)

    def _run(self) -> None:
        told = 0
        while True:
            self._wake.wait()
            self._wake.clear()
            while True:
                with self._lock:
                    lines, self._lines = self._lines, deque()
                    self._queued_bytes = 0
                    if not lines:
                        self._idle.set()
                        break
                    dropped = self.dropped
                if dropped > told and self.notice is not None and not _write_all(self._descriptor, [self.notice(dropped - told)]):
                    told = dropped
                if lost := _write_all(self._descriptor, self._made(lines)):
                    with self._lock:
                        self.dropped += lost
                time.sleep(_GATHER_S)

    def _made(self, queued: Iterable[bytes | Callable[[], bytes]]) -> Iterator[bytes]:
        for line in queued:
            if isinstance(line, bytes):
                yield line
                continue
            try:
                yield line()
            except Exception:  # noqa: BLE001 - whatever it is: one line is lost, and those behind it are not
                with self._lock:
                    self.dropped += 1

    notice: Callable[[int], bytes] | None = None
    """Makes the line that tells how many were dropped."""


def _write_all(descriptor: int, lines: Iterable[bytes]) -> int:
    """The number of lines that are lost: whoever read the output may be gone (EPIPE) and a disk may be full (ENOSPC), and calls go on."""
    batches = _batches(lines)
    for batch in batches:
        try:
            _write(descriptor, batch)
        except OSError:
            return batch.count(b"\n") + sum(rest.count(b"\n") for rest in batches)
    return 0


def _batches(lines: Iterable[bytes]) -> Iterator[bytes]:
    batch = bytearray()
    for line in lines:
        if batch and len(batch) + len(line) > _PIPE_BUF:
            yield bytes(batch)
            batch.clear()
        batch += line
    yield bytes(batch)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            time.sleep(_GATHER_S)
