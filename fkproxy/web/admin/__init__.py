"""The administrator's API: `/admin/api`. Floor 4. The verbs are `control/`'s.

guard.py      who may
answers.py    what is told when something cannot be done
lazy.py       put together when first asked for
upstreams.py  … and each further file: the routes of one kind of thing

Its description (OpenAPI 3.1) is at `/admin/api/openapi.json`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Litestar, Request, Router, get
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from fkproxy import __version__
from fkproxy.control.upstreams import UpstreamControl
from fkproxy.explain import Explanation
from fkproxy.settings import Problem
from fkproxy.web.admin.answers import HANDLERS
from fkproxy.web.admin.guard import Guard
from fkproxy.web.admin.lazy import Lazy
from fkproxy.web.admin.upstreams import upstream_routes

__all__ = ["ADMIN_PREFIX", "Guard", "Lazy", "admin_app"]

ADMIN_PREFIX = "/admin/api"


def admin_app(
    *,
    guard: Guard,
    upstreams: UpstreamControl,
    explain: Callable[[str], Explanation | None],
    reload: Callable[[], Awaitable[list[Problem]]],
    headers: dict[str, str],
) -> Litestar:
    """An application of its own, for paths below `ADMIN_PREFIX`."""

    @get("/openapi.json", include_in_schema=False, sync_to_thread=False)
    def description(request: Request[Any, Any, Any]) -> dict[str, Any]:
        return request.app.openapi_schema.to_schema()

    router = Router(ADMIN_PREFIX, route_handlers=[description, upstream_routes(upstreams, explain, reload)], guards=[guard])
    return Litestar(
        [router],
        exception_handlers=HANDLERS,
        response_headers={**headers, "cache-control": "no-store"},
        openapi_config=OpenAPIConfig(
            title="fkllmproxy, the administrator's API",
            version=__version__,
            use_handler_docstrings=True,
            components=Components(security_schemes={"master_key": SecurityScheme(type="http", scheme="bearer")}),
            security=[{"master_key": []}],
            # Litestar's own page of it, which says 404 in HTML to whatever stands beside it.
            openapi_router=Router(f"{ADMIN_PREFIX}/schema", route_handlers=[], guards=[guard]),
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        ),
        logging_config=None,
    )
