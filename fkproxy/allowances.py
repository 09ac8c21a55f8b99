"""What the keys of pools may still use. Floor 3.

One allowance for each key that has called, by the key's id: it stays through rotations and whatever else changes about the key, and so do
its counts. A limit that the key does not have is None: the gateway's own for all keys holds then.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from fkproxy.directory import KeyLimits
from fkproxy.limits.bucket import TokenBucket, Verdict
from fkproxy.limits.budget import Budget, Limit, Measure, Reservation, Shortage, Window
from fkproxy.limits.tokens import TokenMeter
from fkproxy.model.errors import ConcurrencyExceeded, RateLimited, SpendBudgetExceeded, TokenBudgetExceeded
from fkproxy.terms import Terms
from fkproxy.turnstile import Turnstile

__all__ = ["Allowance", "Allowances"]


class Allowance:
    """One key's. `used_s`: when its last call began, unix seconds. `free`: nothing to `admit`. `waits`: there is a `meter` or
    a `turnstile`."""

    __slots__ = ("_bucket", "_limits", "_limits_spend", "_max_wait_s", "budget", "free", "meter", "turnstile", "used_s", "waits")

    def __init__(self, limits: KeyLimits, max_wait_s: float) -> None:
        self.used_s = 0.0
        self.budget = Budget()
        self.meter: TokenMeter | None = None
        self.turnstile: Turnstile | None = None
        self._bucket: TokenBucket | None = None
        self._max_wait_s = max_wait_s
        self._limits = KeyLimits()
        self.limit(limits)

    def limit(self, limits: KeyLimits) -> None:
        """These are the key's limits from now on. What did not change goes on as it was."""
        before, self._limits = self._limits, limits
        if limits.requests_per_minute != before.requests_per_minute:
            self._bucket = None
        if limits.tokens_per_minute != before.tokens_per_minute:
            self.meter = TokenMeter(limits.tokens_per_minute) if limits.tokens_per_minute else None
        if not limits.max_concurrency:
            if self.turnstile is not None and limits.max_concurrency is None:
                self.turnstile.limit = sys.maxsize  # for those who wait
            self.turnstile = None
        elif self.turnstile is None:
            self.turnstile = Turnstile(limits.max_concurrency, self._max_wait_s)
        elif limits.max_concurrency != self.turnstile.limit:
            self.turnstile.limit = limits.max_concurrency
        self.free = limits.requests_per_minute is None and limits.tokens_per_minute != 0 and limits.max_concurrency != 0
        self.waits = self.meter is not None or self.turnstile is not None
        self.budget.limits = _budgets(limits)
        self._limits_spend = any(limit.what == "usd" for limit in self.budget.limits)

    def tune(self, max_wait_s: float) -> None:
        """From now on a call may wait so long for its turn."""
        self._max_wait_s = max_wait_s
        if self.turnstile is not None:
            self.turnstile.max_wait_s = max_wait_s

    def admit(self, now: float) -> Verdict | None:
        """Take one request; None where the key has no limit of requests. `now` is monotonic seconds.

        Raises `RateLimited` and `ConcurrencyExceeded`.
        """
        limits = self._limits
        if limits.tokens_per_minute == 0:
            raise RateLimited(None, "this key may use 0 tokens a minute")
        if limits.max_concurrency == 0:
            raise ConcurrencyExceeded(0, None, "calls of this key are under way")
        per_minute = limits.requests_per_minute
        if per_minute is None:
            return None
        if per_minute == 0:
            raise RateLimited(None, "this key may send 0 requests a minute")
        if self._bucket is None:
            self._bucket = TokenBucket(per_minute, per_minute / 60.0, now)
        return self._bucket.take(now)

    def reserve(self, tokens: int, price: Callable[[], float | None], at_s: float) -> Reservation | None:
        """Take what a call is expected to use and cost; None where no budget limits it.

        `price`: what it may cost, None where nobody knows. Raises `TokenBudgetExceeded` and `SpendBudgetExceeded`.
        """
        budget = self.budget
        if not budget.limits:
            return None
        usd = (price() or 0.0) if self._limits_spend else 0.0
        got = budget.reserve(tokens, usd, at_s)
        if isinstance(got, Shortage):
            limit = got.limit
            kind = TokenBudgetExceeded if limit.what == "tokens" else SpendBudgetExceeded
            raise kind(limit.most, limit.window, got.retry_after_s)
        return got

    def book(self, reservation: Reservation | None, tokens: int | None, usd: float | None, at_s: float) -> None:
        """The call that began at `at_s` is over. `tokens` None: nobody knows. `usd` None: nobody knows its price."""
        if reservation is not None:
            self.budget.settle(reservation, tokens, None if tokens is None else usd or 0.0)
        elif tokens:
            self.budget.add(tokens, usd or 0.0, at_s)


class Allowances:
    """By the key's id. `max_wait_s`: how long a call may wait for its turn."""

    def __init__(self, max_wait_s: float) -> None:
        self._max_wait_s = max_wait_s
        self.by_key: dict[str, Allowance] = {}
        """Those of keys that have called, or that something was told of."""

    def tune(self, max_wait_s: float) -> None:
        """From now on a call may wait so long."""
        self._max_wait_s = max_wait_s
        for allowance in self.by_key.values():
            allowance.tune(max_wait_s)

    def of(self, key_id: str, terms: Terms) -> Allowance:
        """The key's."""
        allowance = self.by_key.get(key_id)
        if allowance is None:
            allowance = self.by_key[key_id] = Allowance(terms.limits, self._max_wait_s)
        return allowance

    def replace(self, limits: Mapping[str, KeyLimits]) -> None:
        """These are the keys there are, and their limits. Who is not among them is forgotten."""
        self.by_key = {key_id: allowance for key_id, allowance in self.by_key.items() if key_id in limits}
        for key_id, allowance in self.by_key.items():
            allowance.limit(limits[key_id])


def _budgets(limits: KeyLimits) -> tuple[Limit, ...]:
    most: tuple[tuple[Measure, Window, float | None], ...] = (
        ("tokens", "day", limits.tokens_per_day),
        ("tokens", "week", limits.tokens_per_week),
        ("usd", "day", limits.spend_usd_per_day),
        ("usd", "month", limits.spend_usd_per_month),
    )
    return tuple(Limit(what, window, limit) for what, window, limit in most if limit is not None)
