"""One call at two upstreams at a time: who serves, and what is written down of the other. Floor 3."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fkproxy.adapters.base import Exchange
from fkproxy.call import Call, Rendered
from fkproxy.dialects.base import Dialect
from fkproxy.hedging import HedgedExchange, Hedger, does_no_harm
from fkproxy.model.errors import FkproxyError, UpstreamError
from fkproxy.telemetry.record import Attempt
from fkproxy.upstream import Lease

__all__ = ["ABANDONED", "Hedge"]

ABANDONED = "abandoned"
"""The outcome of an attempt that was cut because another one was quicker."""

_TOLD_IN_WORDS = (403, 404)
"""Statuses that may be about what the request names, such as a file of another account; nobody reads the words of who lost."""


class Hedge:
    """The first upstream's lease is the call's. `exchange` stands for both until `settle`."""

    def __init__(
        self,
        call: Call,
        hedger: Hedger,
        first: Lease,
        exchange: Exchange,
        after_s: float,
        ask: Callable[[Lease], tuple[Rendered, Awaitable[Exchange]]],
        codec: Dialect,
        now: Callable[[], float],
    ) -> None:
        self.exchange = HedgedExchange(exchange, after_s, self._ask_another, now)
        self._call = call
        self._hedger = hedger
        self._first = first
        self._second: tuple[Lease, Rendered] | None = None
        self._ask = ask
        self._codec = codec
        self._now = now

    @classmethod
    def of(
        cls,
        call: Call,
        first: Lease,
        exchange: Exchange,
        ask: Callable[[Lease], tuple[Rendered, Awaitable[Exchange]]],
        now: Callable[[], float],
        *,
        body: bytes,
        codec: Dialect,
    ) -> Hedge | None:
        """None where the call is not to be asked twice. `ask` sends it to an upstream, and raises where that cannot be asked so."""
        hedger = call.hedger
        if hedger is None or call.spare is None:
            return None
        after_s = hedger.after_s(first.upstream.key, first.model)
        if after_s is None or not does_no_harm(body, stores=codec.stores_replies):
            return None
        return cls(call, hedger, first, exchange, after_s, ask, codec, now)

    async def _ask_another(self) -> Exchange | None:
        call = self._call
        if call.spare is None or not self._hedger.take():
            return None
        lease = call.spare(self._codec)
        if lease is None:
            return None
        try:
            rendered, sent = self._ask(lease)
        except FkproxyError:
            # What this one's model cannot be told says nothing about the first one.
            lease.close(self._now(), 0, asked=False)
            return None
        self._second = (lease, rendered)
        call.attempts += 1
        call.note("hedged")
        return await sent

    def settle(self) -> None:
        """One of them has begun to answer, or neither will: the other one's place is given back, and its attempt written down."""
        call, asked = self._call, self._second
        call.spare = self._second = None
        if asked is None:
            return
        second, rendered = asked
        place, loser = (0, self._first) if self.exchange.winner == 1 else (1, second)
        loss = self.exchange.lost.get(place)
        error = self._codec.decode_error(loss, {}, b"") if isinstance(loss, int) else loss
        now = self._now()
        if isinstance(error, UpstreamError) and loss not in _TOLD_IN_WORDS:
            loser.failed(error, now)
        loser.close(now, 0 if error is not None else None)
        call.tries += (
            Attempt(
                provider_key=loser.upstream.provider_key,
                credential=loser.upstream.credential,
                model_id=loser.model,
                outcome=error.code if error is not None else ABANDONED,
                status=error.upstream_status if error is not None else None,
                duration_ms=(now - loser.began_s) * 1000,
            ),
        )
        if self.exchange.winner == 1:
            second.when_answered = self._first.when_answered
            call.meet(second)
            call.provider_key, call.credential, call.model_id = second.upstream.provider_key, second.upstream.credential, second.model
            call.timeouts = second.upstream.terms.timeouts
            call.told(rendered)
