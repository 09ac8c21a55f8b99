"""Which models can be had now, as the upstreams themselves say.

Floor 3. Lists are asked for when somebody wants them, kept for some minutes, and served stale while an upstream is away: a model
list must be quick and must not claim what routing would refuse.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec

from fkproxy.adapters.base import Adapter
from fkproxy.dialects.base import ModelEntry
from fkproxy.fleet import Fleet
from fkproxy.model.errors import UpstreamError
from fkproxy.routing import Rule

__all__ = ["Catalogue"]

logger = logging.getLogger("fkproxy.catalogue")

_WILDCARDS = frozenset("*?[")


class _Listed:
    """One provider's list, and when to ask again."""

    def __init__(self) -> None:
        self.entries: list[ModelEntry] = []
        self.due = float("-inf")


class Catalogue:
    """The union of the providers' lists; the first provider that serves a name owns it."""

    def __init__(self, fleet: Callable[[], Fleet], *, now: Callable[[], float], fresh_s: float = 300.0, retry_s: float = 15.0) -> None:
        self._fleet = fleet
        self._now = now
        self._fresh_s = fresh_s
        self._retry_s = retry_s
        self._lists: dict[str, _Listed] = {}
        self._refresh = asyncio.Lock()

    async def models(self, part: Fleet | None = None) -> list[ModelEntry]:
        """Every model that a request could name, in the order of the providers: their lists, and what the configuration calls by name.

        `part`: those of this part of the fleet only.
        """
        fleet = self._fleet()
        async with self._refresh:
            await self._ask_all(fleet)
        found: dict[str, ModelEntry] = {}
        fleet = part or fleet
        for rule, _ in fleet.table.providers:
            listed = self._lists.get(rule.provider_key)
            for entry in (*(listed.entries if listed is not None else ()), *_named(rule)):
                for name in fleet.table.shown(rule, entry.id):
                    found.setdefault(name, entry if entry.id == name else msgspec.structs.replace(entry, id=name))
        return list(found.values())

    async def _ask_all(self, fleet: Fleet) -> None:
        now = self._now()
        keys = {rule.provider_key for rule, _ in fleet.table.providers}
        self._lists = {key: self._lists.get(key) or _Listed() for key in keys}
        async with asyncio.TaskGroup() as tasks:
            for rule, indices in fleet.table.providers:
                listed = self._lists[rule.provider_key]
                if listed.due <= now:
                    able = [index for index in indices if fleet.upstreams[index].standing.hold(None) is None]
                    tasks.create_task(self._ask(fleet.upstreams[(able or list(indices))[0]].adapter, listed, now))

    async def _ask(self, adapter: Adapter, listed: _Listed, now: float) -> None:
        try:
            listed.entries = await adapter.list_models()
            listed.due = now + self._fresh_s
        except UpstreamError as error:
            listed.due = now + self._retry_s
            logger.warning("the list of models could not be had", extra={"provider_key": adapter.provider_key, "error_code": error.code})


def _named(rule: Rule) -> list[ModelEntry]:
    """Names that the configuration gives in full."""
    names = [name for name in (*rule.models, *rule.names) if not set(name) & _WILDCARDS]
    return [ModelEntry(id=name, owned_by=rule.provider_key) for name in names]
