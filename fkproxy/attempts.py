"""Where a call is tried, how often, and what is told when nobody served it. Floor 3.

    route        the model's upstreams, then its fallbacks' (`routing.py`, `fleet.py`)
    for each one that may be asked now, next credential first, then next provider, then fallback model:
        exchange     asked, answered, relayed                                  `exchange.py`
        a failure    may end it: the request's own mistake, content sent, the deadline, the bound of attempts, the retry budget
    all passed over, or failed and soon back:  wait once, within `max_wait_s`
    all kept out:                              try the one that recovers first all the same (the safety valve)

A model with one upstream only is never kept waiting by a cooldown: asking in vain costs it nothing that waiting would save. Its breaker
holds all the same.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import msgspec

from fkproxy.adapters.secret import withhold
from fkproxy.call import Call, Client
from fkproxy.dialects.base import Peek
from fkproxy.dialects.conversation import reply_key
from fkproxy.exchange import Exchanger
from fkproxy.fleet import Course, Fleet
from fkproxy.limits.retry_budget import RetryBudget
from fkproxy.model.errors import (
    ConcurrencyExceeded,
    FkproxyError,
    InternalError,
    Unrepresentable,
    UpstreamError,
    UpstreamFailed,
    UpstreamModelMissing,
    UpstreamOverloaded,
    UpstreamProtocolError,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from fkproxy.refusal import FULL, nobody, told
from fkproxy.routing import Route, Target
from fkproxy.telemetry.record import Attempt, Skipped
from fkproxy.upstream import Lease, Upstream

__all__ = ["Attempts", "RetryPolicy"]

_TRANSIENT = (UpstreamFailed, UpstreamOverloaded, UpstreamProtocolError, UpstreamTimeout, UpstreamUnavailable)
"""Failures after which the same upstream may be asked again."""

_BACKOFF_FIRST_S = 0.2
_BACKOFF_MAX_S = 2.0
_MOST_WAITING = 1000
_CLIENT_ENDED = "client_ended"


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """`max_attempts` bounds one call, `max_wait_s` the one pause it may make for an upstream that is back soon or busy."""

    max_attempts: int = 5
    max_wait_s: float = 5.0
    total_s: float = 600.0


class Attempts:
    """Runs calls. Holds none."""

    def __init__(
        self,
        exchanger: Exchanger,
        *,
        policy: RetryPolicy,
        budget: RetryBudget,
        now: Callable[[], float],
        sleep: Callable[[float], object] = asyncio.sleep,
    ) -> None:
        self._exchanger = exchanger
        self._policy = policy
        self._budget = budget
        self._now = now
        self._sleep = sleep

    def run(self, call: Call, client: Client, peek: Peek, fleet: Fleet) -> Awaitable[None]:
        """Serve the call, or raise what its client is to be told. No coroutine of its own for most calls."""
        route = fleet.route(peek.model)
        if route.only is not None:
            serving = self._run_single(call, client, peek, fleet, route.only)
        else:
            serving = _Run(self, call, client, peek, fleet, route).go()
        return self._counted(serving, call, client, peek) if peek.operation == "count_tokens" else serving

    async def _counted(self, serving: Awaitable[None], call: Call, client: Client, peek: Peek) -> None:
        try:
            await serving
        except Unrepresentable:
            await self._exchanger.estimate(call, client, peek)

    async def _run_single(self, call: Call, client: Client, peek: Peek, fleet: Fleet, target: Target) -> None:
        upstream, model = fleet.upstreams[target.upstream], target.model
        tokens = call.expected_tokens if upstream.terms.tokens_per_minute else 0
        lease = upstream.lease(model, self._now(), tokens=tokens, force=True)
        if isinstance(lease, Skipped) and await self._wait_for(call, client, upstream, lease):
            lease = upstream.lease(model, self._now(), tokens=tokens, force=True)
        if isinstance(lease, Skipped) and lease.reason == "circuit_open" and upstream.breaker_finds_out(self._now()):
            call.note("safety_valve")
            lease = upstream.join(model, self._now(), tokens)
        if isinstance(lease, Skipped):
            call.skip(lease)
            raise nobody(call.skipped)
        again = 0
        while True:
            try:
                return await self.attempt(call, client, peek, lease)
            except UpstreamError as error:
                again += 1
                if not self.may_ask_again(call, upstream, error, again) or not self.within_budget(call):
                    raise
                taken = await self.lease_again(call, client, lease, again, tokens=tokens, force=True)
                if taken is None:
                    raise
                lease = taken

    async def _wait_for(self, call: Call, client: Client, upstream: Upstream, skipped: Skipped) -> bool:
        """Wait once for the only upstream there is, which is at a limit of its own. True when it is worth another look."""
        if skipped.reason == "busy":
            waited = await self._wait_for_slot(call, client, [upstream])
        else:
            wait_s = skipped.retry_after_s if skipped.reason in FULL else None
            waited = wait_s is not None and await self.wait_until(call, client, wait_s)
        if waited:
            call.note("waited")
        return waited

    def _patience_s(self, call: Call) -> float:
        """How long the one pause that a call may make can be by now."""
        return min(self._policy.max_wait_s, call.started + self._policy.total_s - self._now())

    async def wait_until(self, call: Call, client: Client, wait_s: float) -> bool:
        """Wait for who is there again in so many seconds, and a little longer, for others do so too. False when that is too long."""
        if wait_s * 1.25 > self._patience_s(call):
            return False
        await self.pause(call, client, wait_s * random.uniform(1.0, 1.25))  # noqa: S311 - no secret
        return True

    def may_ask_again(self, call: Call, upstream: Upstream, error: UpstreamError, again: int) -> bool:
        """The same upstream may be asked for the `again`th time after this failure."""
        return again <= upstream.terms.retries and isinstance(error, _TRANSIENT) and self.may_go_on(call, error)

    async def lease_again(self, call: Call, client: Client, before: Lease, again: int, *, tokens: int, force: bool = False) -> Lease | None:
        """Of the same upstream, after a pause. None, and the budget has its token back, when it may not be asked any more."""
        taken: Lease | Skipped | None = None
        try:
            await self._back_off(call, client, again)
            if self._now() < call.started + self._policy.total_s:
                taken = before.upstream.lease(before.model, self._now(), tokens=tokens, force=force)
        finally:
            if not isinstance(taken, Lease):
                self._budget.give_back()
        if isinstance(taken, Skipped):
            call.skip(taken)
            return None
        return taken

    def within_budget(self, call: Call) -> bool:
        """The budget allows one attempt more, and has a token less. That it does not is noted."""
        if self._budget.take(self._now()):
            return True
        call.note("retry_budget")
        return False

    def may_go_on(self, call: Call, error: FkproxyError) -> bool:
        """Another attempt is allowed after this failure, whoever makes it."""
        return (
            error.retry
            and not call.content_sent
            and call.attempts < self._policy.max_attempts
            and self._now() < call.started + self._policy.total_s
        )

    async def _back_off(self, call: Call, client: Client, again: int) -> None:
        """Full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter")."""
        await self.pause(call, client, random.uniform(0, min(_BACKOFF_MAX_S, _BACKOFF_FIRST_S * 2**again)))  # noqa: S311 - no secret

    async def pause(self, call: Call, client: Client, seconds: float) -> None:
        """Wait, watching the client."""
        call.watch(client)
        began = self._now()
        try:
            await self._sleep(seconds)  # type: ignore[misc]  # a test's own may be any awaitable
        finally:
            call.waited_s += max(self._now() - began, 1e-9)

    async def _wait_for_slot(self, call: Call, client: Client, upstreams: list[Upstream]) -> bool:
        """Wait until one of them has a free slot; False when none had in time. Raises `ConcurrencyExceeded` when too many wait."""
        limit_s = self._patience_s(call)
        if limit_s <= 0:
            return False
        if max(len(upstream.waiting) for upstream in upstreams) >= _MOST_WAITING:
            raise ConcurrencyExceeded(upstreams[0].terms.max_concurrency)
        freed: asyncio.Future[Upstream] = asyncio.get_running_loop().create_future()
        call.watch(client)
        payer = call.payer
        for upstream in upstreams:
            upstream.waiting.put(payer, freed)
        began = self._now()
        try:
            async with asyncio.timeout(limit_s):
                await freed
        except TimeoutError:
            return False
        finally:
            call.waited_s += max(self._now() - began, 1e-9)
            for upstream in upstreams:
                upstream.waiting.remove(payer, freed)
            if freed.done() and not freed.cancelled():
                freed.result().redeem()
        return True

    async def attempt(self, call: Call, client: Client, peek: Peek, lease: Lease) -> None:
        """One try, written down whatever comes of it. Raises what it failed with."""
        further = call.attempts > 0
        call.meet(lease)
        lease.when_answered = self._budget.give_back if further else self._budget.succeeded
        outcome, failed = "ok", False
        try:
            await self._exchanger.exchange(call, client, peek, lease)
            lease = call.lease or lease
            if call.upstream_status is not None and lease.answered_s is None:
                lease.answered(self._now())
        except UpstreamError as error:
            outcome = error.code
            call.upstream_status = error.upstream_status or call.upstream_status
            lease = call.lease or lease
            withhold(error, lease.upstream.secrets)
            failed = True
            if not (further or lease.answered_s is not None) or not isinstance(error, UpstreamTimeout) or error.phase != "total":
                # Else it was the call's own deadline that cut a long reply, or left a late attempt no time: no upstream's failure.
                lease.failed(error, self._now())
            raise
        except BaseException as error:
            outcome = _outcome(error, call)
            raise
        finally:
            self._write_down(call, call.lease or lease, outcome, failed=failed, further=further)

    def _write_down(self, call: Call, lease: Lease, outcome: str, *, failed: bool, further: bool) -> None:
        """Give everything back that the attempt held, and note it, unless nobody was asked: what the upstream's dialect cannot say, or
        what is answered here, is no attempt."""
        now, used, upstream = self._now(), call.used_tokens, lease.upstream
        asked = failed or call.upstream_status is not None or call.ended is not None or outcome == _CLIENT_ENDED
        if further and not failed and lease.answered_s is None:
            self._budget.give_back()
        lease.close(now, 0 if used is None and failed and not call.content_sent else used, asked=asked)
        if not asked:
            call.attempts -= 1
            return
        call.tries += (
            Attempt(
                provider_key=upstream.provider_key,
                credential=upstream.credential,
                model_id=lease.model,
                outcome=outcome,
                status=call.upstream_status,
                duration_ms=(now - lease.began_s) * 1000,
                ttft_ms=(lease.answered_s - lease.began_s) * 1000 if lease.answered_s is not None else None,
            ),
        )


