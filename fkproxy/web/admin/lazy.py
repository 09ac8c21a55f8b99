"""What is put together when somebody first asks for it, once, in a thread. Floor 4."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from litestar import Litestar
from litestar.types import Receive, Scope, Send

__all__ = ["Lazy", "Once"]

T = TypeVar("T")


class Once(Generic[T]):
    """What `make` gives, for whoever asks."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._making: asyncio.Future[T] | None = None

    async def __call__(self) -> T:
        if self._making is None:
            self._making = asyncio.ensure_future(asyncio.to_thread(self._make))
        # Shielded: whoever asked first may hang up while others wait for the same.
        return await asyncio.shield(self._making)


class Lazy:
    """An application. Handlers take 2 ms each to put together: too much for every start, and for the event loop."""

    def __init__(self, build: Callable[[], Litestar]) -> None:
        self._built = Once(build)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (await self._built())(scope, receive, send)
