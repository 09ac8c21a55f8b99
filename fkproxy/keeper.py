"""The store, held open beside the calls: opened when it can be, watched for changes, given what has to be kept. Floor 4.

Calls never wait for any of this. What is in force stands in a copy on the disk (`storage.snapshot`), from which a process starts; the
store is opened behind its back. While it is away everything goes on as it was, and the fact is told by /health, the metrics and one
line of the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from fkproxy.storage.values import Picture, StoreError, StoreUnavailable

__all__ = ["Chore", "Keeper", "StoreStatus"]

logger = logging.getLogger("fkproxy.keeper")

_LOOK_EVERY_S = 1.0
"""How soon a change made by another process is noticed."""

_COPY = "the copy of what is in force"

_FIRST_RETRY_S = 1.0
_LONGEST_RETRY_S = 30.0


class OpenStore(Protocol):
    """What the keeper itself needs of a store."""

    async def revision(self) -> int: ...
    async def picture(self) -> Picture: ...
    async def close(self) -> None: ...


S = TypeVar("S", bound=OpenStore)


class Chore(msgspec.Struct, frozen=True):
    """Something to do again and again while the store is open: the first time at once, then every `every_s` seconds.

    `at_end`: once more before the store is closed, for what it writes is in memory alone.
    """

    name: str
    every_s: float
    do: Callable[[], Awaitable[object]]
    at_end: bool = False


class StoreStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`state`: `open`, `opening`, or why it cannot be used (see `StoreUnavailable`). `revision` that is in force; None: none yet."""

    state: str
    since_s: float
    message: str = ""
    revision: int | None = None


class Keeper(Generic[S]):
    """`open_store` raises `StoreUnavailable`. `take` puts a picture in force, `keep` writes its copy; what fails is told and tried again.

    `chores` are what to do with an open store, once something is in force; a failure of one is told and does not end it. Nothing ends the
    keeper but its cancellation: what nobody thought of is logged with its place, told as `broken`, and tried again.
    """

    def __init__(
        self,
        *,
        open_store: Callable[[], Awaitable[S]],
        take: Callable[[Picture], Awaitable[None]],
        keep: Callable[[Picture], Awaitable[None]],
        chores: Callable[[S], Sequence[Chore]],
        revision: int | None = None,
        now_s: Callable[[], float] = time.time,
        sleep: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
    ) -> None:
        self._open_store = open_store
        self._take = take
        self._keep = keep
        self._chores = chores
        self._revision = revision
        self._now_s = now_s
        self._sleep = sleep
        self._store: S | None = None
        self._looking = asyncio.Lock()
        self.opened = asyncio.Event()
        self._in_force = asyncio.Event()
        self._state, self._since_s, self._message = "opening", now_s(), ""
        self._undone: dict[str, StoreStatus] = {}
        self._unsure = True
        self._unkept: Picture | None = None

    @property
    def status(self) -> StoreStatus:
        """How the store stands: one that can be read, and not written to by a chore, cannot be used."""
        if self._state == "open" and self._undone:
            return msgspec.structs.replace(next(iter(self._undone.values())), revision=self._revision)
        return StoreStatus(state=self._state, since_s=self._since_s, message=self._message, revision=self._revision)

    @property
    def store(self) -> S:
        """The store. Raises `StoreUnavailable` while it was never opened."""
        if self._store is None:
            raise StoreUnavailable("unreachable", self._message or "the store is not open yet")
        return self._store

    async def run(self) -> None:
        """Until cancelled."""
        wait_s = _FIRST_RETRY_S
        while self._store is None:
            try:
                self._store = await self._open_store()
            except Exception as error:  # noqa: BLE001 - see the class
                self._failed(_known(error, "the store cannot be opened"))
                await self._sleep(wait_s)
                wait_s = min(wait_s * 2, _LONGEST_RETRY_S)
        chores = self._chores(self._store)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow())
                for chore in chores:
                    tasks.create_task(self._again_and_again(chore))
        finally:
            for chore in chores:
                if chore.at_end and self._in_force.is_set():
                    await self._do(chore)
            with contextlib.suppress(StoreError):
                await self._store.close()

    async def look(self) -> None:
        """Put in force what changed since the last look; at the first one, and after one that failed, whatever there is: a standby that
        took the server's place may lack the last changes, and have others under their numbers. Raises `StoreUnavailable`."""
        async with self._looking:
            await self._copy()
            unsure, self._unsure = self._unsure, True
            revision = await self.store.revision()
            if unsure or revision != self._revision:
                picture = await self.store.picture()
                await self._take(picture)
                self._revision = picture.revision
                self._unkept = picture
                await self._copy()
            self._unsure = False
        self._works()

    async def _copy(self) -> None:
        """Keep what is in force and was not kept yet: a start without the store would let in whom it has revoked."""
        if self._unkept is None:
            return
        try:
            await self._keep(self._unkept)
            self._unkept = None
            self._undone.pop(_COPY, None)
        except Exception as error:  # noqa: BLE001 - see the class
            self._put_off(_COPY, error)

    async def _follow(self) -> None:
        while True:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - see the class
                self._failed(_known(error, "what is in the store cannot be put in force"))
            self.opened.set()
            await self._sleep(_LOOK_EVERY_S)

    async def _again_and_again(self, chore: Chore) -> None:
        await self._in_force.wait()
        while True:
            await self._do(chore)
            await self._sleep(chore.every_s)

    async def _do(self, chore: Chore) -> None:
        try:
            await chore.do()
            self._undone.pop(chore.name, None)
        except Exception as error:  # noqa: BLE001 - see the class
            self._put_off(chore.name, error)

    def _put_off(self, name: str, caught: Exception) -> None:
        error = _known(caught, f"{name} cannot be kept")
        before, told = self._undone.get(name), str(error)
        if before is None or before.message != told:
            logger.warning("%s has to wait", name, extra={"reason": told})
        since_s = self._now_s() if before is None else before.since_s
        self._undone[name] = StoreStatus(state=_word(error), since_s=since_s, message=told)

    def _failed(self, error: StoreError) -> None:
        state = _word(error)
        if state != self._state:
            logger.error("the store cannot be used; calls go on without it", extra={"store": state, "reason": str(error)})
            self._state, self._since_s = state, self._now_s()
        self._message = str(error)

    def _works(self) -> None:
        self._in_force.set()
        if self._state != "open":
            away_s = self._now_s() - self._since_s
            logger.info("the store is open", extra={"revision": self._revision, "away_s": round(away_s, 1)})
            self._state, self._since_s, self._message = "open", self._now_s(), ""


def _known(error: Exception, what: str) -> StoreError:
    """It, or what stands for one that is a mistake of ours: its own words may hold values."""
    if isinstance(error, StoreError):
        return error
    logger.error("%s: the keeper of the store failed in itself", what, exc_info=error)
    return StoreUnavailable("broken", f"{what}: internal error")


def _word(error: StoreError) -> str:
    return error.reason if isinstance(error, StoreUnavailable) else "broken"
