"""The routes clients post to, made by looping over the dialects. Floor 4."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence

from fkproxy.call import Call
from fkproxy.dialects.base import Dialect, Route
from fkproxy.gateway import Gateway
from fkproxy.model.errors import ForeignPage, MethodNotAllowed
from fkproxy.web.asgi import AsgiClient, Door, Endpoint, Inbound, Receive, Scope, Send
from fkproxy.web.paths import matcher

__all__ = ["chat_endpoints"]

_METHODS = ("POST", "HEAD", "OPTIONS")


def chat_endpoints(gateway: Gateway, door: Door, dialects: Sequence[Dialect], look: Callable[[str], Endpoint]) -> dict[str, Endpoint]:
    """An endpoint for each route of each dialect, by path, with what is in braces there (see `Route`). `look` makes what answers HEAD at a
    path."""
    return {route.path: _endpoint(gateway, door, dialect, route, look(route.path)) for dialect in dialects for route in dialect.routes}


def _endpoint(gateway: Gateway, door: Door, dialect: Dialect, route: Route, look: Endpoint) -> Endpoint:
    prefix, _, template = route.path.partition("{")
    matching = matcher(route.path) if template not in ("", "target}") else None
    rewrite = route.rewrite

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        inbound = door.enter(scope)
        if matching is not None:
            target = _target(matching, inbound.path)
        else:
            target = inbound.path[len(prefix) :] if template else ""
        client = AsgiClient(door, inbound, receive, send) if rewrite is None else _Rewriting(door, inbound, receive, send, rewrite, target)
        call = _call(dialect, route, inbound, target)
        try:
            if inbound.method == "POST":
                if gateway.clientele.keys.required or door.knows(inbound):
                    await gateway.serve(call, client)
                else:
                    await gateway.refuse(call, client, ForeignPage())
            elif inbound.method == "HEAD":
                await look(scope, receive, send)
            elif inbound.method == "OPTIONS":
                await client.preflight(_METHODS)
            elif inbound.headers.get(b"upgrade", b"").lower() == b"websocket":
                # Codex CLI begins with one, goes on over HTTP at once after a 426 and after nothing else (codex-rs/core/src/client.rs).
                await gateway.refuse(call, client, MethodNotAllowed("a WebSocket", _METHODS, status=426))
            else:
                await gateway.refuse(call, client, MethodNotAllowed(inbound.method, _METHODS))
            await client.linger()
        except asyncio.CancelledError:
            if not client.gone:
                raise
            # Our own watcher cancelled the call because the client had left; the server need not hear of it.
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
        finally:
            client.close()

    return serve


class _Rewriting(AsgiClient):
    """A client whose bodies are of another form than its dialect's."""

    __slots__ = ("_rewrite", "_target")

    def __init__(
        self, door: Door, inbound: Inbound, receive: Receive, send: Send, rewrite: Callable[[bytes, str], bytes], target: str
    ) -> None:
        super().__init__(door, inbound, receive, send)
        self._rewrite = rewrite
        self._target = target

    async def read_body(self, limit_bytes: int, make_room: Callable[[int], Awaitable[None]]) -> bytes:
        """See `Client.read_body`. Raises `InvalidRequest` as well."""
        return self._rewrite(await super().read_body(limit_bytes, make_room), self._target)


def _target(matching: re.Pattern[str], path: str) -> str:
    found = matching.fullmatch(path)
    return found.groupdict().get("target", "") if found is not None else ""


def _call(dialect: Dialect, route: Route, inbound: Inbound, target: str) -> Call:
    return Call(
        inbound.request_id,
        dialect,
        inbound.method,
        route.path,
        target,
        inbound.query,
        route.operation,
        inbound.presented_key,
        inbound.peer,
        inbound.user_agent,
        inbound.headers,
    )
