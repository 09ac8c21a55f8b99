"""What a reply is whose media type does not say that it is a stream. Floor 3.

Some servers call their events JSON, or lines of it, which no SDK minds (LitServe#359, vllm-ascend#6985, read 2026-11); others answer who
asks for events with a whole reply, and what stands before an upstream with a page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fkproxy.adapters.base import Exchange, Pulled

__all__ = ["Sniffed", "sniffed"]

_BEGINNINGS = frozenset((b":", b"d", b"e", b"i", b"r", b"\xef"))
"""Of events: a comment, `data`, `event`, `id`, `retry`, or a byte order mark (html.spec.whatwg.org, "Server-sent events", 9.2.5)."""


class Sniffed(Pulled):
    """An exchange of whose body the first piece was looked at. `streamed` says whether it is one of events."""

    def __init__(self, exchange: Exchange, first: bytes | None) -> None:
        self.status, self.headers, self.head, self.close = exchange.status, exchange.headers, exchange.head, exchange.close
        self._exchange = exchange
        self._first = first or b""
        self.streamed = self._first.lstrip()[:1] in _BEGINNINGS

    async def chunk(self, wait_s: float) -> bytes | None:
        """See `Exchange.chunk`."""
        first, self._first = self._first, b""
        return first or await self._exchange.chunk(wait_s)


async def sniffed(exchange: Exchange, look: Callable[[], Awaitable[bytes | None]]) -> Sniffed:
    """`exchange`, whose head is there. `look`: its next piece, None at the end; raises as it does."""
    # Blank lines may come first, as signs of life.
    while (first := await look()) and first.isspace():
        pass
    return Sniffed(exchange, first)
