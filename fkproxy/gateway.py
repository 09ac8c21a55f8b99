"""The pipeline: one call, from the client's bytes to the record of it. Read this first.

Floor 3. It knows dialects, adapters, limits and records only by their contracts, and HTTP not at all: `web/` hands it a `Client`
that reads a body and writes a reply, and tests hand it one made of lists.

    admit        key → caller, token bucket                                     401 429
    read body    bounded in bytes and time, and in bytes of all together        413 415 429
    peek         model and stream flag, without decoding the rest               400
    route        model → upstreams, in stages (fallbacks)                       404
    attempts     one upstream after the other, until one has answered           429 502 503 504
        exchange     the client's own bytes (same dialect) or translated, sent  400
        relay        frames on their way to the client, while the decoder listens
    record       always, once: also when the client hangs up

Where and how often a call is tried is `attempts.py`'s, what is told when nobody served `refusal.py`'s, one try `exchange.py`'s, how a
reply is waited for and relayed `relay.py`'s; what is no chat (a count of tokens, embeddings) is `side_calls.py`'s.

**The commit point.** Once the reply's head has gone to the client its status stands. It goes with the first content, so an upstream
that opens a stream with 200 and then fails is still answered properly. A silent upstream (a model that thinks) forces it earlier:
after `commit_after_s` the head goes out and comments keep the line alive. Another target may still take over as long as no
content was sent; after that a failure ends the stream with the dialect's own error event.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypedDict, Unpack

import msgspec

from fkproxy.adapters.base import Timeouts
from fkproxy.attempts import Attempts, RetryPolicy
from fkproxy.call import JSON_TYPE, Call, Client, ClientGone, Headers, StreamPolicy
from fkproxy.clientele import Clientele
from fkproxy.dialects.base import Peek
from fkproxy.exchange import Exchanger
from fkproxy.fleet import Fleet
from fkproxy.intake import Intake
from fkproxy.limits.bucket import Buckets
from fkproxy.limits.retry_budget import RetryBudget
from fkproxy.limits.slots import Slots
from fkproxy.limits.tokens import TokenMeters
from fkproxy.model.errors import (
    ConcurrencyExceeded,
    FkproxyError,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotAuthenticated,
    NoUpstreamAvailable,
    RateLimited,
    RequestTimeout,
    UnsupportedCoding,
    UpstreamOverloaded,
    UpstreamQuotaExhausted,
    UpstreamRefusedCredential,
    UpstreamTimeout,
)
from fkproxy.model.events import Failed
from fkproxy.relay import Relay
from fkproxy.routing import MAX_NAME_CHARS
from fkproxy.seals import SealStore
from fkproxy.suffix import described, split_suffix
from fkproxy.telemetry.prices import cost_usd
from fkproxy.telemetry.record import CallRecord
from fkproxy.turnstile import Turnstile

__all__ = ["CallPolicies", "Gateway", "error_headers"]

_EXPIRE_AFTER_S = 5.0
"""How long after the call's own deadline it is cut off without a word."""

_LOOK_EVERY_S, _LOOK_AT_MOST_EVERY_S = 1.0, 0.02
"""How late a call may be cut off; the second where deadlines are short."""

_LAST_WORD_S = 1.0
"""How long a client may take to hear that its call was ended."""

_SLOW_UPLOAD_S = 0.01
"""A body that takes longer was waited for; reading a shorter one is part of what the gateway adds."""

_WAITED_S = 60.0
"""What OpenAI's and Anthropic's SDKs wait at most because of a `Retry-After`; after a longer one they ask again within seconds."""

_NOT_AGAIN = (b"x-should-retry", b"false")
"""SDKs obey it. Claude Code 2.1 asks ten times with a key that is refused, silent for minutes, unless it is told so, and so it does where
the account at the upstream is at fault (tried 2026-11).
"""

logger = logging.getLogger("fkproxy.gateway")


class CallPolicies(TypedDict):
    """What holds for every call, until it is changed."""

    buckets: Buckets | None
    meters: TokenMeters | None
    turnstile: Turnstile | None
    intake: Intake | None
    timeouts: Timeouts
    stream: StreamPolicy
    retries: RetryPolicy
    max_request_bytes: int


