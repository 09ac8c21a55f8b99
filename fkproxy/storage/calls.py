"""The request log: calls come in from the journal, are searched, exported, added up, and taken away in time. Floor 2.

journal files  →  `calls_import`  →  calls, usage_hourly  →  `calls_search`, `calls_export`, `calls_usage`
     ↓                                     ↓
`calls_waiting`                     `calls_retention`
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from fkproxy.limits.steady import SteadyClock
from fkproxy.storage import calls_export, calls_search, calls_usage, calls_waiting
from fkproxy.storage.calls_import import Importer, ImporterFigures
from fkproxy.storage.calls_retention import retain
from fkproxy.storage.calls_values import (
    Begins,
    CallFilter,
    CallPage,
    CallRow,
    ExportFormat,
    GroupBy,
    Removed,
    Retention,
    Spent,
    UsageFilter,
    UsageRow,
)
from fkproxy.storage.database import Database
from fkproxy.storage.values import StoreError

__all__ = ["Calls"]

_RETAIN_EVERY_S = 600.0
_MAX_OF_ONE_ID = 100

logger = logging.getLogger("fkproxy.storage.calls")


class Calls:
    """See the top of this file. `directory` is the journal's; `retention` is asked each time, so it may change.

    All of it raises StoreUnavailable while the database cannot be used, but for `run`, which waits.
    """

    def __init__(
        self,
        database: Database,
        directory: Path,
        *,
        retention: Callable[[], Retention] = Retention,
        now: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._database = database
        self._directory = directory
        self._retention = retention
        self._now = now
        self._ticks = ticks
        self._clock = SteadyClock()
        self._sleep = sleep
        self._importer = Importer(database, directory, now=now, sleep=sleep)

    @property
    def figures(self) -> ImporterFigures:
        """How far the importer is."""
        return self._importer.figures

    async def run(self) -> None:
        """Import for ever, and take away what is old, where this process is the one that imports."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._importer.run())
            tasks.create_task(self._keep_retaining())

    async def search(self, which: CallFilter, *, limit: int = 50, cursor: str | None = None) -> CallPage:
        """One page, newest first. Raises ValueError for what is no cursor."""
        return await calls_search.search(self._database, which, limit=limit, cursor=cursor)

    async def get(self, request_id: str) -> tuple[CallRow, ...]:
        """The calls with this id, newest first: one, unless a client used its own id again; of very many the newest."""
        return (await self.search(CallFilter(request_id=request_id), limit=_MAX_OF_ONE_ID)).rows

    def export(self, which: CallFilter, kind: ExportFormat) -> AsyncIterator[bytes]:
        """All that fit, as pieces of a file."""
        return calls_export.export(self._database, which, kind)

    async def usage(
        self, by: GroupBy, *, since_s: float | None = None, until_s: float | None = None, which: UsageFilter | None = None
    ) -> list[UsageRow]:
        """Sums over the calls that began in a time, to the hour."""
        return await calls_usage.usage(self._database, by, since_s=since_s, until_s=until_s, which=which)

    async def spent(self, begins: Begins) -> dict[str, Spent]:
        """What every key has used in the windows that began then, by its id."""
        return await calls_usage.spent(self._database, begins)

    async def spent_by_others(self, begins: Begins, own: str) -> dict[str, Spent]:
        """`spent`, with what waits in the journal, and without what the files say whose names end with `own`."""
        return await calls_waiting.spent_by_others(self._database, self._directory, begins, own, sleep=self._sleep)

    async def retain(self, keep: Retention) -> Removed:
        """Remove what is older, as far as the clock can be believed, or more, than `keep` says."""
        return await retain(self._database, keep, self._time(), sleep=self._sleep)

    def _time(self) -> float | None:
        return self._clock.read(self._now(), self._ticks())

    async def _keep_retaining(self) -> None:
        while True:
            self._time()
            await self._sleep(_RETAIN_EVERY_S)
            if not self.figures.working:
                continue
            try:
                removed = await self.retain(self._retention())
            except StoreError as error:
                logger.warning("old calls could not be removed", extra={"reason": str(error)})
                continue
            if removed.calls or removed.usage:
                logger.info("old calls were removed", extra={"calls": removed.calls, "usage": removed.usage})
