"""The children of one installation of the Codex CLI: started when they are needed, ended when they are old, large, idle or broken.

Floor 2.

A child keeps the login and the settings that it found in its home. Where these have changed another one takes the next call.

A child that could not be started, or ended by itself, is followed at once by another one, and if that does no better by a pause that
doubles. How many may be started is a token bucket: a child that breaks every hour is replaced at once, one that breaks all the time is
replaced now and then, and never is given up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from fkproxy.adapters.base import Children
from fkproxy.adapters.codex.app_server import AppServer
from fkproxy.adapters.codex.catalogue import Catalogue
from fkproxy.adapters.codex.command import Command
from fkproxy.adapters.codex.process import whole
from fkproxy.limits.bucket import TokenBucket
from fkproxy.model.errors import UpstreamError, UpstreamOverloaded, UpstreamSpawnFailed, UpstreamTimeout, UpstreamUnavailable

__all__ = ["Crew", "Limits", "resident_bytes"]

_BACKOFF_FIRST_S = 0.5
_BACKOFF_MAX_S = 30.0
_STARTS_AT_ONCE = 10
_STARTS_PER_S = 1 / 30
_LOOK_S = 5.0
_GRACE_S = 2.0
_ROOM_S = 1.0
"""How long somebody waits for a place: that of a turn whose client left is free a moment after its call is over."""

_SILENT_S = 2.0
"""A child that has owed an answer for so long is passed over where there is another one; if it hangs it is ended later."""

_LEAVE_S = 900.0
"""How long the turns of a child that is replaced may go on."""

_FAR_TOO_LARGE = 2
"""Above this many times its limit a child is ended at once, whatever it does."""

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

logger = logging.getLogger("fkproxy.codex")


class _NotNow(UpstreamOverloaded):
    """No child was asked, and it is known when one can be. Calls that come before count for no breaker, which would keep out longer."""

    breaker = False


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """`turns`: at once in one child. `calls`: that one child serves before another takes its place. 0 is no limit for `age_s`."""

    processes: int = 2
    turns: int = 8
    memory_bytes: int = 512 * 1024 * 1024
    calls: int = 1000
    age_s: float = 6 * 3600.0
    idle_s: float = 600.0
    start_s: float = 20.0


class Crew:
    """Makes nothing before somebody takes a place."""

    def __init__(self, command: Command, limits: Limits, version: str, *, now: Callable[[], float] = time.monotonic) -> None:
        self.command = command
        self.limits = limits
        self.servers: list[AppServer] = []
        self.restarts = 0
        self._version = version
        self._catalogue = Catalogue(now)
        self._now = now
        self._failures = 0
        self._dismissed = 0
        self._not_before = 0.0
        self._bucket = TokenBucket(_STARTS_AT_ONCE, _STARTS_PER_S, now())
        self._starting: asyncio.Task[AppServer] | None = None
        self._replacement: asyncio.TimerHandle | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._freed = asyncio.Event()
        self._closed = False

    # --- places

    async def take(self) -> AppServer:
        """The child with the most room, with one more turn counted; another one is started when all are half full or seem to hang.

        `give_back` it. Raises `UpstreamError`.
        """
        until = asyncio.get_running_loop().time() + _ROOM_S
        while True:
            self._look_at_home()
            free = [server for server in self.servers if not server.leaving and server.turns < self.limits.turns]
            best = min(free, key=lambda server: (server.silent_s() > _SILENT_S, server.turns), default=None)
            if best is not None:
                silent = best.silent_s() > _SILENT_S
                if (silent or 2 * best.turns >= self.limits.turns) and self._may_grow:
                    self._start_beside()
                if silent and self._starting is not None:
                    await self._start()
                    continue
                best.turns += 1
                return best
            if self._starting is not None or self._has_room:
                await self._start()
            elif self._closed or not await self._freed_before(until):
                raise _NotNow("all children are busy", retry_after_s=1.0)

    def _look_at_home(self) -> None:
        """Who has signed in, or changed the settings, means the next call."""
        found = self.command.found()
        for server in self._present:
            if server.found != found:
                self._dismiss(server, "home")

    async def _freed_before(self, until: float) -> bool:
        """Somebody has given back a place, which somebody else may have taken by now. `until` is of the loop's clock."""
        self._freed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                return await self._freed.wait()
        return False

    def status(self) -> Children:
        """How they are; memory as it was when they were last looked at."""
        return Children(
            processes=len(self.servers),
            restarts=self.restarts,
            resident_bytes=sum(server.resident_bytes for server in self.servers),
            version=self.servers[0].version if self.servers else "",
            retry_after_s=max(0.0, self._not_before - self._now()) if not self._present else 0.0,
        )

    def give_back(self, server: AppServer) -> None:
        """One turn is over."""
        server.turns -= 1
        server.served += 1
        self._freed.set()
        server.idle_since = self._now()
        if server.lost is None:
            self._failures = 0

    @property
    def _present(self) -> list[AppServer]:
        return [server for server in self.servers if not server.leaving]

    @property
    def _may_grow(self) -> bool:
        return self._starting is None and self._has_room and self._now() >= self._not_before

    @property
    def _has_room(self) -> bool:
        """For one more child."""
        return not self._closed and len(self._present) < self.limits.processes

    # --- starting

    async def _start(self) -> AppServer:
        """Whoever needs a child now shares the one that is being started. Raises `UpstreamError`."""
        if self._starting is None:
            if (wait_s := self._not_before - self._now()) > 0:
                raise _NotNow("the child is being restarted", retry_after_s=wait_s)
            self._start_beside()
        assert self._starting is not None
        # Somebody else may wait for it, too, and it is of use to the next one.
        return await asyncio.shield(self._starting)

    def _start_beside(self) -> None:
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep())
        task = self._starting = asyncio.create_task(self._make())
        task.add_done_callback(self._made)

    def _made(self, task: asyncio.Task[AppServer]) -> None:
        if self._starting is task:
            self._starting = None
        self._freed.set()
        if not task.cancelled():
            # Whoever waited for it has been told, and a later one is told by the pause.
            task.exception()

    async def _make(self) -> AppServer:
        now = self._now()
        if self._dismissed:
            self._dismissed -= 1
        elif not (verdict := self._bucket.take(now)).allowed:
            self._not_before = now + verdict.retry_after_s
            raise _NotNow("the child was restarted too often", retry_after_s=verdict.retry_after_s)
        try:
            server = await self._launch()
        except UpstreamError as error:
            self._failed()
            why = error.why if isinstance(error, UpstreamSpawnFailed) else error.code
            logger.error("child could not be started", extra={"binary": self.command.binary, "reason": why, "retry_after_s": self._pause_s})
            raise
        self.servers.append(server)
        # Not only when the loop calls `_made`: who looks before that would wait for what is over, which does not let the loop go on.
        self._starting = None
        told = {"pid": server.process.pid, "version": server.version, "duration_ms": round((self._now() - now) * 1000)}
        logger.info("child started", extra=told)
        return server

    async def _launch(self) -> AppServer:
        # Before it starts: what changes meanwhile it may have missed.
        found = self.command.found()
        start_s = self.limits.start_s
        until = asyncio.get_running_loop().time() + start_s
        process, directory = await self.command.start(lambda _: ("app-server",), self._catalogue, start_s)
        server = AppServer(process, directory, self._ended, found, self._now)
        try:
            await server.shake_hands(self._version, until - asyncio.get_running_loop().time())
        except UpstreamError as error:
            how = f"no handshake within {start_s:g} s" if isinstance(error, UpstreamTimeout) else str(error)
            await server.aclose(0.0)
            raise UpstreamSpawnFailed(process.binary, f"{how}: {process.why_ended()}") from None
        except BaseException:
            await server.aclose(0.0)
            raise
        return server

    # --- ends

    @property
    def _pause_s(self) -> float:
        return min(_BACKOFF_MAX_S, _BACKOFF_FIRST_S * 2.0 ** (self._failures - 2)) if self._failures > 1 else 0.0

    def _failed(self) -> None:
        self._failures += 1
        self._not_before = max(self._not_before, self._now() + self._pause_s)

    def _ended(self, server: AppServer) -> None:
        """A child is of no use any more: it ended, broke off, hangs, or was asked to end."""
        if server not in self.servers:
            return
        self.servers.remove(server)
        self._end(server.aclose(0.0))
        if server.leaving or self._closed:
            return
        self.restarts += 1
        self._failed()
        logger.error(
            "child ended",
            extra={
                "pid": server.process.pid,
                "reason": str(server.lost),
                "calls": server.served,
                "age_s": round(self._now() - server.since),
                "retry_after_s": self._pause_s,
            },
        )
        if self._replacement is not None:
            self._replacement.cancel()
        self._replacement = asyncio.get_running_loop().call_later(max(0.0, self._not_before - self._now()), self._replace)

    def _replace(self) -> None:
        if not self._closed and self._starting is None and not self._present:
            self._start_beside()

    def _dismiss(self, server: AppServer, why: str) -> None:
        """No new turns for it. Whoever takes its place has not been restarted."""
        self._dismissed += 1
        server.leaving, server.leave_by = True, self._now() + _LEAVE_S
        told = {"pid": server.process.pid, "reason": why, "calls": server.served, "resident_bytes": server.resident_bytes}
        logger.info("child is replaced" if why != "idle" else "child is ended", extra=told)
        if why != "idle" and not self._closed and not self._present and self._starting is None:
            self._start_beside()

    async def _keep(self) -> None:
        """Look after the children from time to time."""
        while self.servers or not self._closed or self._starting is not None:
            await asyncio.sleep(_LOOK_S)
            for server in list(self.servers):
                self._look_after(server)

    def _look_after(self, server: AppServer) -> None:
        limit = self.limits.memory_bytes
        server.resident_bytes = resident_bytes(server.process.pid)
        if server.resident_bytes > _FAR_TOO_LARGE * limit:
            server.fail(UpstreamUnavailable("the child took too much memory"))
            return
        if not server.leaving and (why := self._why_leave(server)) is not None:
            self._dismiss(server, why)
        unused = not server.threads and not server.turns
        if server.leaving and (unused or self._now() > server.leave_by):
            self.servers.remove(server)
            self._end(server.aclose(_GRACE_S))

    def _why_leave(self, server: AppServer) -> str | None:
        limits, now = self.limits, self._now()
        if server.resident_bytes > limits.memory_bytes:
            return "memory"
        if server.served >= limits.calls:
            return "calls"
        if limits.age_s and now - server.since > limits.age_s:
            return "age"
        if self._closed:
            return "idle"
        return "idle" if not server.threads and not server.turns and now - server.idle_since > limits.idle_s else None

    def _end(self, ending: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(ending)
        self._ending.add(task)
        task.add_done_callback(self._is_over)

    def _is_over(self, task: asyncio.Task[None]) -> None:
        self._ending.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error

    def retire(self) -> None:
        """The configuration does not name it any more: no new turns, and no children when the last ones are over."""
        self._closed = True
        for server in self._present:
            self._dismiss(server, "idle")

    async def aclose(self) -> None:
        """End all of it. What is under way is cut off. Who is cancelled meanwhile does not leave before the end."""
        await whole(asyncio.ensure_future(self._close()))

    async def _close(self) -> None:
        self._closed = True
        if self._replacement is not None:
            self._replacement.cancel()
        beside = [task for task in (self._keeper, self._starting) if task is not None]
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        servers, self.servers = self.servers, []
        await asyncio.gather(*(server.aclose(_GRACE_S) for server in servers), return_exceptions=True)
        # What ends is waited for: a process, its guard and its pipes are left by nobody else.
        while self._ending:
            await asyncio.wait(self._ending)


def resident_bytes(pid: int) -> int:
    """Of a process and its descendants; 0 for those that are gone."""
    total = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
        # A child belongs to the thread that made it.
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                total += resident_bytes(int(child))
    return total
