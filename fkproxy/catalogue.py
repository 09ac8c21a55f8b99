"""Which models can be had now, as the upstreams themselves say.

Floor 3. Lists are asked for when somebody wants them, kept for some minutes, and served stale while an upstream is away: a model
list must be quick and must not claim what routing would refuse.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from fkproxy.adapters.base import Adapter
from fkproxy.dialects.base import ModelEntry
from fkproxy.model.errors import UnknownModel, UpstreamError
from fkproxy.routing import RoutingTable

__all__ = ["Catalogue"]

logger = logging.getLogger("fkproxy.catalogue")


class Catalogue:
    """The union of the upstreams' lists; the first upstream that serves a name owns it."""

    def __init__(
        self, adapters: Sequence[Adapter], routing: RoutingTable, *, now: Callable[[], float], fresh_s: float = 300.0, retry_s: float = 15.0
    ) -> None:
        self._adapters = tuple(adapters)
        self._routing = routing
        self._now = now
        self._fresh_s = fresh_s
        self._retry_s = retry_s
        self._lists: list[list[ModelEntry]] = [[] for _ in self._adapters]
        self._due: list[float] = [float("-inf") for _ in self._adapters]
        self._refresh = asyncio.Lock()

    async def models(self) -> list[ModelEntry]:
        """Every model that a request could name, in the order of the upstreams."""
        async with self._refresh:
            now = self._now()
            due = [index for index, at in enumerate(self._due) if at <= now]
            if due:
                async with asyncio.TaskGroup() as tasks:
                    for index in due:
                        tasks.create_task(self._ask(index, now))
        found: dict[str, ModelEntry] = {}
        for index, entries in enumerate(self._lists):
            for entry in entries:
                if entry.id not in found and self._serves(index, entry.id):
                    found[entry.id] = entry
        return list(found.values())

    async def _ask(self, index: int, now: float) -> None:
        adapter = self._adapters[index]
        try:
            self._lists[index] = await adapter.list_models()
            self._due[index] = now + self._fresh_s
        except UpstreamError as error:
            self._due[index] = now + self._retry_s
            logger.warning("the list of models could not be had", extra={"provider_key": adapter.provider_key, "error_code": error.code})

    def _serves(self, index: int, model: str) -> bool:
        try:
            return any(target.upstream == index for target in self._routing.candidates(model))
        except UnknownModel:
            return False