class Gateway:
    """See the top of this file."""

    def __init__(
        self,
        *,
        fleet: Fleet,
        clientele: Clientele,
        slots: Slots,
        seals: SealStore,
        budget: RetryBudget,
        observers: Sequence[Callable[[CallRecord], None]],
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = asyncio.sleep,
        **policies: Unpack[CallPolicies],
    ) -> None:
        self.fleet = fleet
        self.budget = budget
        self.slots = slots
        self.clientele = clientele
        self._seals = seals
        self._observers = tuple(observers)
        self.in_flight = 0
        self._now = now
        self._sleep = sleep
        self._loop: asyncio.AbstractEventLoop | None = None
        self._expiries = _Expiries()
        self.tune(**policies)

    def tune(self, **policies: Unpack[CallPolicies]) -> None:
        """What holds for new calls; those under way keep what they began with."""
        self._buckets = policies["buckets"]
        self._meters = policies["meters"]
        self._turnstile = policies["turnstile"]
        self._intake = policies["intake"]
        self._timeouts = policies["timeouts"]
        relay = Relay(seals=self._seals, total_s=self._timeouts.total_s, stream=policies["stream"], now=self._now)
        exchanger = Exchanger(relay, seals=self._seals, now=self._now)
        self._attempts = Attempts(exchanger, policy=policies["retries"], budget=self.budget, now=self._now, sleep=self._sleep)
        self._max_request_bytes = policies["max_request_bytes"]

    def fleet_of(self, pool: str | None) -> Fleet:
        """A pool's part of the fleet; the whole for None. Raises `PoolInactive` for a pool that is not there."""
        return self.clientele.fleet_of(pool, self.fleet)

    # --- the two doors

    async def serve(self, call: Call, client: Client) -> None:
        """Answer one call. Never raises but for cancellation, and leaves exactly one record.

        Every wait for an upstream has its own deadline; `_Expiries` end what then still hangs: who does not send, or not read.
        """
        loop = self._loop
        if loop is None:
            # To ask for it is a system call (Python asks whether it has forked since), and so twice in each call.
            loop = self._loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None
        expiry = self._expiries.begin(loop, call, task, self._timeouts)
        self.in_flight += 1
        try:
            self.admit(call, task)
            call.intake = self._intake
            try:
                call.body = await client.read_body(self._max_request_bytes, call.make_room)
            except BaseException:
                self._note_upload(call)
                raise
            expiry.received, call.request_bytes = True, len(call.body)
            if call.hold is not None:
                call.hold.shrink(call.request_bytes)
            if client.in_pieces:
                self._note_upload(call)
            call.peek = self._look(call, client)
            if self._turnstile is None and self._meters is None and (call.allowance is None or not call.allowance.waits):
                await self._run(call, client)
            else:
                await self._run_limited(call, client)
        except FkproxyError as error:
            await self._refuse(call, client, error)
        except ClientGone:
            # The server says so too when the body's framing is broken; a client that is still there gets an answer.
            await self._refuse(call, client, InvalidRequest(None, "the request body broke off"))
            call.status = 499
        except asyncio.CancelledError:
            if call.ended is not None and not client.gone:
                task.uncancel()
                self._expiries.end(expiry)
                await self._end(call, client, call.ended)
            elif expiry.expired:
                task.uncancel()
                if expiry.received:
                    call.error = UpstreamTimeout("total", self._timeouts.total_s)
                else:
                    await self._end(call, client, RequestTimeout(self._timeouts.first_byte_s))
            else:
                raise
        except Exception as error:  # the top door: whatever it was, the client gets an answer and the log the place
            logger.error("a call failed in the gateway", exc_info=error, extra={"request_id": call.request_id})
            await self._refuse(call, client, InternalError())
        finally:
            self.in_flight -= 1
            if call.hold is not None:
                call.hold.leave()
            self._expiries.end(expiry)
            self.record(call, client.gone)
            if call.error is not None:
                # Through its frames it holds the call, which holds it: large bodies would wait for the collector of cycles.
                call.error.__traceback__ = call.error.__context__ = call.error.__cause__ = None

    async def refuse(self, call: Call, client: Client, error: FkproxyError) -> None:
        """Answer with `error` and leave the record: for what the pipeline need not see."""
        await self._refuse(call, client, error)
        self.record(call, client.gone)

    def end_calls(self) -> int:
        """End those that are under way, for the process ends: clients are told, and records left. How many there were."""
        return self._expiries.cut(NoUpstreamAvailable((("the gateway", "it is being stopped or restarted"),), retry_after_s=1.0))

    def admit(self, call: Call, task: asyncio.Task[object]) -> None:
        """Key, then token bucket. Raises `NotAuthenticated`, `NotAllowed` and `RateLimited`."""
        call.auth = "refused"
        caller = call.caller = self.clientele.keys.identify(call.presented_key)
        if caller.barred is not None or call.started_s >= caller.ends_s:
            caller.check(call.started_s)
        call.auth = "none" if caller.key_id is None else "key"
        if caller.terms is not None:
            self.clientele.enter(call, task)
        if self._buckets is None or call.verdict is not None:
            return
        call.verdict = self._buckets.take(call.payer, self._now())
        if not call.verdict.allowed:
            raise RateLimited(call.verdict.retry_after_s)

    def _note_upload(self, call: Call) -> None:
        """What there is of the body by now has been waited for."""
        upload_s = self._now() - call.started
        if upload_s > _SLOW_UPLOAD_S:
            call.waited_s = upload_s

    async def _end(self, call: Call, client: Client, error: FkproxyError) -> None:
        """Tell a client that its call is ended; one that does not read is not waited for."""
        try:
            async with asyncio.timeout(_LAST_WORD_S):
                await self._refuse(call, client, error)
        except TimeoutError:
            return

    # --- upstreams

    async def _run_limited(self, call: Call, client: Client) -> None:
        """In its key's turn, and within its tokens a minute. A key's own limits stand in place of those for all."""
        payer, allowance = call.payer, call.allowance
        turnstile = allowance.turnstile if allowance is not None and allowance.turnstile is not None else self._turnstile
        meter = allowance.meter if allowance is not None else None
        if meter is None and self._meters is not None:
            meter = self._meters.of(payer)
        if turnstile is not None and not turnstile.pass_at_once(payer):
            call.watch(client)
            began = self._now()
            try:
                await turnstile.wait(payer)
            finally:
                call.waited_s += self._now() - began
        try:
            if meter is not None:
                # By estimate, and put right afterwards: many calls at once cannot pass the limit together.
                wait_s = meter.reserve(call.expected_tokens, self._now())
                if wait_s > 0:
                    raise RateLimited(wait_s, f"the limit of {meter.per_minute} tokens a minute is reached")
                call.meter = meter
            await self._run(call, client)
        finally:
            if turnstile is not None:
                turnstile.leave(payer)

    def _look(self, call: Call, client: Client) -> Peek:
        """What the call asks for, without decoding the rest. Raises `InvalidRequest`."""
        peek = call.dialect.peek(call.body, call.target, call.query)
        if call.operation != "chat":
            peek = Peek(model=peek.model, operation=call.operation)
        elif peek.json_array:
            client.as_json_array()
        model, call.reasoning = split_suffix(peek.model)
        if call.reasoning is not None:
            call.reasoning_requested = described(call.reasoning)
            call.renamed = True
            peek = msgspec.structs.replace(peek, model=model)
        elif peek.may_think:
            call.reasoning_requested = call.dialect.reasoning_of(call.body)
        call.operation = peek.operation
        return peek

    def _run(self, call: Call, client: Client) -> Awaitable[None]:
        peek, fleet = call.peek, self.fleet
        assert peek is not None
        if call.allowance is not None:
            peek, fleet = self.clientele.bind(call, peek, fleet)
            call.peek = peek
        run = self._run_stream if peek.stream else self._attempts.run
        return run(call, client, peek, fleet)

    async def _run_stream(self, call: Call, client: Client, peek: Peek, fleet: Fleet) -> None:
        slots = self.slots
        if not slots.acquire(call.payer):
            raise ConcurrencyExceeded(slots.limit if slots.total >= slots.limit else slots.limit_per_key)
        try:
            await self._attempts.run(call, client, peek, fleet)
        finally:
            slots.release(call.payer)

    async def _refuse(self, call: Call, client: Client, error: FkproxyError) -> None:
        """Tell the client, in its own dialect: as a reply, or in the stream when the head has gone out already."""
        call.error, call.over = error, True
        if call.committed:
            if call.peek is not None and call.peek.stream:
                context = call.reply_context(call.peek)
                encoder = call.encoder
                if encoder is None or context.begun_id is not None:
                    encoder = call.dialect.stream_encoder(context)
                data = b"" if call.error_sent else encoder.encode(Failed(error))
                call.response_bytes += len(data)
                await client.finish(data)
            return
        call.committed = True
        call.status = call.dialect.overloaded_status if isinstance(error, UpstreamOverloaded) else error.status
        body = call.dialect.encode_error(error, call.request_id)
        if _is_json_array(call):
            body = b"[%b]" % body
        call.response_bytes = len(body)
        await client.start(call.status, [JSON_TYPE, (b"content-length", b"%d" % len(body)), *call.reply_headers(), *error_headers(error)])
        await client.finish(body)

    # --- the record

    def record(self, call: Call, client_gone: bool) -> None:
        """Hand the call's record to everyone who keeps one."""
        peek = call.peek
        asked = call.asked_model or (peek.model if peek is not None else None)
        duration_s = self._now() - call.started
        pricing = call.lease.upstream.terms.pricing if call.lease is not None else None
        as_said = call.allowance is None and call.meter is None and call.error is None and not client_gone
        usage = call.usage if as_said else call.charged(client_gone)
        # In the order of its fields: Python makes a dict for a call that names more than fifteen arguments, a thirtieth of the whole.
        record = CallRecord(
            call.request_id,
            call.started_s,
            call.method,
            call.route,
            call.status,
            duration_s * 1000,
            call.dialect.name,
            peek is not None and peek.stream,
            # Kept long after the call, and no name is longer.
            f"{asked[:MAX_NAME_CHARS]}…" if asked is not None and len(asked) > MAX_NAME_CHARS else asked,
            call.model_id,
            call.provider_key,
            call.credential,
            call.upstream_dialect,
            call.attempts,
            call.tries,
            call.skipped,
            call.notes,
            call.waited_s * 1000,
            call.upstream_status,
            call.upstream_s * 1000,
            call.ttft_s * 1000 if call.ttft_s is not None else None,
            msgspec.structs.replace(usage, parts=()) if usage is not None and usage.parts else usage,
            cost_usd(pricing, call.model_id, usage, call.started_s),
            call.finish_reason,
            call.error.code if call.error is not None else None,
            call.recorded_losses,
            call.reasoning_requested,
            call.reasoning_applied,
            call.auth,
            call.caller.key_id,
            call.peer,
            call.user_agent,
            client_gone,
            call.request_bytes,
            call.response_bytes,
            call.operation,
            call.caller.pool,
            call.caller.key_prefix,
        )
        if call.meter is not None:
            call.meter.settle(call.expected_tokens, record.total_tokens)
        if call.allowance is not None:
            self.clientele.leave(call, record)
        for observe in self._observers:
            observe(record)


