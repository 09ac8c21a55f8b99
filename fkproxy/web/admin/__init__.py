"""The administrator's API: `/admin/api`. Floor 4. The verbs are `control/`'s.

guard.py      who may
answers.py    what is told when something cannot be done
upstreams.py  … and each further file: the routes of one kind of thing

Its description (OpenAPI 3.1) is at `/admin/api/openapi.json`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from litestar import Litestar, MediaType, Request, Response, Router, get
from litestar.connection import ASGIConnection
from litestar.exceptions import ValidationException
from litestar.handlers.base import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import Message

from fkproxy import __version__
from fkproxy.control.audit import AuditControl
from fkproxy.control.calls import CallControl
from fkproxy.control.compat_verbs import CompatControl
from fkproxy.control.config import ConfigControl
from fkproxy.control.keys import KeyControl
from fkproxy.control.ledger import Ledger
from fkproxy.control.pools import PoolControl
from fkproxy.control.providers import ProviderControl
from fkproxy.control.settings import SettingControl
from fkproxy.control.store import StoreControl
from fkproxy.control.upstreams import UpstreamControl
from fkproxy.explain import Explanation
from fkproxy.settings import Problem
from fkproxy.storage.values import StoreError
from fkproxy.web.admin.answers import HANDLERS, MAX_BODY_BYTES
from fkproxy.web.admin.audit import audit_routes
from fkproxy.web.admin.caller import Asking, asking
from fkproxy.web.admin.calls import call_routes
from fkproxy.web.admin.compat import fallback_routes, management_routes
from fkproxy.web.admin.config import config_routes
from fkproxy.web.admin.description import described
from fkproxy.web.admin.guard import Guard
from fkproxy.web.admin.keys import key_routes
from fkproxy.web.admin.pools import pool_routes
from fkproxy.web.admin.providers import provider_routes
from fkproxy.web.admin.settings import setting_routes
from fkproxy.web.admin.store import store_routes
from fkproxy.web.admin.upstreams import upstream_routes
from fkproxy.web.application import ADMIN_PREFIX, Once
from fkproxy.web.asgi import request_id
from fkproxy.wire import json

__all__ = ["AdminPlane", "Guard", "admin_app", "asking"]


class AdminPlane(msgspec.Struct, frozen=True, kw_only=True):
    """The verbs, and what stands around them.

    `reload` takes the providers file as it is now; it gives warnings and raises `SettingsError`. `opening` waits for a store that is being
    opened, `changed` puts in force what a verb has changed in it. `by` says who asks.
    """

    guard: Guard
    by: Asking
    upstreams: UpstreamControl
    explain: Callable[[str], Awaitable[Explanation | None]]
    reload: Callable[[], Awaitable[list[Problem]]]
    ledger: Ledger
    keys: KeyControl
    pools: PoolControl
    providers: ProviderControl
    settings: SettingControl
    config: ConfigControl
    audit: AuditControl
    calls: CallControl
    store: StoreControl
    compat: CompatControl
    changed: Callable[[], Awaitable[None]]
    opening: Callable[[], Awaitable[None]]
    headers: dict[str, str]


def admin_app(plane: AdminPlane) -> Litestar:
    """An application of its own, for paths below the prefixes in `web.application`."""

    description = Once(lambda: json.encode(described(app.openapi_schema.to_schema())))

    @get("/openapi.json", include_in_schema=False)
    async def describe() -> Response[bytes]:
        return Response(await description(), media_type=MediaType.JSON)

    by = plane.by
    headers = [(name.encode(), value.encode()) for name, value in {**plane.headers, "cache-control": "no-store"}.items()]

    def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        """Litestar makes a deep copy of what a router holds, and a copy of the guard would know the keys of that moment only."""
        plane.guard(connection, handler)

    async def marked(message: Message, scope: Any) -> None:
        """Refusals too: Litestar's own headers for responses are not for those."""
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *headers, (b"x-request-id", request_id(scope).encode())]

    async def awaited(_: Request[Any, Any, Any]) -> None:
        await plane.opening()

    async def settled(response: Response[Any]) -> Response[Any]:
        """Whoever has his answer finds it in force, on this host. Why it cannot be is told elsewhere: the answer may hold what is shown
        once, and what it tells of has been done."""
        with contextlib.suppress(StoreError):
            await plane.changed()
        return response

    kept = Router(
        "/",
        route_handlers=[
            key_routes(plane.keys, by),
            pool_routes(plane.pools, by),
            provider_routes(plane.providers, by),
            setting_routes(plane.settings, by),
            config_routes(plane.config, by),
            audit_routes(plane.audit, by),
            call_routes(plane.calls, by),
            store_routes(plane.store, by),
        ],
        before_request=awaited,
        after_request=settled,
    )
    steered = upstream_routes(plane.upstreams, plane.explain, plane.reload, plane.ledger, by)
    app = Litestar(
        [
            Router(ADMIN_PREFIX, route_handlers=[describe, steered, kept], guards=[guard, _parameters_are_known]),
            fallback_routes(
                config=plane.config,
                providers=plane.providers,
                settings=plane.settings,
                upstreams=plane.upstreams,
                ledger=plane.ledger,
                by=by,
                guard=guard,
                around={"before_request": awaited, "after_request": settled},
            ),
            management_routes(plane.compat, by=by, guard=guard, around={"before_request": awaited, "after_request": settled}),
        ],
        exception_handlers=HANDLERS,
        before_send=[marked],
        request_max_body_size=MAX_BODY_BYTES,
        openapi_config=OpenAPIConfig(
            title="fkllmproxy, the administrator's API",
            version=__version__,
            use_handler_docstrings=True,
            components=Components(security_schemes={"master_key": SecurityScheme(type="http", scheme="bearer")}),
            security=[{"master_key": []}],
            # Litestar's own page of it, which says 404 in HTML to whatever stands beside it.
            openapi_router=Router(f"{ADMIN_PREFIX}/schema", route_handlers=[], guards=[guard], include_in_schema=False),
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        ),
        logging_config=None,
    )
    return app


def _parameters_are_known(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """A guard: a misspelt filter leaves everything in, and `upstreams/reset` without its `key` is of all. Raises `ValidationException`."""
    known = handler.parsed_fn_signature.parameters
    unknown = [name for name in connection.query_params if name not in known]
    if unknown:
        raise ValidationException(extra=[{"key": name, "message": "is no parameter of this request"} for name in unknown])
