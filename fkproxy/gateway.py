"""The pipeline: one call, from the client's bytes to the record of it. Read this first.

Floor 3. It knows dialects, adapters, limits and records only by their contracts, and HTTP not at all: `web/` hands it a `Client`
that reads a body and writes a reply, and tests hand it one made of lists.

    admit        key → caller, token bucket                                     401 429
    read body    bounded in bytes and time                                      413
    peek         model and stream flag, without decoding the rest               400
    candidates   model → ordered targets                                        404
    for each target, until one has answered:
        breaker      fenced-off upstreams are skipped                           503 when none is left
        body         the client's own bytes (same dialect) or translated        400
        send         connected and written                                      502 504
        head, first content    until then nothing is sent, so the next target can still take over
        relay        frames on their way to the client, while the decoder listens
    record       always, once: also when the client hangs up

How a reply is waited for and relayed is `relay.py`'s; what is no chat (a count of tokens, embeddings) is `side_calls.py`'s.

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
from collections.abc import Callable, Sequence

import msgspec

from fkproxy.access import KeyRing
from fkproxy.adapters.base import Adapter, Timeouts, UpstreamCall
from fkproxy.call import JSON_TYPE, Call, Client, ClientGone, Headers, StreamPolicy
from fkproxy.dialects.base import Dialect, Peek
from fkproxy.limits.breaker import Breaker
from fkproxy.limits.bucket import Buckets
from fkproxy.limits.slots import Slots
from fkproxy.model.errors import (
    ConcurrencyExceeded,
    FkproxyError,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotAuthenticated,
    NoUpstreamAvailable,
    RateLimited,
    Unrepresentable,
    UpstreamError,
    UpstreamRefusedCredential,
    UpstreamRejected,
    UpstreamTimeout,
)
from fkproxy.model.events import Failed
from fkproxy.relay import MAX_ERROR_BYTES, Relay
from fkproxy.routing import RoutingTable, Target
from fkproxy.seals import SealStore
from fkproxy.side_calls import SideCalls
from fkproxy.suffix import described, split_suffix
from fkproxy.telemetry.record import CallRecord

__all__ = ["Gateway", "Upstream", "error_headers"]

_EXPIRE_AFTER_S = 5.0
"""How long after the call's own deadline it is cut off without a word."""


logger = logging.getLogger("fkproxy.gateway")


class Upstream:
    """An adapter with its breaker and what was last seen of it (wall clock, unix seconds)."""

    __slots__ = ("adapter", "breaker", "codec", "last_error_code", "last_error_s", "last_success_s")

    def __init__(self, adapter: Adapter, codec: Dialect, breaker: Breaker) -> None:
        self.adapter = adapter
        self.codec = codec
        self.breaker = breaker
        self.last_error_code: str | None = None
        self.last_error_s: float | None = None
        self.last_success_s: float | None = None

    @property
    def refuses_credential(self) -> bool:
        """Its last error was that it does not take our credential, and nothing has succeeded since."""
        return self.last_error_code == UpstreamRefusedCredential.code and (self.last_success_s or 0.0) < (self.last_error_s or 0.0)


