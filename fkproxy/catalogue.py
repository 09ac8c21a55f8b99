"""Which models can be had now, as the upstreams themselves say.

Floor 3. Lists are asked for when somebody wants them, kept for some minutes, and served stale while an upstream is away or slow: a model
list must be quick and must not claim what routing would refuse. An upstream is asked once for all who want to know, and goes on being
asked when none of them waits any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec

from fkproxy.adapters.base import Adapter
from fkproxy.dialects.base import ModelEntry
from fkproxy.fleet import Fleet
from fkproxy.model.errors import UnknownModel, UpstreamError
from fkproxy.model.names import is_pattern, undated
from fkproxy.routing import Rule

__all__ = ["Catalogue"]

logger = logging.getLogger("fkproxy.catalogue")


class _Listed:
    """One provider's list, and when to ask again. `asking` since `asked`; `settled`: it has been had, or refused, once."""

    def __init__(self) -> None:
        self.entries: list[ModelEntry] = []
        self.due = self.asked = float("-inf")
        self.asking: asyncio.Task[None] | None = None
        self.settled = False


class Catalogue:
    """The union of the providers' lists; the first provider that serves a name owns it.

    `patience_s`: how long a provider is waited for that has something to show meanwhile.
    """

    def __init__(
        self,
        fleet: Callable[[], Fleet],
        *,
        now: Callable[[], float],
        fresh_s: float = 300.0,
        retry_s: float = 15.0,
        patience_s: float = 1.0,
    ) -> None:
        self._fleet = fleet
        self._now = now
        self._fresh_s = fresh_s
        self._retry_s = retry_s
        self._patience_s = patience_s
        self._lists: dict[str, _Listed] = {}

    async def models(self, part: Fleet | None = None) -> list[ModelEntry]:
        """Every model that a request could name, in the order of the providers: their lists, and what the configuration calls by name.

        `part`: those of this part of the fleet only.
        """
        fleet = self._fleet()
        self._ask_due(fleet)
        fleet = part or fleet
        await self._wait(fleet)
        found: dict[str, ModelEntry] = {}
        for rule, _ in fleet.table.providers:
            for entry in self._entries(rule):
                for name in fleet.table.shown(rule, entry.id):
                    found.setdefault(name, entry if entry.id == name else msgspec.structs.replace(entry, id=name))
        return list(found.values())

    async def model(self, name: str, part: Fleet | None = None) -> ModelEntry | None:
        """One of `models`, or what a call by that name would come to: behind a prefix or a provider's name, by a pattern or a fallback of
        the configuration, or under its vendor's name without a date. None where only the vendor could say whether there is such a model.
        """
        for entry in await self.models(part):
            if entry.id == name:
                return entry
        fleet = part or self._fleet()
        rules = {rule.provider_key: rule for rule, _ in fleet.table.providers}
        try:
            targets = fleet.table.candidates(name)
        except UnknownModel:
            return None
        for target in targets:
            rule = rules[fleet.upstreams[target.upstream].provider_key]
            # Anthropic's list has dated names alone, and GET finds the undated ones, too
            # (platform.claude.com/docs/en/api/models/retrieve, "Model identifier or alias", read 2026-11).
            found = next((entry for entry in self._entries(rule) if target.model in (entry.id, undated(entry.id))), None)
            if found is None and target.model not in fleet.table.names(name):
                # The name is the client's, and the operator said what it stands for.
                found = ModelEntry(id=name, owned_by=rule.provider_key)
            if found is not None:
                return msgspec.structs.replace(found, id=name)
        return None

    def close(self) -> None:
        """Nobody wants to know any more."""
        for listed in self._lists.values():
            if listed.asking is not None:
                listed.asking.cancel()

    def _entries(self, rule: Rule) -> list[ModelEntry]:
        listed = self._lists.get(rule.provider_key)
        return [*(listed.entries if listed is not None else ()), *_named(rule)]

    def _ask_due(self, fleet: Fleet) -> None:
        """Begin to ask whose list is not fresh."""
        now = self._now()
        keys = {rule.provider_key for rule, _ in fleet.table.providers}
        self._lists = {key: self._lists.get(key) or _Listed() for key in keys}
        for rule, indices in fleet.table.providers:
            listed = self._lists[rule.provider_key]
            if listed.asking is None and listed.due <= now:
                able = [index for index in indices if fleet.upstreams[index].standing.hold(None) is None]
                listed.asked = now
                listed.asking = asyncio.create_task(self._ask(fleet.upstreams[(able or list(indices))[0]].adapter, listed))

    async def _wait(self, fleet: Fleet) -> None:
        """Until the fleet's lists are there; for one that has something to show meanwhile as long as patience lasts."""
        unknown, known, until = set(), set(), float("-inf")
        for rule, _ in fleet.table.providers:
            listed = self._lists.get(rule.provider_key)
            if listed is None or listed.asking is None:
                continue
            if listed.settled or _named(rule):
                known.add(listed.asking)
                until = max(until, listed.asked + self._patience_s)
            else:
                unknown.add(listed.asking)
        if unknown:
            await asyncio.wait(unknown)
        left_s = until - self._now()
        if known and left_s > 0:
            await asyncio.wait(known, timeout=left_s)

    async def _ask(self, adapter: Adapter, listed: _Listed) -> None:
        listed.due = listed.asked + self._retry_s
        try:
            listed.entries = await adapter.list_models()
            listed.due = listed.asked + self._fresh_s
        except UpstreamError as error:
            logger.warning("the list of models could not be had", extra={"provider_key": adapter.provider_key, "error_code": error.code})
        finally:
            listed.asking, listed.settled = None, True


def _named(rule: Rule) -> list[ModelEntry]:
    """Names that the configuration gives in full."""
    names = [name for name in (*rule.models, *rule.names) if not is_pattern(name)]
    return [ModelEntry(id=name, owned_by=rule.provider_key) for name in names]
