"""Whether an upstream answers: one token of one of its models, through its own adapter. Floor 3."""

from __future__ import annotations

import asyncio
import time

from fkproxy.adapters.base import Adapter, UpstreamCall
from fkproxy.dialects import UPSTREAM_DIALECTS
from fkproxy.model.errors import UpstreamError, UpstreamRejected
from fkproxy.model.events import Failed
from fkproxy.model.names import is_pattern
from fkproxy.model.parts import Message, Text
from fkproxy.model.request import ChatRequest, Sampling
from fkproxy.routing import RoutingTable, Rule

__all__ = ["NothingToAsk", "ask_one_token", "models_to_ask", "one_token"]

_SILENCE_S = 10.0
_TIMEOUT_S = 60.0
_MOST_TRIED = 3


class NothingToAsk(Exception):
    """The upstream lists no model, and none is configured by name."""


async def one_token(adapter: Adapter, timeout_s: float = _TIMEOUT_S) -> tuple[str, float]:
    """(model, milliseconds) of the first of its models that answers; three are tried at most, in the order in which it lists them.

    Not every listed one can be asked this way, so a rejected one is no verdict. Raises `NothingToAsk`, `TimeoutError` after `timeout_s`
    without an answer, `UpstreamRejected` when every one was rejected, and any other `FkproxyError` at once.
    """
    refused: UpstreamRejected | None = None
    for model in await models_to_ask(adapter):
        try:
            async with asyncio.timeout(timeout_s):
                return model, await ask_one_token(adapter, model)
        except UpstreamRejected as failure:
            refused = failure
    if refused is not None:
        raise refused
    raise NothingToAsk


async def models_to_ask(adapter: Adapter) -> list[str]:
    """Those configured by name, then those that it lists and that are routed to it."""
    table = RoutingTable([Rule(provider_key=adapter.provider_key, models=adapter.models)])
    try:
        listed = [entry.id for entry in await adapter.list_models() if not entry.embeds]
    except UpstreamError:
        listed = []
    named = [pattern for pattern in adapter.models if not is_pattern(pattern)]
    return [*named, *(each for each in listed if each not in named and table.serves(each))][:_MOST_TRIED]


async def ask_one_token(adapter: Adapter, model: str) -> float:
    """Milliseconds to a whole reply of one token. Raises `UpstreamError`."""
    dialect = UPSTREAM_DIALECTS[adapter.dialect]
    message = Message(role="user", parts=(Text(text="Hi"),))
    asked = ChatRequest(dialect="probe", model=model, messages=(message,), sampling=Sampling(max_output_tokens=1))
    body = dialect.encode_request(asked, model).body
    began = time.monotonic()
    exchange = await adapter.send(UpstreamCall(model=model, stream=False, body=body, request_id="probe"))
    try:
        while not await exchange.head(_SILENCE_S):
            pass
        reply = bytearray()
        while data := await exchange.chunk(_SILENCE_S):
            reply += data
        if exchange.status != 200:
            raise dialect.decode_error(exchange.status, exchange.headers, bytes(reply))
        for event in dialect.decode_reply(bytes(reply)):
            if isinstance(event, Failed):
                raise event.error
    finally:
        exchange.close()
    return (time.monotonic() - began) * 1000