def _outcome(error: BaseException, call: Call) -> str:
    """Of an attempt that no failure of its upstream ended."""
    if isinstance(error, FkproxyError):
        return error.code
    if call.ended is not None:
        return call.ended.code
    return InternalError.code if isinstance(error, Exception) else _CLIENT_ENDED


class _Run:
    """One call whose model can be had in several places."""

    def __init__(self, owner: Attempts, call: Call, client: Client, peek: Peek, fleet: Fleet, route: Route) -> None:
        self._owner = owner
        self._call = call
        self._client = client
        self._peek = peek
        self._fleet = fleet
        self._route = route
        self._failures: list[tuple[str, UpstreamError]] = []
        self._refused: Unrepresentable | None = None
        self._failing: set[str] = set()
        self._spent = False
        self._waited_s = call.waited_s
        self._first = route.stages[0]
        self._conversation: tuple[bytes | None] | None = None

    async def go(self) -> None:
        """Serve the call, or raise the most useful of what was seen."""
        owner, call = self._owner, self._call
        now = owner._now
        stages = self._fleet.stages(self._route, now())
        self._first = stages[0]
        if stages[0] is not self._route.stages[0]:
            call.note(f"takeover:{stages[0].name}")
        tokens = call.expected_tokens if self._fleet.counts_tokens else 0
        course = Course(self._fleet, stages, conversation=self.conversation, tokens=tokens, now=now, skip=call.skip)
        if self._fleet.hedger is not None:
            call.hedger, call.spare = self._fleet.hedger, partial(course.spare, call.dialect.name)
        if await self._through(course, course.leases()):
            return
        if await self._wait(course) and await self._through(course, course.leases()):
            return
        if not self._spent and await self._through(course, course.joins()):
            return
        lease = None if self._spent else course.valve()
        if lease is not None:
            call.note("safety_valve")
            if await self._through(course, iter((lease,))):
                return
        self._report(None)
        raise self._told()

    async def _through(self, course: Course, leases: Iterator[Lease]) -> bool:
        """True when one of them served."""
        call = self._call
        for lease in leases:
            if course.joined:
                call.note("safety_valve")
            if call.attempts and not self._again():
                lease.close(self._owner._now(), asked=False)
                return False
            if course.stage is not self._first:
                call.note(f"fallback:{course.stage.name}")
            if await self._at(course, lease):
                course.served = True
                next(leases, None)
                return True
            if self._spent:
                return False
        return False

    def _again(self) -> bool:
        """The budget allows one attempt more; if not, it allows none of any kind."""
        self._spent = not self._owner.within_budget(self._call)
        return not self._spent

    async def _at(self, course: Course, lease: Lease) -> bool:
        """Everything that may be tried at one upstream. True when it served, False when the next one may."""
        owner, call, upstream = self._owner, self._call, lease.upstream
        again = 0
        while True:
            try:
                await owner.attempt(call, self._client, self._peek, lease)
            except UpstreamError as error:
                course.quota_spent = isinstance(error, UpstreamRateLimited | UpstreamQuotaExhausted)
                self._failures.append((upstream.key, _light(error)))
                works = isinstance(error, UpstreamRejected) and not isinstance(error, UpstreamModelMissing)
                if not works:
                    self._failing.add(course.stage.name)
                if not owner.may_go_on(call, error):
                    if call.content_sent or not error.retry:
                        self._report(course.stage.name if works else None)
                        raise
                    self._spent = True
                    return False
                again += 1
                if not owner.may_ask_again(call, upstream, error, again):
                    return False
            except Unrepresentable as error:
                # An upstream of another dialect may be able to say it.
                self._refused = self._refused or error
                return False
            else:
                self._report(course.stage.name)
                self._remember(course, upstream)
                return True
            if not self._again():
                return False
            taken = await owner.lease_again(call, self._client, lease, again, tokens=course.tokens)
            if taken is None:
                return False
            lease = taken

    async def _wait(self, course: Course) -> bool:
        """Wait once for whoever is back soonest, or for a free slot. True when it is worth another round."""
        call, owner = self._call, self._owner
        if self._spent or call.waited_s > self._waited_s:
            return False
        now = owner._now()
        busy: list[Upstream] = []
        soonest_s = float("inf")
        for target in self._route.targets:
            obstacle = self._fleet.upstreams[target.upstream].obstacle(target.model, now, course.tokens)
            if obstacle is None:
                continue
            if obstacle.reason == "busy":
                busy.append(self._fleet.upstreams[target.upstream])
            elif obstacle.reason in FULL or obstacle.reason == "limited":
                soonest_s = min(soonest_s, obstacle.retry_after_s or float("inf"))
        if busy and not self._failures:
            if not await owner._wait_for_slot(call, self._client, busy):
                return False
        elif not await owner.wait_until(call, self._client, soonest_s):
            return False
        call.note("waited")
        course.tried.clear()
        return True

    def conversation(self) -> bytes | None:
        """The call's conversation, read once."""
        if self._conversation is None:
            call = self._call
            self._conversation = (call.dialect.conversation.read(call.client_headers, call.body, self._peek.seen.fields),)
        return self._conversation[0]

    def _report(self, served: str | None) -> None:
        """How the call ended for each model that it was tried at: once, however many upstreams that were."""
        if not self._fleet.stands:
            return
        now = self._owner._now()
        for name in self._failing - {served}:
            self._fleet.report(name, True, now, now - self._call.started)
        if served is not None:
            self._fleet.report(served, False, now, now - self._call.started)

    def _remember(self, course: Course, upstream: Upstream) -> None:
        """A reply that a later call may name is known by its upstream."""
        call = self._call
        if call.reply_id is not None and call.dialect.conversation.replies:
            course.remember(reply_key(call.reply_id), upstream)

    def _told(self) -> FkproxyError:
        skipped = self._call.skipped
        # Somebody who was passed over may be able to say it: then the request is not wrong. A count can be estimated.
        refused = self._refused if not skipped or self._peek.operation == "count_tokens" else None
        return told(self._failures, skipped) or refused or nobody(skipped)


def _light(error: UpstreamError) -> UpstreamError:
    """Without the frames that it came through: as long as it is kept they keep what was read of the reply, up to its limit."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
