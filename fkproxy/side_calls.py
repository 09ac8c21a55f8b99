"""Calls that are no chat: a count of tokens, embeddings. Floor 3.

One question, one answer, no stream. The client's own bytes pass through to an upstream of its dialect; another one is asked in its own
words. A count that no upstream can make is estimated, and said to be.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from fkproxy.adapters.base import Adapter, Exchange, UpstreamCall
from fkproxy.call import JSON_TYPE, Call, Client
from fkproxy.dialects.base import Dialect, Encoded, Peek
from fkproxy.error_reply import error_of
from fkproxy.estimate import estimate_tokens
from fkproxy.model.errors import Unrepresentable
from fkproxy.relay import Relay

__all__ = ["SideCalls"]

_MAX_REPLY_BYTES = 64 * 1024 * 1024
_ESTIMATED = "input_tokens (estimated)"


class SideCalls:
    """Answers one call at one upstream."""

    def __init__(self, relay: Relay, *, now: Callable[[], float]) -> None:
        self._relay = relay
        self._now = now

    async def answer(self, call: Call, client: Client, peek: Peek, adapter: Adapter, codec: Dialect, model: str) -> None:
        """Raises `UpstreamError`, `Unrepresentable` and `InvalidRequest`, all before anything was sent to the client."""
        if peek.operation == "count_tokens":
            body = await self._count(call, client, peek, adapter, codec, model)
        else:
            body = await self._embed(call, client, peek, adapter, codec, model)
        await self._send(call, client, body)

    async def estimate(self, call: Call, client: Client, peek: Peek) -> None:
        """Answer a call for a count of tokens here. Raises `InvalidRequest`, and `Unrepresentable` where the dialect has no such call."""
        own = call.dialect.counter
        if own is None:
            raise Unrepresentable("a count of tokens", call.dialect.name)
        call.losses = call.recorded_losses = (_ESTIMATED,)
        await self._send(call, client, own.encode_reply(estimate_tokens(own.decode_request(call.body, peek))))

    async def _send(self, call: Call, client: Client, body: bytes) -> None:
        call.committed = call.content_sent = call.over = True
        call.status = 200
        call.response_bytes = len(body)
        await client.start(200, [JSON_TYPE, (b"content-length", b"%d" % len(body)), *call.reply_headers()])
        await client.finish(body)

    async def _count(self, call: Call, client: Client, peek: Peek, adapter: Adapter, codec: Dialect, model: str) -> bytes:
        own = call.dialect.counter
        if own is None or codec.counter is None or peek.operation not in adapter.operations:
            raise Unrepresentable("a count of tokens", codec.name)
        if codec is call.dialect:
            return await self._ask(call, client, peek, adapter, codec, model, _renamed(call, peek, codec, model))
        encoded = codec.counter.encode_request(own.decode_request(call.body, peek), model)
        call.lose(encoded.losses)
        reply = await self._ask(call, client, peek, adapter, codec, model, encoded.body)
        return own.encode_reply(codec.counter.decode_reply(reply))

    async def _embed(self, call: Call, client: Client, peek: Peek, adapter: Adapter, codec: Dialect, model: str) -> bytes:
        own = call.dialect.embedder
        if own is None or codec.embedder is None or peek.operation not in adapter.operations:
            raise Unrepresentable("a request for embeddings", codec.name)
        if codec is call.dialect:
            reply = await self._ask(call, client, peek, adapter, codec, model, _renamed(call, peek, codec, model))
            call.note_usage(codec.embedder.hear_reply(reply))
            return reply
        asked = own.decode_request(call.body, peek)
        encoded: Encoded = codec.embedder.encode_request(asked, model)
        call.lose(encoded.losses)
        answer = codec.embedder.decode_reply(await self._ask(call, client, peek, adapter, codec, model, encoded.body))
        call.note_usage(answer.usage)
        return own.encode_reply(answer, asked)

    async def _ask(self, call: Call, client: Client, peek: Peek, adapter: Adapter, codec: Dialect, model: str, body: bytes) -> bytes:
        own = codec is call.dialect
        asked = UpstreamCall(
            model=model,
            stream=False,
            body=body,
            request_id=call.request_id,
            operation=peek.operation,
            variant=peek.variant if own else "",
            client_headers=call.client_headers if own else None,
            dialect=codec.name,
        )
        began = self._now()
        try:
            exchange: Exchange = await adapter.send(asked)
        finally:
            call.upstream_s += self._now() - began
        try:
            await self._relay.wait(call, client, exchange.head, "first_byte", call.timeouts.first_byte_s)
            call.upstream_status = exchange.status
            if not 200 <= exchange.status < 300:
                raise await error_of(self._relay, call, client, codec, exchange)
            return await self._relay.read(call, client, exchange, _MAX_REPLY_BYTES)
        finally:
            exchange.close()


def _renamed(call: Call, peek: Peek, codec: Dialect, model: str) -> bytes:
    """The client's own bytes with the upstream's name of the model, also where they name another one."""
    return codec.forward_request(call.body, msgspec.structs.replace(peek, model="") if call.renamed else peek, model)
