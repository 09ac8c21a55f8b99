"""One try of a call at one upstream: the body it gets, its reply on the way to the client. Floor 3."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec

from fkproxy.adapters.base import Adapter, Exchange, UpstreamCall
from fkproxy.call import Call, Client, Rendered
from fkproxy.dialects.base import Dialect, Peek
from fkproxy.error_reply import error_of
from fkproxy.hedge import Hedge
from fkproxy.model.errors import InvalidRequest, UpstreamRefusedCredential
from fkproxy.model.request import ReasoningConfig
from fkproxy.relay import Relay
from fkproxy.seals import SealStore
from fkproxy.side_calls import SideCalls
from fkproxy.sniffing import sniffed
from fkproxy.suffix import described
from fkproxy.upstream import Lease, Terms

__all__ = ["Exchanger"]


class Exchanger:
    """Asks upstreams. Holds no call."""

    def __init__(self, relay: Relay, *, seals: SealStore, now: Callable[[], float]) -> None:
        self._relay = relay
        self._seals = seals
        self._now = now
        self._side_calls = SideCalls(relay, now=now)

    def exchange(self, call: Call, client: Client, peek: Peek, lease: Lease) -> Awaitable[None]:
        """Ask and relay. A credential that can be renewed is, once, when the upstream refuses it.

        Raises `UpstreamError`, and `Unrepresentable` and `InvalidRequest` from the translation.
        """
        upstream = lease.upstream
        adapter = upstream.adapter
        if call.attempts:
            call.forget_reply()
        call.attempts += 1
        call.timeouts = upstream.terms.timeouts
        codec = call.dialect if call.dialect.name in adapter.spoken else upstream.codec
        call.provider_key, call.credential, call.model_id = upstream.provider_key, upstream.credential, lease.model
        call.upstream_dialect = codec.name
        ask = self._ask_renewing if adapter.credential.renewable else self._ask
        return ask(call, client, peek, adapter, codec, lease)

    async def _ask_renewing(self, call: Call, client: Client, peek: Peek, adapter: Adapter, codec: Dialect, lease: Lease) -> None:
        credential = adapter.credential
        token = await credential.token(time.time())
        try:
            await self._ask(call, client, peek, adapter, codec, lease)
        except UpstreamRefusedCredential as error:
            if error.upstream_status != 401 or call.content_sent or not await credential.renew(token, time.time()):
                raise
            call.note("credential_renewed")
            await self._ask(call, client, peek, adapter, codec, lease)

    async def estimate(self, call: Call, client: Client, peek: Peek) -> None:
        """Count tokens here, since no upstream can. Raises as `SideCalls.estimate`."""
        try:
            await self._side_calls.estimate(call, client, peek)
        except RecursionError as error:
            raise _too_deep() from error

    async def _ask(self, call: Call, client: Client, peek: Peek, adapter: Adapter, codec: Dialect, lease: Lease) -> None:
        model = lease.model
        if peek.operation != "chat":
            try:
                return await self._side_calls.answer(call, client, peek, adapter, codec, model)
            except RecursionError as error:
                raise _too_deep() from error
        rendered = self._render(call, peek, codec, model, lease.upstream.terms)
        call.told(rendered)
        began = self._now()
        try:
            exchange = await adapter.send(_request(call, peek, codec, model, rendered.body))
        finally:
            call.upstream_s += self._now() - began
        hedge: Hedge | None = None
        if call.hedger is not None:
            ask = partial(self._ask_too, call, peek, codec)
            hedge = Hedge.of(call, lease, exchange, ask, self._now, body=rendered.body, codec=codec)
        if hedge is not None:
            exchange = hedge.exchange
        del rendered  # as long as a stream lasts
        try:
            try:
                await self._relay.wait(call, client, exchange.head, "first_byte", call.timeouts.first_byte_s)
            finally:
                if hedge is not None:
                    hedge.settle()
            if call.hedger is not None and call.lease is not None:
                call.hedger.saw(call.lease.upstream.key, call.lease.model, self._now() - call.lease.began_s)
            call.upstream_status = exchange.status
            if not 200 <= exchange.status < 300:
                raise await error_of(self._relay, call, client, codec, exchange)
            (call.lease or lease).accepted()
            # "The type and subtype tokens are case-insensitive" (RFC 9110 §8.3.1).
            streamed = peek.stream and exchange.headers.get("content-type", "text/event-stream").lower().startswith("text/event-stream")
            if peek.stream and not streamed:
                look = partial(self._relay.wait, call, client, exchange.chunk, "silence", call.timeouts.silence_s)
                exchange = begun = await sniffed(exchange, look)
                streamed = begun.streamed
            if streamed:
                await self._relay.stream(call, client, peek, codec, exchange)
            else:
                await self._relay.whole(call, client, peek, codec, exchange)
        finally:
            exchange.close()

    def _ask_too(self, call: Call, peek: Peek, codec: Dialect, lease: Lease) -> tuple[Rendered, Awaitable[Exchange]]:
        """The same request to another upstream, which may call the model otherwise, and what becomes of it. Raises as `_render`."""
        rendered = self._render(call, peek, codec, lease.model, lease.upstream.terms)
        return rendered, lease.upstream.adapter.send(_request(call, peek, codec, lease.model, rendered.body))

    def _render(self, call: Call, peek: Peek, codec: Dialect, model: str, terms: Terms) -> Rendered:
        """Changes nothing of the call but `request`. Raises `Unrepresentable` and `InvalidRequest`."""
        reasoning, note = _reasoning(call, terms)
        render = self._forward if codec is call.dialect else self._translate
        try:
            return render(call, peek, codec, model, reasoning, note)
        except RecursionError as error:
            raise _too_deep() from error

    def _forward(self, call: Call, peek: Peek, codec: Dialect, model: str, reasoning: ReasoningConfig | None, note: str) -> Rendered:
        body = codec.forward_request(call.body, msgspec.structs.replace(peek, model="") if call.renamed else peek, model)
        if reasoning is None:
            return Rendered(body, call.reasoning_requested)
        encoded = codec.apply_reasoning(body, reasoning, model)
        return Rendered(encoded.body, codec.reasoning_of(encoded.body), encoded.losses, note)

    def _translate(self, call: Call, peek: Peek, codec: Dialect, model: str, reasoning: ReasoningConfig | None, note: str) -> Rendered:
        request = call.request
        if request is None:
            request = call.dialect.decode_request(call.body, peek)
            call.request = request = self._seals.restore(call.caller.key_id, request, self._now())
        if reasoning is not None:
            request = msgspec.structs.replace(request, reasoning=reasoning)
        encoded = codec.encode_request(request, model)
        said = codec.reasoning_of(encoded.body) if encoded.may_think else None
        return Rendered(encoded.body, said, encoded.losses, note)


def _request(call: Call, peek: Peek, codec: Dialect, model: str, body: bytes) -> UpstreamCall:
    return UpstreamCall(
        model=model,
        stream=peek.stream,
        body=body,
        request_id=call.request_id,
        client_headers=call.client_headers if codec is call.dialect else None,
        dialect=codec.name,
        caller=call.payer,
    )


def _too_deep() -> InvalidRequest:
    """Whoever walks through a body recurses; a body that is only passed on may be as deep as it likes."""
    return InvalidRequest(None, "the request body is nested too deeply")


def _reasoning(call: Call, terms: Terms) -> tuple[ReasoningConfig | None, str]:
    """What is asked for instead of what the body says, by the model's suffix, or by the provider's default where nobody says anything,
    and the note of it.
    """
    if call.reasoning is not None:
        return call.reasoning, ""
    if terms.reasoning is None or call.reasoning_requested is not None:
        return None, ""
    by_key = call.caller.terms
    lowered = by_key.thinking(described(terms.reasoning)) if by_key is not None else None
    applied = lowered or terms.reasoning
    return applied, f"default_thinking:{described(applied)}"
