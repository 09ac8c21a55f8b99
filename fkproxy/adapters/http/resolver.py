"""Names to addresses, in threads of our own. Floor 2.

uvloop gives names two threads of the four that libuv has, and a name that nobody answers for keeps its thread until the C library gives
up, ten seconds and more, whoever was cancelled meanwhile: two calls to such a name, and no other name is looked up.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import threading
from typing import Any

__all__ = ["Resolver", "SocketAddress"]

SocketAddress = tuple[int, tuple[Any, ...]]
"""(family, what `sock_connect` takes)"""
_Found = list[SocketAddress]
_Key = tuple[str, int]


class Resolver:
    """Who asks for a name that is being looked up waits for that, too: so there are never more threads than names."""

    def __init__(self) -> None:
        self._under_way: dict[_Key, asyncio.Future[_Found | Exception]] = {}

    async def look_up(self, host: str, port: int) -> _Found:
        """Each address, in the order of preference. Raises as `socket.getaddrinfo`."""
        key = host, port
        lookup = self._under_way.get(key)
        if lookup is None:
            lookup = self._begin(key)
        found = await asyncio.shield(lookup)
        if isinstance(found, Exception):
            # A fresh one for each who waits: an exception that is raised twice keeps the frames of both.
            raise type(found)(*found.args)
        return found

    def _begin(self, key: _Key) -> asyncio.Future[_Found | Exception]:
        loop = asyncio.get_running_loop()
        lookup: asyncio.Future[_Found | Exception] = loop.create_future()
        # A daemon: a name that nobody answers for does not keep the process from its end.
        thread = threading.Thread(target=self._ask, args=(loop, key), name="fkproxy-resolver", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, "no thread can be had to look up a name") from error
        self._under_way[key] = lookup
        return lookup

    def _ask(self, loop: asyncio.AbstractEventLoop, key: _Key) -> None:
        """In a thread."""
        found: _Found | Exception
        try:
            found = [(int(family), address) for family, _, _, _, address in socket.getaddrinfo(*key, type=socket.SOCK_STREAM)]
        except Exception as error:  # noqa: BLE001 - whatever it is: those who wait are told
            found = error
        # The loop may be closed by now.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(self._tell, key, found)

    def _tell(self, key: _Key, found: _Found | Exception) -> None:
        self._under_way.pop(key).set_result(found)
