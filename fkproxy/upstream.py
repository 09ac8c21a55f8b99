"""One upstream as calls meet it: an adapter, whether it may be asked now, and what was seen of it.

Floor 3.

A call holds a `Lease` on the upstream it is at. The lease reports once to everybody who keeps count: breaker, standing, slots, tokens.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import cached_property

import msgspec

from fkproxy.adapters.base import Adapter, Credential, Timeouts
from fkproxy.adapters.quota import Quota, QuotaProbe
from fkproxy.adapters.secret import secrets_of
from fkproxy.dialects.base import Dialect
from fkproxy.limits.breaker import Breaker, Permit
from fkproxy.limits.fair_queue import FairQueue
from fkproxy.limits.standing import Cause, Standing, UpstreamState
from fkproxy.limits.tokens import TokenMeter
from fkproxy.model.errors import (
    UpstreamError,
    UpstreamModelMissing,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamRefusedCredential,
    UpstreamRejected,
)
from fkproxy.model.request import ReasoningConfig
from fkproxy.telemetry.prices import Pricing
from fkproxy.telemetry.record import Skipped, upstream_key

__all__ = ["Lease", "Terms", "Upstream"]

_BUSY_RETRY_S = 1.0


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says about calls to one provider.

    `retries`: further tries at the same upstream after it failed. `reasoning`: for calls that say nothing about thinking. `weight`: of
    this credential among the provider's. A limit of 0 is none. `withheld`: what the headers hold that are added to every request.
    """

    timeouts: Timeouts
    weight: int = 1
    retries: int = 0
    reasoning: ReasoningConfig | None = None
    pricing: Pricing | None = None
    max_concurrency: int = 0
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    withheld: tuple[Credential, ...] = ()


