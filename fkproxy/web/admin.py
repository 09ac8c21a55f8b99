"""The administrator's API: `/admin/api`. Floor 4. The verbs are `control/`'s.

The master key opens it, as `Authorization: Bearer` or `X-Management-Secret`. Where no key is required only this host may ask. Errors are
`{"error": {"code", "message"}}`.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, Router, get, post
from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException, NotAuthorizedException, NotFoundException
from litestar.handlers.base import BaseRouteHandler
from litestar.params import FromPath, FromQuery

from fkproxy.access import KeyRing, presented_key
from fkproxy.control.upstreams import UnknownUpstream, UpstreamControl, UpstreamView
from fkproxy.explain import Explanation
from fkproxy.model.errors import NotAuthenticated
from fkproxy.settings import Problem, SettingsError

__all__ = ["ADMIN_PREFIX", "Reloaded", "admin_app"]

ADMIN_PREFIX = "/admin/api"

logger = logging.getLogger("fkproxy.web.admin")


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """The providers in force after a reload, and what the configuration warns of."""

    upstreams: list[UpstreamView]
    warnings: list[str]


def admin_app(
    *,
    keys: KeyRing,
    upstreams: UpstreamControl,
    explain: Callable[[str], Explanation | None],
    reload: Callable[[], Awaitable[list[Problem]]],
    headers: dict[str, str],
) -> Litestar:
    """An application of its own, for paths below `ADMIN_PREFIX`.

    `reload` takes the providers file as it is now; it gives warnings and raises `SettingsError`.
    """

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        if not keys.required:
            if connection.client is None or not ipaddress.ip_address(connection.client.host).is_loopback:
                raise NotAuthorizedException("no key is configured: only this host may ask")
            return
        given = connection.headers
        secret = given.get("x-management-secret")
        bearer = given.get("authorization")
        try:
            keys.check(secret.encode() if secret else presented_key(bearer.encode() if bearer else None, None, None))
        except NotAuthenticated as error:
            raise NotAuthorizedException(str(error), headers={"www-authenticate": "Bearer"}) from None

    @get("/upstreams", sync_to_thread=False)
    def list_upstreams() -> list[UpstreamView]:
        """Every upstream: its state, its breaker, what it holds."""
        return upstreams.all()

    @post("/upstreams/pause", status_code=200, sync_to_thread=False)
    def pause(key: FromQuery[str]) -> UpstreamView:
        """Let no call in until it is resumed."""
        return upstreams.pause(key)

    @post("/upstreams/resume", status_code=200, sync_to_thread=False)
    def resume(key: FromQuery[str]) -> UpstreamView:
        """End a pause."""
        return upstreams.resume(key)

    @post("/upstreams/reset", status_code=200, sync_to_thread=False)
    def reset(key: FromQuery[str | None] = None) -> list[UpstreamView]:
        """End cooldowns and close breakers, of one upstream or of all."""
        return upstreams.reset_all() if key is None else [upstreams.reset(key)]

    @get("/explain/{request_id:str}", sync_to_thread=False)
    def explain_call(request_id: FromPath[str]) -> Explanation:
        """Why a call went where it went."""
        found = explain(request_id)
        if found is None:
            raise NotFoundException("this call is not remembered: the last few thousand are, since the start of the process")
        return found

    @post("/providers/reload", status_code=200)
    async def reload_providers() -> Reloaded:
        """Take the providers file as it is now, whole or not at all."""
        warnings = await reload()
        return Reloaded(upstreams=upstreams.all(), warnings=[str(warning) for warning in warnings])

    router = Router(
        ADMIN_PREFIX,
        route_handlers=[list_upstreams, pause, resume, reset, explain_call, reload_providers],
        guards=[guard],
    )
    return Litestar(
        [router],
        exception_handlers={HTTPException: _refused, UnknownUpstream: _unknown, SettingsError: _invalid, Exception: _broken},
        response_headers={**headers, "cache-control": "no-store"},
        openapi_config=None,
        logging_config=None,
    )


def _told(status: int, code: str, message: str, headers: dict[str, str] | None = None, **more: Any) -> Response[Any]:
    body = {"error": {"code": code, "message": message, **more}}
    return Response(body, status_code=status, headers=headers, media_type="application/json")


_CODES = {400: "invalid_request", 401: "invalid_api_key", 404: "not_found", 405: "method_not_allowed"}


def _refused(_: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    return _told(error.status_code, _CODES.get(error.status_code, "invalid_request"), error.detail, error.headers)


def _broken(_: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    logger.error("an administrator's request failed in the gateway", exc_info=error)
    return _told(500, "internal_error", "internal error")


def _unknown(_: Request[Any, Any, Any], error: UnknownUpstream) -> Response[Any]:
    return _told(404, "not_found", str(error))


def _invalid(_: Request[Any, Any, Any], error: SettingsError) -> Response[Any]:
    problems = [{"name": problem.name, "message": problem.message, "hint": problem.hint} for problem in error.problems]
    return _told(422, "invalid_configuration", "nothing was changed", problems=problems)
