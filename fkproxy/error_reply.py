"""An upstream's refusal, read as far as it comes: its status has told most of it. Floor 3."""

from __future__ import annotations

from contextlib import suppress

from fkproxy.adapters.base import Exchange
from fkproxy.call import Call, Client
from fkproxy.dialects.base import Dialect
from fkproxy.model.errors import UpstreamError
from fkproxy.relay import Relay

__all__ = ["error_of"]

_MOST_BYTES = 1024 * 1024

_MOST_S = 5.0
"""How long its words are waited for, which come with the head or right behind it; meanwhile somebody else could serve."""


async def error_of(relay: Relay, call: Call, client: Client, codec: Dialect, exchange: Exchange) -> UpstreamError:
    """What a reply says whose status is none of success.

    Of words that break off, are damaged, too many or too long in coming, there is what came: who says 400 or 429 is not away, and is not to
    be treated as if it were.
    """
    said = b""
    until_s = relay.now() + _MOST_S
    with suppress(UpstreamError):
        while len(said) < _MOST_BYTES and (piece := await relay.wait(call, client, exchange.chunk, "silence", until_s - relay.now())):
            said += piece
    return codec.decode_error(exchange.status, exchange.headers, said)