class Upstream:
    """Provider × credential. Times that people read are unix seconds, those that are compared are the monotonic `now` of the caller."""

    def __init__(
        self, adapter: Adapter, codec: Dialect, breaker: Breaker, standing: Standing, terms: Terms, probe: QuotaProbe | None = None
    ) -> None:
        self.adapter = adapter
        self.codec = codec
        self.breaker = breaker
        self.standing = standing
        self.terms = terms
        self.probe = probe
        self.quota: Quota | None = None
        self.provider_key = adapter.provider_key
        self.credential = adapter.credential.name
        self.key = upstream_key(self.provider_key, self.credential)
        self.in_flight = 0
        self.valve_open = False
        self.promised = 0
        self.waiting: FairQueue[asyncio.Future[Upstream]] = FairQueue()
        self.last_error_code: str | None = None
        self.last_error_s: float | None = None
        self.last_success_s: float | None = None
        self._tokens = TokenMeter(terms.tokens_per_minute) if terms.tokens_per_minute else None
        self._requests = TokenMeter(terms.requests_per_minute) if terms.requests_per_minute else None
        self._slots: float = terms.max_concurrency or float("inf")
        self._limited = bool(terms.max_concurrency or terms.tokens_per_minute or terms.requests_per_minute)

    @cached_property
    def secrets(self) -> tuple[str, ...]:
        """What is taken out of what it says."""
        return secrets_of(self.adapter.credential, *self.terms.withheld)

    # --- may it be asked

    def obstacle(self, model: str, now: float, tokens: int = 0) -> Skipped | None:
        """Why a call for `model` would not be let in now; None when it would. Changes nothing."""
        if self.standing.holds and (held := self._held(model, now)) is not None:
            return held
        if self.breaker.tripped and (wait_s := self.breaker.retry_after_s(now)) > 0:
            return self._skipped(model, "circuit_open", wait_s)
        return self.full(model, now, tokens) if self._limited else None

    def _held(self, model: str, now: float) -> Skipped | None:
        hold = self.standing.keeping_out(model, now)
        if hold is None:
            return None
        return self._skipped(model, hold.state, self.standing.retry_after_s(model, now), hold.cause)

    def full(self, model: str, now: float, tokens: int) -> Skipped | None:
        """Why its limits would not let a call in; None when they would."""
        if self.in_flight + self.promised >= self._slots:
            return self._skipped(model, "busy", _BUSY_RETRY_S)
        if self._requests is not None and (wait_s := self._requests.wait_s(1, now)) > 0:
            return self._skipped(model, "requests_per_minute", wait_s)
        if self._tokens is not None and (wait_s := self._tokens.wait_s(tokens, now)) > 0:
            return self._skipped(model, "tokens_per_minute", wait_s)
        return None

    def _skipped(self, model: str, reason: str, wait_s: float, cause: str = "") -> Skipped:
        return Skipped(
            provider_key=self.provider_key,
            credential=self.credential,
            model_id=model,
            reason=reason,
            retry_after_s=None if wait_s == float("inf") else wait_s,
            cause=cause,
        )

    def lease(self, model: str, now: float, *, tokens: int = 0, force: bool = False, room: bool = False) -> Lease | Skipped:
        """Let one call in. `force`: whatever its standing, for a call that has nowhere else to go; an operator's pause stands.

        `room`: there is, as `obstacle` has just said.
        """
        if force and (hold := self.standing.hold(model)) is not None and hold.state == "paused":
            return self._skipped(model, "paused", float("inf"))
        if self._limited and not room and (full := self.full(model, now, tokens)) is not None:
            return full
        permit = self.breaker.acquire(now)
        if permit is None:
            return self._skipped(model, "circuit_open", self.breaker.retry_after_s(now))
        serial = self.standing.force(model, now) if force else self.standing.admit(model, now)
        if serial is None:
            self.breaker.release(permit, now)
            held = self._held(model, now)
            assert held is not None
            return held
        return self._lease(model, permit, serial, tokens, now)

    def finding_out(self, model: str, now: float) -> bool:
        """What kept it out is over, and one call has been let in to see whether it works."""
        return self.breaker_finds_out(now) and self.standing.over(model, now)

    def breaker_finds_out(self, now: float) -> bool:
        """The same, as far as the breaker kept it out."""
        return not self.valve_open and self.breaker.state(now) != "open"

    def join(self, model: str, now: float, tokens: int = 0) -> Lease:
        """Let one call in beside the one that is finding out, for it has nowhere else to go."""
        return self._lease(model, self.breaker.force(now), self.standing.force(model, now), tokens, now)

    def valve(self, model: str, now: float, tokens: int = 0) -> Lease:
        """Let one call in although the breaker is open, too: the upstream that recovers first when all are kept out."""
        permit = self.breaker.force(now)
        lease = self._lease(model, permit, self.standing.force(model, now), tokens, now)
        lease.valve = self.valve_open = True
        return lease

    def _lease(self, model: str, permit: Permit, serial: int, tokens: int, now: float) -> Lease:
        """There is room: `full` has just said so."""
        self.in_flight += 1
        if self._requests is not None:
            self._requests.take(1)
        if self._tokens is not None:
            self._tokens.take(tokens)
        return Lease(self, model, permit, serial, tokens, now)

    def wake(self) -> None:
        """Promise free slots to those who wait longest, keys in turn: nobody who comes later may take them. Each must `redeem` it."""
        while len(self.waiting) and self.in_flight + self.promised < self._slots:
            waiter = self.waiting.pop()
            if not waiter.done():
                self.promised += 1
                waiter.set_result(self)

    def redeem(self) -> None:
        """The slot that was promised is there to be taken at once; if it is not, the next one gets it."""
        self.promised -= 1
        asyncio.get_running_loop().call_soon(self.wake)

    # --- what was seen

    def state(self, now_s: float) -> UpstreamState:
        """Of the upstream as a whole; `now_s` unix seconds. A credential that is being renewed, or cannot be, shows as such."""
        state = self.standing.state()
        credential = self.adapter.credential.describe(now_s).state
        return credential if state == "active" else state

    def retry_after_s(self, now: float) -> float:
        """Seconds until it may be asked at all; 0.0 if it may now, infinity while an operator holds it."""
        return max(self.standing.retry_after_s(None, now), self.breaker.retry_after_s(now))

    @property
    def refuses_credential(self) -> bool:
        """Its last word on our credential was that it does not take it, for everything or for one of its models."""
        whole = self.standing.hold(None)
        holds = self.standing.models().values()
        return (whole is not None and whole.cause == "credential") or any(hold.cause == "permission" for hold in holds)

    def settle(self, reserved: int, used: int | None, *, asked: bool) -> None:
        """Put what a call was expected to use right. `asked` False: it went to nobody."""
        if self._tokens is not None:
            self._tokens.settle(reserved, used)
        if self._requests is not None and not asked:
            self._requests.settle(1, 0)


