"""`/admin/api/upstreams`, and what belongs to routing. Floor 4."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from litestar import Router, get, post
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, FromQuery

from fkproxy.control.ledger import Ledger
from fkproxy.control.upstreams import UpstreamControl, UpstreamView
from fkproxy.explain import Explanation
from fkproxy.settings import Problem, SettingsError
from fkproxy.web.admin.caller import Asked, Asking

__all__ = ["Reloaded", "upstream_routes"]


class Tested(msgspec.Struct, frozen=True, kw_only=True):
    """The model that answered, and how long a whole reply of one token took."""

    key: str
    model_id: str
    duration_ms: float


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """The providers in force after a reload, and what the configuration warns of."""

    upstreams: list[UpstreamView]
    warnings: list[str]


def upstream_routes(
    upstreams: UpstreamControl,
    explain: Callable[[str], Awaitable[Explanation | None]],
    reload: Callable[[], Awaitable[list[Problem]]],
    ledger: Ledger,
    by: Asking,
) -> Router:
    """`reload` takes the providers file as it is now; it gives warnings and raises `SettingsError`."""

    async def noted(request: Asked, action: str, target: str = "", kind: str = "upstream") -> None:
        await ledger.note(by(request), action, kind, target)

    async def steered(request: Asked, action: str, key: str, act: Callable[[str], UpstreamView]) -> UpstreamView:
        async with ledger.refusals(by(request), action, "upstream"):
            view = act(key)
        await noted(request, action, key)
        return view

    @get("/upstreams", sync_to_thread=False)
    def list_upstreams() -> list[UpstreamView]:
        """Every upstream: its state, its breaker, what it holds."""
        return upstreams.all()

    @post("/upstreams/pause", status_code=200)
    async def pause(key: FromQuery[str], request: Asked) -> UpstreamView:
        """Let no call in until it is resumed."""
        return await steered(request, "upstream.pause", key, upstreams.pause)

    @post("/upstreams/resume", status_code=200)
    async def resume(key: FromQuery[str], request: Asked) -> UpstreamView:
        """End a pause."""
        return await steered(request, "upstream.resume", key, upstreams.resume)

    @post("/upstreams/reset", status_code=200)
    async def reset(request: Asked, key: FromQuery[str | None] = None) -> list[UpstreamView]:
        """End cooldowns and close breakers, of one upstream or of all."""
        if key is not None:
            return [await steered(request, "upstream.reset", key, upstreams.reset)]
        views = upstreams.reset_all()
        await noted(request, "upstream.reset", "*")
        return views

    @post("/upstreams/test", status_code=200)
    async def test(key: FromQuery[str], request: Asked) -> Tested:
        """Ask it for one token, whatever its state. This costs what one token costs."""
        await steered(request, "upstream.test", key, upstreams.get)
        model_id, duration_ms = await upstreams.test(key)
        return Tested(key=key, model_id=model_id, duration_ms=round(duration_ms, 1))

    @get("/explain/{request_id:str}")
    async def explain_call(request_id: FromPath[str]) -> Explanation:
        """Why a call went where it went."""
        found = await explain(request_id)
        if found is None:
            raise NotFoundException("there is no call with this id, neither among the last few thousand nor in the log of calls")
        return found

    @post("/providers/reload", status_code=200)
    async def reload_providers(request: Asked) -> Reloaded:
        """Take the providers file as it is now, whole or not at all."""
        try:
            warnings = await reload()
        except SettingsError:
            await ledger.note(by(request), "provider.reload", "provider", outcome="refused", note="invalid")
            raise
        await noted(request, "provider.reload", kind="provider")
        return Reloaded(upstreams=upstreams.all(), warnings=[str(warning) for warning in warnings])

    return Router("/", route_handlers=[list_upstreams, pause, resume, reset, test, explain_call, reload_providers], tags=["upstreams"])
