"""The store itself, as an administrator looks after it. Floor 3."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from fkproxy.control.ledger import By, Ledger
from fkproxy.control.refusals import Forbidden
from fkproxy.storage.values import AuditEntry, BackupFailed

__all__ = ["Backup", "Resealed", "StoreControl", "Stored"]

_KEPT = 10
"""Copies in the directory; the oldest go."""


class Stored(Protocol):
    """See `storage.store`."""

    async def backup(self, path: Path) -> None: ...
    async def reseal(self, entry: AuditEntry) -> int: ...


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """A copy that was made: where it is on the gateway's host, and how large."""

    path: str
    size_bytes: int


class Resealed(msgspec.Struct, frozen=True, kw_only=True):
    """How many sealed values were sealed anew."""

    values: int


class StoreControl:
    """The verbs. `status` is what /health shows. `directory` is where copies go; None: there is no store."""

    def __init__(
        self,
        store: Callable[[], Stored],
        status: Callable[[], dict[str, Any] | None],
        directory: Path | None,
        ledger: Ledger,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._status = status
        self._directory = directory
        self._ledger = ledger
        self._now = now
        self._copying = asyncio.Lock()

    def status(self) -> dict[str, Any]:
        """How the store stands, and what waits for it."""
        return self._status() or {"state": "none"}

    async def backup(self, *, by: By) -> Backup:
        """A whole copy while everybody goes on, one at a time.

        Raises `Forbidden`, `StoreUnavailable`, and `BackupFailed` which says how PostgreSQL is copied.
        """
        store = self._store()
        assert self._directory is not None
        path = self._directory / time.strftime("fkllmproxy-%Y%m%dT%H%M%SZ.db", time.gmtime(self._now()))
        async with self._copying:
            try:
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                just_made = path.exists()
            except OSError as error:
                raise BackupFailed(f"the directory {self._directory.name} cannot be used ({error.strerror})") from error
            if just_made:
                raise Forbidden("just_made", f"{path.name} was made this very second")
            await store.backup(path)
        # A clock that was wrong has made names that come after this one.
        others = sorted(copy for copy in self._directory.glob("fkllmproxy-*.db") if copy != path)
        for older in others[: 1 - _KEPT]:
            older.unlink(missing_ok=True)
        await self._ledger.note(by, "store.backup", "store", path.name)
        return Backup(path=str(path), size_bytes=path.stat().st_size)

    async def reseal(self, *, by: By) -> Resealed:
        """Seal every secret with the newest key; older keys are needed for older copies only from then on."""
        entry = AuditEntry(actor=by.actor, action="secret.rotate", target_kind="store", request_id=by.request_id, at_s=self._now())
        return Resealed(values=await self._store().reseal(entry))