class _Expiry:
    """When a call is cut off: one whose body is not `received`, and one that hangs. Both in the loop's time."""

    __slots__ = ("body_due_s", "call", "due_s", "expired", "received", "task")

    def __init__(self, call: Call, task: asyncio.Task[object], body_due_s: float, due_s: float) -> None:
        self.call = call
        self.task = task
        self.body_due_s = body_due_s
        self.due_s = due_s
        self.expired = self.received = False


class _Expiries:
    """Those of the calls under way. One look at all of them now and then is less than a timer for each, which hardly ever goes off."""

    def __init__(self) -> None:
        self._open: set[_Expiry] = set()
        self._looking = False

    def begin(self, loop: asyncio.AbstractEventLoop, call: Call, task: asyncio.Task[object], timeouts: Timeouts) -> _Expiry:
        now_s, total_s = loop.time(), timeouts.total_s + _EXPIRE_AFTER_S
        body_s = timeouts.first_byte_s if timeouts.first_byte_s < total_s else total_s
        expiry = _Expiry(call, task, now_s + body_s, now_s + total_s)
        self._open.add(expiry)
        if not self._looking:
            self._looking = True
            every_s = max(_LOOK_AT_MOST_EVERY_S, min(_LOOK_EVERY_S, timeouts.first_byte_s / 10))
            loop.call_later(every_s, self._look, loop, every_s)
        return expiry

    def end(self, expiry: _Expiry) -> None:
        self._open.discard(expiry)

    def cut(self, error: FkproxyError) -> int:
        """End all calls with it, at once; how many there were. One whose reply is complete is only not waited for."""
        for expiry in self._open:
            if expiry.call.ended is None:
                if not expiry.call.over:
                    expiry.call.ended = error
                expiry.task.cancel()
        return len(self._open)

    def _look(self, loop: asyncio.AbstractEventLoop, every_s: float) -> None:
        now_s = loop.time()
        for expiry in [each for each in self._open if now_s >= (each.due_s if each.received else each.body_due_s)]:
            expiry.expired = True
            self._open.discard(expiry)
            expiry.task.cancel()
        self._looking = bool(self._open)
        if self._looking:
            loop.call_later(every_s, self._look, loop, every_s)