class Gateway:
    """See the top of this file."""

    def __init__(
        self,
        *,
        upstreams: Sequence[Upstream],
        routing: RoutingTable,
        keys: KeyRing,
        buckets: Buckets | None,
        slots: Slots,
        seals: SealStore,
        timeouts: Timeouts,
        stream: StreamPolicy,
        max_request_bytes: int,
        observers: Sequence[Callable[[CallRecord], None]],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.upstreams = tuple(upstreams)
        self.routing = routing
        self.slots = slots
        self._keys = keys
        self._buckets = buckets
        self._seals = seals
        self._timeouts = timeouts
        self._relay = Relay(seals=seals, timeouts=timeouts, stream=stream, now=now)
        self._side_calls = SideCalls(self._relay, first_byte_s=timeouts.first_byte_s, now=now)
        self._max_request_bytes = max_request_bytes
        self._observers = tuple(observers)
        self.in_flight = 0
        self._now = now

    # --- the two doors

    async def serve(self, call: Call, client: Client) -> None:
        """Answer one call. Never raises but for cancellation, and leaves exactly one record.

        Every wait for an upstream has its own deadline; `_expire` ends what then still hangs, a client that does not read.
        """
        task = asyncio.current_task()
        assert task is not None
        expiry = asyncio.get_running_loop().call_later(self._timeouts.total_s + _EXPIRE_AFTER_S, _expire, task, call)
        self.in_flight += 1
        try:
            self.admit(call)
            call.body = await client.read_body(self._max_request_bytes, self._timeouts.first_byte_s)
            await self._run(call, client)
        except FkproxyError as error:
            await self._refuse(call, client, error)
        except ClientGone:
            # The server says so too when the body's framing is broken; a client that is still there gets an answer.
            await self._refuse(call, client, InvalidRequest(None, "the request body broke off"))
            call.status = 499
        except asyncio.CancelledError:
            if not call.expired:
                raise
            task.uncancel()
            call.error = UpstreamTimeout("total", self._timeouts.total_s)
        except Exception as error:  # the top door: whatever it was, the client gets an answer and the log the place
            logger.error("a call failed in the gateway", exc_info=error, extra={"request_id": call.request_id})
            await self._refuse(call, client, InternalError())
        finally:
            self.in_flight -= 1
            expiry.cancel()
            self.record(call, client.gone)

    async def refuse(self, call: Call, client: Client, error: FkproxyError) -> None:
        """Answer with `error` and leave the record: for what the pipeline need not see."""
        await self._refuse(call, client, error)
        self.record(call, client.gone)

    def admit(self, call: Call) -> None:
        """Key, then token bucket. Raises `NotAuthenticated` and `RateLimited`."""
        call.auth = "refused"
        call.caller = self._keys.check(call.presented_key)
        call.auth = "none" if call.caller.key_id is None else "key"
        if self._buckets is None:
            return
        call.verdict = self._buckets.take(call.payer, self._now())
        if not call.verdict.allowed:
            raise RateLimited(call.verdict.retry_after_s)

    # --- targets

    async def _run(self, call: Call, client: Client) -> None:
        peek = call.dialect.peek(call.body, call.target, call.query)
        if call.operation != "chat":
            peek = Peek(model=peek.model, operation=call.operation)
        elif peek.json_array:
            client.as_json_array()
        model, call.reasoning = split_suffix(peek.model)
        if call.reasoning is not None:
            call.reasoning_requested = described(call.reasoning)
            peek = msgspec.structs.replace(peek, model=model)
        else:
            call.reasoning_requested = call.dialect.reasoning_of(call.body)
        call.peek = peek
        targets = self.routing.candidates(peek.model)
        if not peek.stream:
            return await self._try_targets(call, client, peek, targets)
        slots = self.slots
        if not slots.acquire(call.payer):
            raise ConcurrencyExceeded(slots.limit if slots.total >= slots.limit else slots.limit_per_key)
        try:
            await self._try_targets(call, client, peek, targets)
        finally:
            slots.release(call.payer)

    async def _try_targets(self, call: Call, client: Client, peek: Peek, targets: Sequence[Target]) -> None:
        skipped: list[tuple[str, str]] = []
        retry_after_s: float | None = None
        last: UpstreamError | None = None
        refused: Unrepresentable | None = None
        for target in targets:
            upstream = self.upstreams[target.upstream]
            permit = upstream.breaker.acquire(self._now())
            if permit is None:
                wait_s = upstream.breaker.retry_after_s(self._now())
                retry_after_s = wait_s if retry_after_s is None else min(retry_after_s, wait_s)
                skipped.append((upstream.adapter.provider_key, "circuit breaker open"))
                continue
            verdict = upstream.breaker.release
            try:
                await self._attempt(call, client, peek, upstream, target.model)
                verdict = upstream.breaker.success
                upstream.last_success_s = time.time()
                call.tries += ((upstream.adapter.provider_key, "ok"),)
                return
            except UpstreamError as error:
                call.upstream_status = error.upstream_status or call.upstream_status
                call.tries += ((upstream.adapter.provider_key, error.code),)
                upstream.last_error_code, upstream.last_error_s = error.code, time.time()
                if error.breaker:
                    verdict = upstream.breaker.failure
                elif isinstance(error, UpstreamRejected):
                    verdict = upstream.breaker.success
                if call.content_sent or not error.retry:
                    raise
                last = error
            except Unrepresentable as error:
                # An upstream of another dialect may be able to say it.
                refused = refused or error
            finally:
                verdict(permit, self._now())
        raise last or refused or NoUpstreamAvailable(tuple(skipped), retry_after_s)

    async def _attempt(self, call: Call, client: Client, peek: Peek, upstream: Upstream, model: str) -> None:
        adapter = upstream.adapter
        codec = call.dialect if call.dialect.name in adapter.spoken else upstream.codec
        call.attempts += 1
        call.provider_key, call.model_id, call.upstream_dialect = adapter.provider_key, model, codec.name
        if peek.operation != "chat":
            return await self._side_calls.answer(call, client, peek, adapter, codec, model)
        own = codec is call.dialect
        if own:
            body = self._forward(call, peek, codec, model)
        else:
            body = self._translate(call, peek, codec, model)
            call.reasoning_applied = codec.reasoning_of(body)
        began = self._now()
        try:
            exchange = await adapter.send(
                UpstreamCall(
                    model=model,
                    stream=peek.stream,
                    body=body,
                    request_id=call.request_id,
                    client_headers=call.client_headers if own else None,
                    dialect=codec.name,
                )
            )
        finally:
            call.upstream_s += self._now() - began
        try:
            await self._relay.wait(call, client, exchange.head, "first_byte", self._timeouts.first_byte_s)
            call.upstream_status = exchange.status
            if not 200 <= exchange.status < 300:
                error_body = await self._relay.read(call, client, exchange, MAX_ERROR_BYTES)
                raise codec.decode_error(exchange.status, exchange.headers, error_body)
            if peek.stream and exchange.headers.get("content-type", "text/event-stream").startswith("text/event-stream"):
                await self._relay.stream(call, client, peek, codec, exchange)
            else:
                await self._relay.whole(call, client, peek, codec, exchange)
        finally:
            exchange.close()

    def _forward(self, call: Call, peek: Peek, codec: Dialect, model: str) -> bytes:
        if call.reasoning is None:
            call.reasoning_applied = call.reasoning_requested
            return codec.forward_request(call.body, peek, model)
        # The body still names the model with its suffix.
        body = codec.forward_request(call.body, msgspec.structs.replace(peek, model=""), model)
        encoded = codec.apply_reasoning(body, call.reasoning, model)
        call.lose(encoded.losses)
        call.reasoning_applied = codec.reasoning_of(encoded.body)
        return encoded.body

    def _translate(self, call: Call, peek: Peek, codec: Dialect, model: str) -> bytes:
        request = call.request
        if request is None:
            request = call.dialect.decode_request(call.body, peek)
            if call.reasoning is not None:
                request = msgspec.structs.replace(request, reasoning=call.reasoning)
            call.request = request = self._seals.restore(call.caller.key_id, request, self._now())
        encoded = codec.encode_request(request, model)
        call.lose(encoded.losses)
        return encoded.body

    async def _refuse(self, call: Call, client: Client, error: FkproxyError) -> None:
        """Tell the client, in its own dialect: as a reply, or in the stream when the head has gone out already."""
        call.error = error
        if call.committed:
            if call.peek is not None and call.peek.stream:
                encoder = call.encoder or call.dialect.stream_encoder(call.reply_context(call.peek))
                data = b"" if call.error_sent else encoder.encode(Failed(error))
                call.response_bytes += len(data)
                await client.finish(data)
            return
        call.committed = True
        call.status = error.status
        body = call.dialect.encode_error(error, call.request_id)
        call.response_bytes = len(body)
        await client.start(error.status, [JSON_TYPE, (b"content-length", b"%d" % len(body)), *call.reply_headers(), *error_headers(error)])
        await client.finish(body)

    # --- the record

    def record(self, call: Call, client_gone: bool) -> None:
        """Hand the call's record to everyone who keeps one."""
        peek = call.peek
        duration_s = self._now() - call.started
        record = CallRecord(
            request_id=call.request_id,
            started_s=call.started_s,
            method=call.method,
            route=call.route,
            status=call.status,
            duration_ms=duration_s * 1000,
            dialect=call.dialect.name,
            stream=call.stream,
            model_requested=peek.model if peek is not None else None,
            model_id=call.model_id,
            provider_key=call.provider_key,
            upstream_dialect=call.upstream_dialect,
            attempts=call.attempts,
            tries=call.tries,
            upstream_status=call.upstream_status,
            upstream_ms=call.upstream_s * 1000,
            ttft_ms=call.ttft_s * 1000 if call.ttft_s is not None else None,
            usage=call.usage,
            finish_reason=call.finish_reason,
            error_code=call.error.code if call.error is not None else None,
            losses=call.recorded_losses,
            reasoning_requested=call.reasoning_requested,
            reasoning_applied=call.reasoning_applied,
            auth=call.auth,
            key_id=call.caller.key_id,
            peer=call.peer,
            user_agent=call.user_agent,
            client_ended=client_gone,
            request_bytes=len(call.body),
            response_bytes=call.response_bytes,
        )
        for observe in self._observers:
            observe(record)


def _expire(task: asyncio.Task[object], call: Call) -> None:
    call.expired = True
    task.cancel()


def error_headers(error: FkproxyError) -> Headers:
    """Headers that belong to a refusal: when to come back, how to authenticate, which methods there are."""
    headers: Headers = []
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_s))))
    if isinstance(error, NotAuthenticated):
        headers.append((b"www-authenticate", b"Bearer"))
    elif isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.allowed).encode()))
    return headers
