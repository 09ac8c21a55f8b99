"""Everybody who may call, and the calls of pools' keys under way: who is let in, where to, for how much, and when that ends. Floor 3.

    who        `access.py`      the key, its pool, whether its calls are let in
    where      `pools.py`       the fleet of its pool; `terms.py` which models, how much thinking
    how much   `allowances.py`  requests, tokens, spend, calls at once

`replace` takes a whole directory at once. A call under way keeps its fleet and what it reserved; it ends when its key would not be let in
any more: at the moment of the change, or within a second of an expiry.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence

import msgspec

from fkproxy.access import Caller, KeyRing
from fkproxy.allowances import Allowances
from fkproxy.call import Call
from fkproxy.dialects.base import ModelEntry, Peek
from fkproxy.directory import Directory
from fkproxy.fleet import Fleet
from fkproxy.limits.budget import Spent, Window
from fkproxy.model.errors import ModelNotAllowed, NoUpstreamAvailable, RateLimited
from fkproxy.pools import Pools
from fkproxy.suffix import described
from fkproxy.telemetry.record import ENFORCED_MODEL, CallRecord

__all__ = ["Clientele"]

_LOOK_EVERY_S = 1.0


class Clientele:
    """See the top of this file. `max_wait_s`: how long a call may wait for its key's turn."""

    def __init__(
        self,
        keys: KeyRing,
        *,
        max_wait_s: float = 5.0,
        now: Callable[[], float] = time.monotonic,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self.keys = keys
        self._pools = Pools()
        self._allowances = Allowances(max_wait_s)
        self._under_way: dict[str, dict[Call, asyncio.Task[object]]] = {}
        self._now = now
        self._now_s = now_s
        self._looked_s = now_s()

    def replace(self, directory: Directory) -> None:
        """These are the pools and keys from now on. Calls whose key would not be let in any more are ended."""
        self.keys.replace(directory)
        self._pools.replace(directory.pools)
        self._allowances.replace({key.id: key.limits for key in directory.keys})
        self._end()

    def tune(self, max_wait_s: float) -> None:
        """How long a call may wait for its key's turn from now on."""
        self._allowances.tune(max_wait_s)

    # --- one call

    def enter(self, call: Call, task: asyncio.Task[object]) -> None:
        """Let a call in: who is it, and may it be? From then on it can be ended, until `leave`.

        Raises `NotAuthenticated`, `NotAllowed` and `AdmissionError`.
        """
        caller = call.caller = self.keys.identify(call.presented_key)
        if caller.barred is not None or call.started_s >= caller.ends_s:
            caller.check(call.started_s)
        if caller.terms is None or caller.key_id is None:
            return
        key_id = caller.key_id
        allowance = call.allowance = self._allowances.of(key_id, caller.terms)
        under_way = self._under_way.get(key_id)
        if under_way is None:
            under_way = self._under_way[key_id] = {}
        under_way[call] = task
        call.verdict = allowance.admit(self._now(), call.started_s)
        if call.verdict is not None and not call.verdict.allowed:
            limit = f"this key's limit of {call.verdict.limit} requests a minute is reached"
            raise RateLimited(call.verdict.retry_after_s, limit)

    def leave(self, call: Call, record: CallRecord) -> None:
        """The call is over; it had an allowance."""
        allowance, key_id = call.allowance, call.caller.key_id
        assert allowance is not None
        assert key_id is not None
        under_way = self._under_way[key_id]
        del under_way[call]
        if not under_way:
            del self._under_way[key_id]
        tokens, usd = call.used_tokens, record.cost_usd
        if tokens is None and not call.content_sent and (call.error is not None or not call.attempts):
            tokens = 0
        allowance.book(call.reservation, tokens, usd, call.started_s)

    def bind(self, call: Call, peek: Peek, whole: Fleet) -> tuple[Peek, Fleet]:
        """What the call asks for and whom, by the terms of its key; what it may use of them is taken.

        Raises `ModelNotAllowed`, `NoUpstreamAvailable`, `UnknownModel` and `AdmissionError`.
        """
        caller, allowance = call.caller, call.allowance
        terms = caller.terms
        assert terms is not None
        assert allowance is not None
        fleet = self._pools.of(caller.pool, whole)
        if not fleet.upstreams:
            raise NoUpstreamAvailable((("the key's pool", "none of its upstreams is there"),))
        if terms.enforced_model is not None and terms.enforced_model != peek.model:
            call.note(ENFORCED_MODEL + terms.enforced_model)
            call.asked_model, call.renamed = peek.model, True
            peek = msgspec.structs.replace(peek, model=terms.enforced_model)
        if not terms.allows(peek.model, fleet.table):
            raise ModelNotAllowed(peek.model)
        if peek.operation == "chat":
            self._think(call)
        if allowance.budget.limits:
            target = fleet.route(peek.model).targets[0]
            pricing = fleet.upstreams[target.upstream].terms.pricing
            call.reservation = allowance.reserve(call.body, pricing, target.model, call.started_s)
        return peek, fleet

    @staticmethod
    def _think(call: Call) -> None:
        terms, asked = call.caller.terms, call.reasoning_requested
        assert terms is not None
        chosen = terms.thinking(asked)
        if chosen is None or described(chosen) == asked:
            return
        call.note(f"{'enforced' if terms.enforced_thinking is not None else 'maximum'}_thinking:{described(chosen)}")
        call.reasoning = chosen

    # --- what may be seen

    def fleet_of(self, pool: str | None, whole: Fleet) -> Fleet:
        """Where calls of the pool may go. Raises `PoolInactive` for one that is not there."""
        return self._pools.of(pool, whole)

    def listed(self, caller: Caller, entries: Sequence[ModelEntry], whole: Fleet) -> list[ModelEntry]:
        """Those of its pool's models that the caller's key may ask for. Raises `PoolInactive`."""
        terms = caller.terms
        if terms is None:
            return list(entries)
        table = self._pools.of(caller.pool, whole).table
        allowed = [entry for entry in entries if terms.allows(entry.id, table)]
        return allowed if terms.enforced_model is None else [entry for entry in allowed if entry.id == terms.enforced_model]

    def warnings(self, whole: Fleet) -> list[str]:
        """What pools name that is not there."""
        return self._pools.warnings(whole)

    def last_used(self) -> dict[str, float]:
        """When keys last called, unix seconds, by the key's id; those that did since the start."""
        return {key_id: allowance.used_s for key_id, allowance in self._allowances.known() if allowance.used_s}

    def spent(self) -> dict[str, tuple[Spent, ...]]:
        """What keys used in the windows of now, by the key's id; those that are counted."""
        now_s = self._now_s()
        return {key_id: allowance.budget.spent(now_s) for key_id, allowance in self._allowances.known()}

    def seed(self, window: Window, used: Mapping[str, tuple[int, float]]) -> None:
        """What keys used in a window of now before this process began: (tokens, USD) by the key's id. The last word counts."""
        for key_id, (tokens, usd) in used.items():
            terms = self.keys.terms(key_id)
            if terms is not None:
                self._allowances.of(key_id, terms).budget.seed(window, tokens, usd, self._now_s())

    # --- the end of calls

    async def watch(self) -> None:
        """End the calls whose key expires, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            self.look()

    def look(self) -> None:
        """End the calls whose key has expired since the last look."""
        ends_s = self.keys.ends_s
        if ends_s and bisect_right(ends_s, self._now_s()) != bisect_right(ends_s, self._looked_s):
            self._end()

    def _end(self) -> None:
        now_s = self._looked_s = self._now_s()
        for under_way in self._under_way.values():
            for call, task in under_way.items():
                refusal = None if call.over or call.ended is not None else self.keys.ended(call.caller, now_s)
                if refusal is not None:
                    call.ended = refusal
                    task.cancel()
