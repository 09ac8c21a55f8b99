"""The importer: journal files go into the store, every line once. Floor 2.

    read a piece of a file (thread)  →  rows (event loop, in slices)  →  one transaction: rows, sums, position  →  the next piece

Whose file it is does not matter: the live ones, this process's own among them, are read up to their last line end, and those that nobody
writes to any more are deleted a minute after they are in the store. The position in a file is written in the transaction that writes its
rows, so wherever an importer is killed, the next one goes on at the same line; and a database that lost its last commits, in a power cut
or because a copy took its place, gets their lines again: it lost the positions with them, which are asked for often enough that the files
are still there. One importer at a time works on a directory (a lock that dies with its process); others wait for their turn.

While the store is away nothing is lost and nothing piles up here: the files wait, and the importer asks again, less and less often. A
line that is no entry is counted and left out. After each piece the importer rests for as long as the piece took, or longer: a backlog
must not take the processor from calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from fkproxy.storage.calls_rows import Batch
from fkproxy.storage.calls_statements import Statements
from fkproxy.storage.calls_tables import journal_positions
from fkproxy.storage.database import Database
from fkproxy.storage.values import Reason, StoreError, StoreUnavailable
from fkproxy.telemetry.journal_files import journal_files, lock, read_lines

__all__ = ["PIECE_BYTES", "SLICE_LINES", "Importer", "ImporterFigures"]

_POLL_S = 1.0
_MAX_BACKOFF_S = 30.0
_NEVER = float("-inf")
_KEEP_S = 60.0
"""How long a file stays when it is in the store: Linux has written back by then what a database did not sync."""
PIECE_BYTES = 1024 * 1024
_LEAST_PIECE_BYTES = 64 * 1024
"""Some 140 calls. A piece is half as large after each failure: a slow database takes it then within the time of a transaction."""
SLICE_LINES = 20
"""A slice takes some tenths of a millisecond at most, and other tasks of the event loop go between two of them."""

_MAX_REST_S = 10.0
_MANY_BYTES = 64 * 1024 * 1024
"""Of records that wait: some 150,000 calls."""

logger = logging.getLogger("fkproxy.storage.calls")


class ImporterFigures(msgspec.Struct, kw_only=True):
    """How far the importer is. `waiting_bytes`: in the journal's files and not yet in the store, when it last looked.

    `working`: this process imports; another one may do it. `trouble`: why the store cannot be written to, and since when (unix seconds);
    None while it can.
    """

    working: bool = False
    imported: int = 0
    undecodable: int = 0
    torn: int = 0
    files: int = 0
    waiting_bytes: int = 0
    trouble: Reason | None = None
    trouble_since_s: float = 0.0


class _Piece(msgspec.Struct, frozen=True, kw_only=True):
    """Whole lines of a file. No `data`: the file was removed. `torn`: its last line had no end."""

    path: Path
    offset: int
    data: bytes = b""
    torn: bool = False


class Importer:
    """See the top of this file. `sleep` and `now` are there for tests."""

    def __init__(
        self,
        database: Database,
        directory: Path,
        *,
        poll_s: float = _POLL_S,
        keep_s: float = _KEEP_S,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.figures = ImporterFigures()
        self._database = database
        self._directory = directory
        self._poll_s = poll_s
        self._keep_s = keep_s
        self._done_s: dict[str, float] = {}
        self._sleep = sleep
        self._now = now
        self._positions: dict[str, int] = {}
        self._asked_s = _NEVER
        self._statements = Statements(database.kind)
        self._lock: int | None = None
        self._piece_bytes = PIECE_BYTES
        self._worked_s = 0.0

    async def run(self) -> None:
        """Import for ever."""
        backoff_s = self._poll_s
        try:
            while True:
                self._worked_s = 0.0
                try:
                    more = await self.step()
                except StoreError as error:
                    self._begin_trouble(error.reason if isinstance(error, StoreUnavailable) else "broken")
                    self._piece_bytes = max(self._piece_bytes // 2, _LEAST_PIECE_BYTES)
                    await asyncio.to_thread(self._look)
                    await self._sleep(backoff_s)
                    backoff_s = min(backoff_s * 2, _MAX_BACKOFF_S)
                    continue
                backoff_s = self._poll_s
                await self._sleep(self._rest_s() if more else self._poll_s)
        finally:
            self.close()

    def _rest_s(self) -> float:
        """Calls come first: a tenth of a core is the importer's. Only where records pile up is it half, before their bound is reached.

        To wait for somebody else's lock is no work, nor is the time in which the process is stopped: that is what the bound is for.
        """
        return min(self._worked_s * (1.0 if self.figures.waiting_bytes > _MANY_BYTES else 9.0), _MAX_REST_S)

    async def step(self) -> bool:
        """Import one piece, or take leave of one file; False when there was neither. Raises StoreError: the piece comes again."""
        self.figures.working = await asyncio.to_thread(self._is_our_turn)
        if not self.figures.working:
            return False
        # Twice within the time that a file stays: the database of now may lack what the one of before had.
        if not 0 <= self._now() - self._asked_s < self._keep_s / 2:
            self._asked_s = _NEVER
            self._positions, self._asked_s = await self._read_positions(), self._now()
        piece = await asyncio.to_thread(self._next_piece)
        if piece is not None:
            await (self._import(piece) if piece.data else self._forget(piece))
        self._end_trouble()
        return piece is not None

    def close(self) -> None:
        """Let another process have its turn."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        self.figures.working = False

    # --- files

    def _is_our_turn(self) -> bool:
        """We have the lock of the directory that is there now, or just got it."""
        path = self._directory / "importer.lock"
        try:
            if self._lock is not None and os.path.samestat(path.stat(), os.fstat(self._lock)):
                return True
            self.close()
            handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:
            # No directory: no journal yet, or none any more. One that can only be read cannot be worked off either.
            self.close()
            return False
        if not lock(handle):
            os.close(handle)
            return False
        self._lock, self._asked_s = handle, _NEVER
        return True

    def _next_piece(self) -> _Piece | None:
        """The oldest lines that are not in the store, or the first file that may go."""
        for path in self._look():
            with contextlib.suppress(OSError):
                if found := self._next_of(path, self._positions.get(path.name, 0)):
                    return found
        return None

    def _look(self) -> list[Path]:
        """The files, and how much of them waits; by what was last known of the store, where that is away."""
        paths, waiting = self._listed(), 0
        for path in paths:
            with contextlib.suppress(OSError):
                waiting += max(0, path.stat().st_size - self._positions.get(path.name, 0))
        self.figures.files, self.figures.waiting_bytes = len(paths), waiting
        return paths

    def _next_of(self, path: Path, offset: int) -> _Piece | None:
        """Lines after `offset`. A file without any that nobody writes to is removed in time; None where there is nothing to do.

        The importer and the writer take the same lock, so no file is removed under the hands of its writer. Raises `OSError`.
        """
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = read_lines(handle, offset, self._piece_bytes)
            if not data and lock(handle):
                # Its writer may have written again before it went.
                data = read_lines(handle, offset, self._piece_bytes)
                now = self._now()
                if not data and not 0 <= now - self._done_s.setdefault(path.name, now) < self._keep_s:
                    path.unlink()
                    return _Piece(path=path, offset=offset, torn=os.fstat(handle).st_size > offset)
            return _Piece(path=path, offset=offset, data=data) if data else None
        finally:
            os.close(handle)

    def _listed(self) -> list[Path]:
        try:
            return journal_files(self._directory)
        except OSError:
            return []

    # --- the store

    async def _read_positions(self) -> dict[str, int]:
        async with self._database.read() as connection:
            found = await connection.execute(journal_positions.select())
            return {row.file: row.read_bytes for row in found}

    async def _import(self, piece: _Piece) -> None:
        batch, began = Batch(), time.monotonic()
        lines = piece.data.split(b"\n")
        if lines.pop():
            batch.undecodable += 1  # longer than any line
        for first in range(0, len(lines), SLICE_LINES):
            batch.add(lines[first : first + SLICE_LINES])
            await asyncio.sleep(0)
        self._worked_s = time.monotonic() - began
        name, after = piece.path.name, piece.offset + len(piece.data)
        # Until the transaction is known to have taken place nothing is known: the store is asked again after any failure.
        asked_s, self._asked_s = self._asked_s, _NEVER
        async with self._database.begin(lock="calls") as connection:
            began = time.monotonic()
            moved = await self._statements.advance(connection, name, piece.offset, after, self._now())
            if moved:
                await self._statements.insert(connection, batch)
            took_s = time.monotonic() - began
        self._worked_s += took_s
        if took_s < self._database.deadlines.transaction_s / 4:
            self._piece_bytes = min(self._piece_bytes * 2, PIECE_BYTES)
        if moved:
            self._positions[name], self._asked_s = after, asked_s
            self._done_s.pop(name, None)
            self.figures.imported += len(batch.rows)
            self.figures.undecodable += batch.undecodable

    async def _forget(self, piece: _Piece) -> None:
        """The file is gone. A position that stays behind, because the store is away or we are killed now, is never asked for."""
        self.figures.torn += piece.torn
        self._done_s.pop(piece.path.name, None)
        if self._positions.pop(piece.path.name, None) is not None:
            async with self._database.begin() as connection:
                await self._statements.forget(connection, piece.path.name)

    def _begin_trouble(self, reason: Reason) -> None:
        if self.figures.trouble is None:
            logger.warning("the store does not take the records of calls; they wait in the journal", extra={"reason": reason})
            self.figures.trouble_since_s = self._now()
        self.figures.trouble = reason

    def _end_trouble(self) -> None:
        if self.figures.trouble is not None:
            self.figures.trouble = None
            logger.warning("the store takes the records of calls again", extra={"waiting_bytes": self.figures.waiting_bytes})
