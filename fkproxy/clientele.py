"""Everybody who may call: who is let in, where to, for how much, and how long. Floor 3.

    who        `access.py`      the key, its pool, whether its calls are let in
    where      `pools.py`       the fleet of its pool; `terms.py` which models, how much thinking
    how much   `allowances.py`  requests, tokens, spend, calls at once
    how long   `under_way.py`   as long as the key would be let in

`replace` takes a whole directory at once. A call under way keeps its fleet and what it reserved; it ends when its key would not be let in
any more: at the moment of the change, or within a second of an expiry.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec

from fkproxy.access import Caller, KeyRing
from fkproxy.allowances import Allowances
from fkproxy.call import Call
from fkproxy.dialects.base import ModelEntry, Peek
from fkproxy.dialects.other_models import other_models
from fkproxy.directory import Directory
from fkproxy.fleet import Fleet
from fkproxy.limits.budget import Spent, Window
from fkproxy.model.errors import ModelNotAllowed, NoUpstreamAvailable, RateLimited
from fkproxy.model.usage import Usage
from fkproxy.pools import Pools
from fkproxy.suffix import described
from fkproxy.telemetry.prices import cost_usd
from fkproxy.telemetry.record import ENFORCED_MODEL, CallRecord
from fkproxy.under_way import UnderWay

__all__ = ["Clientele"]


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
        self.under_way = UnderWay(keys, now_s)
        self._now = now
        self._now_s = now_s

    def replace(self, directory: Directory) -> None:
        """These are the pools and keys from now on. Calls whose key would not be let in any more are ended."""
        self.keys.replace(directory)
        self._pools.replace(directory.pools)
        self._allowances.replace({key.id: key.limits for key in directory.keys})
        self.under_way.end()

    def tune(self, max_wait_s: float) -> None:
        """How long a call may wait for its key's turn from now on."""
        self._allowances.tune(max_wait_s)

    # --- one call

    def enter(self, call: Call, task: asyncio.Task[object]) -> None:
        """Let the call of a caller in who has terms, and whose key is good. From then on it can be ended, until `leave`.

        Raises `AdmissionError`.
        """
        caller = call.caller
        assert caller.terms is not None
        assert caller.key_id is not None
        allowance = call.allowance = self._allowances.by_key.get(caller.key_id) or self._allowances.of(caller.key_id, caller.terms)
        allowance.used_s = call.started_s
        self.under_way.calls[call] = task
        if allowance.free:
            return
        call.verdict = allowance.admit(self._now())
        if call.verdict is not None and not call.verdict.allowed:
            limit = f"this key's limit of {call.verdict.limit} requests a minute is reached"
            raise RateLimited(call.verdict.retry_after_s, limit)

    def leave(self, call: Call, record: CallRecord) -> None:
        """The call is over; it had an allowance."""
        allowance = call.allowance
        assert allowance is not None
        del self.under_way.calls[call]
        allowance.book(call.reservation, record.total_tokens, record.cost_usd, call.started_s)

    def bind(self, call: Call, peek: Peek, whole: Fleet) -> tuple[Peek, Fleet]:
        """What the call asks for and whom, by the terms of its key; what it may use of them is taken.

        Raises `ModelNotAllowed`, `InvalidRequest`, `NoUpstreamAvailable`, `UnknownModel` and `AdmissionError`.
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
        if not terms.open or terms.enforced_model is not None:
            for other in other_models(call.body):
                if not terms.allows_beside(peek.model, other, fleet.table):
                    raise ModelNotAllowed(other)
        if terms.limits_thinking and peek.operation == "chat":
            self._think(call)
        if allowance.budget.limits:
            price = partial(_price, fleet, peek.model, call.expected_usage, call.started_s)
            call.reservation = allowance.reserve(call.expected_tokens, price, call.started_s)
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
        fleet = self._pools.of(caller.pool, whole)
        allowed = [entry for entry in entries if terms.allows(entry.id, fleet.table)]
        enforced = terms.enforced_model
        if enforced is None:
            return allowed
        if not terms.allows(enforced, fleet.table) or not fleet.table.serves(enforced):
            return []
        return [entry for entry in allowed if entry.id == enforced] or [ModelEntry(id=enforced, owned_by="")]

    def warnings(self, whole: Fleet) -> list[str]:
        """What pools name that is not there."""
        return self._pools.warnings(whole)

    def last_used(self) -> dict[str, float]:
        """When keys last called, unix seconds, by the key's id; those that did since the start."""
        return {key_id: allowance.used_s for key_id, allowance in self._allowances.by_key.items() if allowance.used_s}

    def spent(self) -> dict[str, tuple[Spent, ...]]:
        """What keys used in the windows of now, by the key's id; those that are counted."""
        now_s = self._now_s()
        return {key_id: allowance.budget.spent(now_s) for key_id, allowance in self._allowances.by_key.items()}

    def seed(self, window: Window, used: Mapping[str, tuple[int, float]], at_s: float) -> None:
        """What keys used in the window around `at_s` before this process began: (tokens, USD) by the key's id. The last word counts."""
        for key_id, (tokens, usd) in used.items():
            terms = self.keys.terms(key_id)
            if terms is not None:
                self._allowances.of(key_id, terms).budget.seed(window, tokens, usd, at_s)


def _price(fleet: Fleet, model: str, usage: Usage, at_s: float) -> float | None:
    """What that use of a model costs then at the upstream that is first in line. Raises `UnknownModel`."""
    route = fleet.route(model)
    target = route.only or route.targets[0]
    return cost_usd(fleet.upstreams[target.upstream].terms.pricing, target.model, usage, at_s)
