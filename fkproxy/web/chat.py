"""The routes clients post to, made by looping over the dialects. Floor 4."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from fkproxy.call import Call
from fkproxy.dialects.base import Dialect, Route
from fkproxy.gateway import Gateway
from fkproxy.model.errors import MethodNotAllowed
from fkproxy.web.asgi import AsgiClient, Door, Endpoint, Inbound, Receive, Scope, Send

__all__ = ["chat_endpoints"]

_METHODS = ("POST", "HEAD", "OPTIONS")


def chat_endpoints(gateway: Gateway, door: Door, dialects: Sequence[Dialect], look: Callable[[str], Endpoint]) -> dict[str, Endpoint]:
    """An endpoint for each route of each dialect, by path; a path that ends in `{target}` stands for all below it. `look` makes what
    answers HEAD at a path."""
    return {route.path: _endpoint(gateway, door, dialect, route, look(route.path)) for dialect in dialects for route in dialect.routes}


def _endpoint(gateway: Gateway, door: Door, dialect: Dialect, route: Route, look: Endpoint) -> Endpoint:
    prefix, template, _ = route.path.partition("{target}")

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        inbound = door.enter(scope)
        client = AsgiClient(door, inbound, receive, send)
        call = _call(dialect, route, inbound, inbound.path[len(prefix) :] if template else "")
        try:
            if inbound.method == "POST":
                await gateway.serve(call, client)
            elif inbound.method == "HEAD":
                await look(scope, receive, send)
            elif inbound.method == "OPTIONS":
                await client.preflight(_METHODS)
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


def _call(dialect: Dialect, route: Route, inbound: Inbound, target: str) -> Call:
    return Call(
        request_id=inbound.request_id,
        dialect=dialect,
        method=inbound.method,
        route=route.path,
        target=target,
        query=inbound.query,
        operation=route.operation,
        presented_key=inbound.presented_key,
        peer=inbound.peer,
        user_agent=inbound.user_agent,
        client_headers=inbound.headers,
    )
