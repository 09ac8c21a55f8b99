"""Looks at the quotas of those upstreams whose vendor tells them. Floor 3.

A quota that is used up holds its upstream until the vendor says otherwise, or its reset; a look that fails changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from weakref import WeakKeyDictionary

from fkproxy.fleet import Fleet
from fkproxy.model.errors import UpstreamError
from fkproxy.upstream import Upstream

__all__ = ["QuotaWatch"]

_TICK_S = 1.0

logger = logging.getLogger("fkproxy.quota_watch")


class QuotaWatch:
    """Asks each at its own interval, whatever fleet is in force. `now` is monotonic seconds, `now_s` unix seconds."""

    def __init__(
        self, fleet: Callable[[], Fleet], *, now: Callable[[], float] = time.monotonic, now_s: Callable[[], float] = time.time
    ) -> None:
        self._fleet = fleet
        self._now = now
        self._now_s = now_s
        self._due: WeakKeyDictionary[Upstream, float] = WeakKeyDictionary()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_TICK_S)

    async def look(self) -> None:
        """Ask those whose time has come."""
        now = self._now()
        due = [upstream for upstream in self._fleet().upstreams if upstream.probe is not None and self._due.get(upstream, now) <= now]
        async with asyncio.TaskGroup() as tasks:
            for upstream in due:
                assert upstream.probe is not None
                self._due[upstream] = now + upstream.probe.interval_s
                tasks.create_task(self._ask(upstream))

    async def _ask(self, upstream: Upstream) -> None:
        assert upstream.probe is not None
        told = {"provider_key": upstream.provider_key, "credential": upstream.credential}
        try:
            quota = await upstream.probe.ask(self._now_s())
        except UpstreamError as error:
            logger.warning("the quota could not be asked for", extra={**told, "error_code": error.code})
            return
        except Exception:
            # A bug, and one upstream's: the others' quotas are asked for all the same.
            logger.exception("the quota could not be asked for", extra=told)
            return
        before, upstream.quota = upstream.quota, quota
        if quota.quota_exhausted:
            upstream.standing.exhaust(quota.quota_reset_seconds, self._now())
        elif quota.quota_exhausted is False:
            upstream.standing.replenish()
        if bool(quota.quota_exhausted) != bool(before is not None and before.quota_exhausted):
            logger.warning("the quota is %s", "used up" if quota.quota_exhausted else "there again", extra=told)