class Lease:
    """One call's stay at an upstream. Reports once; `close` gives the place back, whatever happened."""

    __slots__ = ("_closed", "_permit", "_serial", "_tokens", "answered_s", "began_s", "model", "upstream", "valve", "when_answered")

    def __init__(self, upstream: Upstream, model: str, permit: Permit, serial: int, tokens: int, now: float) -> None:
        self.upstream = upstream
        self.model = model
        self.began_s = now
        self.valve = False
        self.answered_s: float | None = None
        self.when_answered: Callable[[], None] | None = None
        self._permit: Permit | None = permit
        self._serial = serial
        self._tokens = tokens
        self._closed = False

    def accepted(self) -> None:
        """The upstream took the request on, and has said nothing yet."""
        self.upstream.standing.accepted(self.model, self._serial)

    def answered(self, now: float) -> None:
        """The first content is here: it works. What may break from now on is reported besides."""
        if self.answered_s is not None:
            return
        self.answered_s = now
        upstream = self.upstream
        if self._permit is not None:
            upstream.breaker.success(self._permit, now)
        upstream.standing.succeeded(self.model, self._serial)
        upstream.last_success_s = time.time()
        if self.when_answered is not None:
            self.when_answered()

    def failed(self, error: UpstreamError, now: float) -> None:
        """The upstream did not serve the call, or broke off."""
        upstream, permit = self.upstream, self._permit
        upstream.last_error_code, upstream.last_error_s = error.code, time.time()
        cause = _cause(error)
        if cause is None:
            # It works, and says that the request does not.
            self.answered(now)
            return
        if error.ours:
            # It was never asked: the permit goes back when the call leaves.
            return
        self._permit = None
        if permit is not None:
            (upstream.breaker.failure if error.breaker else upstream.breaker.release)(permit, now)
        upstream.standing.failed(self.model, self._serial, cause, error.retry_after_s, now)

    def close(self, now: float, used_tokens: int | None = None, *, asked: bool = True) -> None:
        """The call has left. `used_tokens` None: nobody knows. `asked` False: it left before anything was sent."""
        if self._closed:
            return
        self._closed = True
        upstream = self.upstream
        upstream.in_flight -= 1
        if self.valve:
            upstream.valve_open = False
        if self._permit is not None and self.answered_s is None:
            upstream.breaker.release(self._permit, now)
            upstream.standing.released(self.model, self._serial)
        upstream.settle(self._tokens, used_tokens if asked else 0, asked=asked)
        if len(upstream.waiting):
            upstream.wake()


def _cause(error: UpstreamError) -> Cause | None:
    """What the upstream's failure says of its standing; None when it is the request's."""
    match error:
        case UpstreamRateLimited():
            return "rate_limited"
        case UpstreamQuotaExhausted():
            return "quota" if error.whole_account else "model_quota"
        case UpstreamRefusedCredential():
            return "permission" if error.upstream_status == 403 else "credential"
        case UpstreamModelMissing():
            return "model_missing"
        case UpstreamRejected():
            return None
        case UpstreamOverloaded() if error.retry_after_s is not None:
            return "rate_limited"
        case _:
            return "failure"
