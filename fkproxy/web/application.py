"""The application: which endpoint a request goes to, and what runs from the start to the end. Floor 4.

Calls, health and metrics go straight to their endpoints, which answer for whatever goes wrong in them: a framework's router, middleware
and wrapped `send` would cost a tenth of a call. The administrator's API is Litestar's. It is put together when it is first asked for:
its libraries take a tenth of a second and fifteen megabytes, and many a process never needs them.

Source: ASGI 3.0, HTTP and lifespan protocols (asgi.readthedocs.io, read 2026-11).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any, Generic, TypeVar

from fkproxy.web.asgi import Endpoint, Receive, Scope, Send
from fkproxy.web.paths import matcher

__all__ = ["ADMIN_PREFIX", "FALLBACK_PREFIX", "MANAGEMENT_PREFIX", "Application", "Lazy", "Once", "by_method"]

T = TypeVar("T")

ADMIN_PREFIX = "/admin/api"
FALLBACK_PREFIX = "/admin"
MANAGEMENT_PREFIX = "/v0/management"
_ADMINISTRATIVE = (f"{FALLBACK_PREFIX}/".encode(), f"{MANAGEMENT_PREFIX}/".encode())
"""Everything below is the administrator's."""

logger = logging.getLogger("fkproxy.web")


class Application:
    """ASGI. `endpoints` by path; one that ends in `{target}` stands for all below it, and names in braces before that for what clients say
    there (see `Route`). `admin` answers below the administrator's prefixes, `unknown` whatever is left. `open_` and `close` run before the
    first request and after the last one."""

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        *,
        unknown: Endpoint,
        admin: Endpoint,
        open_: Callable[[], Awaitable[None]],
        close: Callable[[], Awaitable[None]],
    ) -> None:
        self._endpoints = {path: endpoint for path, endpoint in endpoints.items() if "{" not in path}
        named = [(*path.partition("{")[::2], path, endpoint) for path, endpoint in endpoints.items() if "{" in path]
        self._prefixes = tuple((head.encode(), endpoint) for head, rest, _, endpoint in named if rest == "target}")
        self._matchers = tuple((matcher(path), endpoint) for _, rest, path, endpoint in named if rest != "target}")
        self._unknown = unknown
        self._admin = admin
        self._open = open_
        self._close = close

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        """See ASGI 3.0. No coroutine of its own: the endpoint's is what the server runs."""
        if scope["type"] != "http":
            return self._live(receive, send)
        path = scope["path"]
        endpoint = self._endpoints.get(path) or self._found(path.rstrip("/"), scope["raw_path"])
        return endpoint(scope, receive, send)

    def _found(self, path: str, raw_path: bytes) -> Endpoint:
        if raw_path.startswith(_ADMINISTRATIVE):
            return self._admin
        for prefix, endpoint in self._prefixes:
            if raw_path.startswith(prefix) and len(raw_path) > len(prefix):
                return endpoint
        asked = raw_path.partition(b"?")[0].decode("latin-1")
        for matching, endpoint in self._matchers:
            if matching.fullmatch(asked):
                return endpoint
        return self._endpoints.get(path, self._unknown)

    @contextlib.asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """From the start to the end, for who is no server."""
        await self._open()
        try:
            yield
        finally:
            await self._close()

    async def _live(self, receive: Receive, send: Send) -> None:
        """The lifespan protocol."""
        await receive()
        try:
            await self._open()
        except Exception:  # told here, without what a library says in it; the server only learns that it failed
            logger.exception("the application cannot start")
            await send({"type": "lifespan.startup.failed", "message": ""})
            raise
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._close()
        await send({"type": "lifespan.shutdown.complete"})


class Once(Generic[T]):
    """What `make` gives, for whoever asks: made when somebody first does, in a thread, and anew for who asks after it failed."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._making: asyncio.Future[T] | None = None

    async def __call__(self) -> T:
        if self._making is None or (self._making.done() and self._making.exception() is not None):
            self._making = asyncio.ensure_future(asyncio.to_thread(self._make))
        # Shielded: whoever asked first may hang up while others wait for the same.
        return await asyncio.shield(self._making)


class Lazy:
    """An ASGI application that is put together when it is first asked."""

    def __init__(self, build: Callable[[], Callable[[Any, Any, Any], Awaitable[None]]]) -> None:
        self._built = Once(build)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (await self._built())(scope, receive, send)


def by_method(posted: Mapping[str, Endpoint], asked: Mapping[str, Endpoint], endings: Mapping[str, tuple[str, ...]]) -> dict[str, Endpoint]:
    """Both sets as one. Where a dialect uses one path for both, POST goes to the first and GET to the second, and what else is asked to the
    one whose the address is: the first has those that end in one of the path's `endings` (see `Route`)."""

    def either(post: Endpoint, ask: Endpoint, ends: tuple[str, ...]) -> Endpoint:
        async def choose(scope: Scope, receive: Receive, send: Send) -> None:
            method = scope["method"]
            called = method == "POST" or (method != "GET" and scope["path"].endswith(ends))
            await (post if called else ask)(scope, receive, send)

        return choose

    shared = {path: either(posted[path], asked[path], endings[path]) for path in posted.keys() & asked.keys()}
    return {**posted, **asked, **shared}
