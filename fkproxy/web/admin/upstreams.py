"""`/admin/api/upstreams`, and what belongs to routing. Floor 4."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from litestar import Router, get, post
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, FromQuery

from fkproxy.control.upstreams import UpstreamControl, UpstreamView
from fkproxy.explain import Explanation
from fkproxy.settings import Problem

__all__ = ["Reloaded", "upstream_routes"]


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """The providers in force after a reload, and what the configuration warns of."""

    upstreams: list[UpstreamView]
    warnings: list[str]


def upstream_routes(
    upstreams: UpstreamControl, explain: Callable[[str], Explanation | None], reload: Callable[[], Awaitable[list[Problem]]]
) -> Router:
    """`reload` takes the providers file as it is now; it gives warnings and raises `SettingsError`."""

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

    return Router("/", route_handlers=[list_upstreams, pause, resume, reset, explain_call, reload_providers], tags=["upstreams"])
