"""An application that is put together when somebody first asks for it. Floor 4."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from litestar import Litestar
from litestar.types import Receive, Scope, Send

__all__ = ["Lazy"]


class Lazy:
    """Handlers take 2 ms each to put together: too much for every start, and for the event loop. So it is done once, in a thread."""

    def __init__(self, build: Callable[[], Litestar]) -> None:
        self._build = build
        self._building: asyncio.Future[Litestar] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._building is None:
            self._building = asyncio.ensure_future(asyncio.to_thread(self._build))
        # Shielded: whoever asked first may hang up while others wait for the same.
        app = await asyncio.shield(self._building)
        await app(scope, receive, send)