def _is_json_array(call: Call) -> bool:
    """The client reads the elements of an array, and Google's refusals are one, too. Where the call was not looked at, its path tells."""
    peek = call.peek
    try:
        return (peek or call.dialect.peek(b"", call.target, call.query)).json_array
    except InvalidRequest:
        return False


def error_headers(error: FkproxyError) -> Headers:
    """Headers that belong to a refusal: when to come back and whether, how to authenticate, which methods and codings there are."""
    headers: Headers = []
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_s))))
    if isinstance(error, NotAuthenticated):
        headers += [(b"www-authenticate", b"Bearer"), _NOT_AGAIN]
    elif isinstance(error, UpstreamRefusedCredential) or (
        isinstance(error, UpstreamQuotaExhausted) and (error.retry_after_s is None or error.retry_after_s > _WAITED_S)
    ):
        headers.append(_NOT_AGAIN)
    elif isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.allowed).encode()))
        if error.status == 426:
            # "The server MUST send an Upgrade header field in a 426 response" (RFC 9110 §15.5.22)
            headers += [(b"connection", b"upgrade"), (b"upgrade", b"HTTP/1.1")]
    elif isinstance(error, UnsupportedCoding):
        # "the Accept-Encoding response header field ought to be used to indicate which […] would have been accepted" (RFC 9110 §15.5.16)
        headers.append((b"accept-encoding", ", ".join(error.taken).encode()))
    return headers
