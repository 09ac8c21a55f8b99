"""A second upstream asked for the same reply, when the first one takes longer than it usually does. Floor 3.

Only where asking twice does no harm: a chat that keeps nothing at the vendor and runs no tool of the vendor's. Whose head comes first, and
is good, serves; the other one is cut. What it may cost has a cap: a share of all calls.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from fkproxy.adapters.base import Exchange
from fkproxy.model.errors import UpstreamError

__all__ = ["HedgePolicy", "HedgedExchange", "Hedger", "does_no_harm"]

_SAMPLES = 100
_LEAST_SAMPLES = 20
_LEAST_S = 0.05
_MAX_PLACES = 1024
_MOST_SAVED = 10.0
_PATIENCE_S = 3600.0

_KEPT = re.compile(
    rb'"(?:store|background)"\s*:\s*true'
    rb'|"(?:previous_response_id|conversation|container|mcp_servers|cachedContent|continuationToken|thread)"\s*:\s*[^n\s]'
    rb'|"type"\s*:\s*"(?:mcp|computer|code_|web_|file_search|image_generation|bash|text_editor|local_shell)'
    rb'|"(?:googleSearch|google_search|codeExecution|code_execution|urlContext|url_context)"\s*:'
)
_NOT_STORED = re.compile(rb'"store"\s*:\s*false')


class HedgePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """`after_s` 0: the time within which 95 of 100 replies of that upstream began. `share`: of all calls, at most."""

    after_s: float = 0.0
    share: float = 0.05


def does_no_harm(body: bytes, *, stores: bool) -> bool:
    """Whether this request may be sent twice. `stores`: its dialect's vendor keeps replies unless it is told not to."""
    return _KEPT.search(body) is None and (not stores or _NOT_STORED.search(body) is not None)


class Hedger:
    """Knows how long upstreams take, and how many second requests may still be made."""

    def __init__(self, policy: HedgePolicy) -> None:
        self._policy = policy
        self._saved = 1.0
        self._took_s: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def after_s(self, upstream: str, model: str) -> float | None:
        """When to ask somebody else, too; None where nobody knows what is usual, or the share is used up. Counts the call."""
        self._saved = min(_MOST_SAVED, self._saved + self._policy.share)
        if self._saved < 1.0:
            return None
        if self._policy.after_s:
            return self._policy.after_s
        took_s = self._took_s.get((upstream, model))
        if took_s is None or len(took_s) < _LEAST_SAMPLES:
            return None
        return max(_LEAST_S, sorted(took_s)[int(len(took_s) * 0.95)])

    def saw(self, upstream: str, model: str, took_s: float) -> None:
        """A reply began so long after it was asked for."""
        place = (upstream, model)
        samples = self._took_s.get(place)
        if samples is None:
            if len(self._took_s) >= _MAX_PLACES:
                self._took_s.popitem(last=False)
            samples = self._took_s[place] = deque(maxlen=_SAMPLES)
        samples.append(took_s)

    def take(self) -> bool:
        """Leave for one second request."""
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True


class HedgedExchange:
    """One reply out of two exchanges. `second` gives the other one, sent already, or None where there is nobody to ask.

    A head that is no success loses against one that is, and is taken when the other is none either. `lost`: what each of them, by its
    place (0, 1), failed with, while the other one went on.
    """

    def __init__(self, first: Exchange, after_s: float, second: Callable[[], Awaitable[Exchange | None]], now: Callable[[], float]) -> None:
        self.winner: int | None = None
        self.lost: dict[int, UpstreamError | int] = {}
        self._second = second
        self._now = now
        self._due_s = now() + after_s
        self._exchanges: dict[int, Exchange] = {0: first}
        self._pending: dict[asyncio.Task[Exchange | None], int] = {}
        self._begun = 0

    @property
    def status(self) -> int:
        """See `Exchange.status`."""
        return self._won.status

    @property
    def headers(self) -> Mapping[str, str]:
        """See `Exchange.headers`."""
        return self._won.headers

    @property
    def _won(self) -> Exchange:
        assert self.winner is not None
        return self._exchanges[self.winner]

    async def head(self, wait_s: float) -> bool:
        """See `Exchange.head`."""
        until_s = self._now() + wait_s
        if not self._begun:
            self._begin(_headed(self._exchanges[0]))
        while self.winner is None:
            rest_s = until_s - self._now()
            if rest_s <= 0:
                return False
            pause_s = rest_s if self._begun > 1 else min(rest_s, max(0.0, self._due_s - self._now()))
            done, _ = await asyncio.wait(self._pending, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=self._pending.__getitem__):
                self._judge(task)
            if self.winner is None and self._begun == 1 and self._pending and self._now() >= self._due_s:
                self._begin(self._other())
            elif self.winner is None and not self._pending:
                self._settle_for_a_failure()
        self._cut(keep=self.winner)
        return True

    def _begin(self, work: Awaitable[Exchange | None]) -> None:
        self._pending[asyncio.ensure_future(work)] = self._begun
        self._begun += 1

    async def _other(self) -> Exchange | None:
        exchange = await self._second()
        if exchange is None:
            return None
        self._exchanges[1] = exchange
        return await _headed(exchange)

    def _judge(self, task: asyncio.Task[Exchange | None]) -> None:
        place = self._pending.pop(task)
        try:
            exchange = task.result()
        except UpstreamError as error:
            self.lost[place] = error
            return
        if exchange is None or self.winner is not None:
            return
        if 200 <= exchange.status < 300:
            self.winner = place
        else:
            self.lost[place] = exchange.status

    def _settle_for_a_failure(self) -> None:
        """None was good: the first that answered at all, else what the first one failed with."""
        for place, loss in sorted(self.lost.items()):
            if isinstance(loss, int):
                self.winner = place
                del self.lost[place]
                return
        loss = self.lost.pop(min(self.lost))
        assert isinstance(loss, UpstreamError)
        raise loss

    async def chunk(self, wait_s: float) -> bytes | None:
        """See `Exchange.chunk`."""
        return await self._won.chunk(wait_s)

    def at_once(self) -> bytes | None:
        """See `Exchange.at_once`."""
        return self._won.at_once()

    async def pour(self, into: Callable[[bytes], bool], wait_s: float) -> bool:
        """See `Exchange.pour`."""
        return await self._won.pour(into, wait_s)

    def close(self) -> None:
        """See `Exchange.close`."""
        self._cut(keep=None)

    def _cut(self, keep: int | None) -> None:
        for task in self._pending:
            task.cancel()
        self._pending.clear()
        for place, exchange in self._exchanges.items():
            if place != keep:
                exchange.close()


async def _headed(exchange: Exchange) -> Exchange:
    while not await exchange.head(_PATIENCE_S):
        pass
    return exchange
