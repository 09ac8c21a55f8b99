"""Every change with its entry in the audit log, the refused ones too. Floor 3."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec

from fkproxy.control.refusals import Refused, Unknown
from fkproxy.control.seams import Change, Store
from fkproxy.storage.values import Actor, AuditEntry, Conflict, Outcome, StoreError

__all__ = ["By", "Ledger", "safe_target"]

logger = logging.getLogger("fkproxy.control")

_MOST_WAITING = 1000
"""Entries that wait for the store. The lines of the log have them all the same."""

_KEY = re.compile(r"(sk-(?:fk|im)-[0-9a-f]{12})(?:-[A-Za-z0-9_-]+)?")
_NAME = re.compile(
    r"[a-z][a-z0-9_-]{0,31}(?:/[A-Za-z0-9][A-Za-z0-9_.:-]{0,64})?|[0-9a-f]{16}|\d{1,9}|APP_[A-Z_]{1,60}|fkllmproxy-[0-9TZ]+\.db|\*"
)
"""Of a pool, a provider or an upstream; the id of a key; a revision; a setting; a copy of the store; all."""


class By(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks for something, and the request it came with."""

    actor: Actor
    request_id: str | None = None


def safe_target(name: str) -> str:
    """What may stand in the audit log for a name that somebody typed: of a whole key its prefix, nothing of what is no name at all."""
    key = _KEY.fullmatch(name)
    return key[1] if key else name if _NAME.fullmatch(name) else "-"


class Ledger:
    """`store` raises `StoreUnavailable` while there is none. `now`: unix seconds. `keeps`: there is to be one; else all is told only."""

    def __init__(self, store: Callable[[], Store], now: Callable[[], float] = time.time, *, keeps: bool = True) -> None:
        self.store = store
        self.now = now
        self._keeps = keeps
        self._waiting: deque[AuditEntry] = deque()
        self._catching_up: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def change(self, by: By, action: str, kind: str, target: str = "", *, based_on: int | None = None) -> AsyncIterator[Change]:
        """One transaction. Raises what is raised inside, `Conflict` and `StoreUnavailable`; nothing has changed then."""
        entry = self._entry(by, action, kind, target)
        store = self.store()
        try:
            async with store.change(entry, based_on=based_on) as change:
                yield change
                target = change.target
        except Unknown as error:
            # What is not there is not named: it may have been anything, a secret in the wrong place too.
            shown = entry.target if _KEY.fullmatch(entry.target) else "-"
            await self._failed(msgspec.structs.replace(entry, target=shown), "refused", error.code)
            raise
        except Refused as error:
            await self._failed(entry, "refused", error.code)
            raise
        except Conflict:
            await self._failed(entry, "refused", "conflict")
            raise
        _told(msgspec.structs.replace(entry, target=target))

    async def note(
        self, by: By, action: str, kind: str, target: str = "", *, changed: Sequence[str] = (), outcome: Outcome = "done", note: str = ""
    ) -> None:
        """What was done, or refused, without changing anything in the store. While that is away the entry waits for `catch_up`."""
        entry = msgspec.structs.replace(self._entry(by, action, kind, target), changed=tuple(changed), outcome=outcome, note=note)
        _told(entry)
        await self._write(entry)

    @asynccontextmanager
    async def refusals(self, by: By, action: str, kind: str) -> AsyncIterator[None]:
        """Write down what the body refuses of that which is not of the store. What is not there is not named."""
        try:
            yield
        except Refused as error:
            await self.note(by, action, kind, "-", outcome="refused", note=error.code)
            raise

    def leave(self, by: By, action: str, kind: str, *, outcome: Outcome) -> None:
        """`note` for whoever cannot wait for the store: `catch_up` writes it."""
        entry = msgspec.structs.replace(self._entry(by, action, kind, ""), outcome=outcome)
        _told(entry)
        self._put(entry)

    async def catch_up(self) -> None:
        """Write what had to wait. Raises `StoreError`, and it waits on.

        Who is cancelled meanwhile leaves a write that goes on, and whoever comes next waits for that one: of a write that is cut off nobody
        knows whether it was done, and the log would have its entries twice.
        """
        if self._catching_up is None or self._catching_up.done():
            self._catching_up = asyncio.create_task(self._catch_up())
        await asyncio.shield(self._catching_up)

    async def _catch_up(self) -> None:
        while self._waiting:
            entries = list(self._waiting)
            await self.store().record(entries)
            for _ in entries:
                self._waiting.popleft()

    def end(self) -> None:
        """The process ends: tell what waits for the store all the same."""
        if self._waiting:
            logger.error("entries of the audit log that cannot be written end with the process", extra={"lost": len(self._waiting)})

    def _entry(self, by: By, action: str, kind: str, target: str) -> AuditEntry:
        target = safe_target(target) if target else ""
        return AuditEntry(actor=by.actor, action=action, target_kind=kind, target=target, request_id=by.request_id, at_s=self.now())

    async def _failed(self, entry: AuditEntry, outcome: Outcome, note: str) -> None:
        """The refusal is the answer: that it could not be written down too must not hide it."""
        entry = msgspec.structs.replace(entry, outcome=outcome, note=note)
        _told(entry)
        await self._write(entry)

    async def _write(self, entry: AuditEntry) -> None:
        if self._put(entry):
            with suppress(StoreError):
                await self.catch_up()

    def _put(self, entry: AuditEntry) -> bool:
        """Whether it waits for the store now."""
        if not self._keeps:
            return False
        if len(self._waiting) == _MOST_WAITING:
            logger.error("entries are missing from the audit log: too many wait for the store", extra={"action": entry.action})
            return False
        self._waiting.append(entry)
        return True


def _told(entry: AuditEntry) -> None:
    told = {"action": entry.action, "target": entry.target, "outcome": entry.outcome, "actor": entry.actor.kind}
    logger.info("an administrator's request", extra=told | ({"request_id": entry.request_id} if entry.request_id else {}))
