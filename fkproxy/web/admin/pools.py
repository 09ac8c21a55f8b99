"""`/admin/api/pools`. Floor 4."""

from __future__ import annotations

from litestar import Router, delete, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody

from fkproxy.control.pools import NewPool, PoolControl, PoolPatch, PoolView
from fkproxy.web.admin.caller import Asked, Asking, based_on

__all__ = ["pool_routes"]


def pool_routes(pools: PoolControl, by: Asking) -> Router:
    """The verbs of `control.pools`. `If-Match` may name the revision that a change was thought out for."""

    @get("/")
    async def list_pools(archived: FromQuery[bool] = False) -> list[PoolView]:
        """All pools; archived ones if asked for."""
        return await pools.all(archived=archived)

    @post("/")
    async def create_pool(data: JSONBody[NewPool], request: Asked) -> PoolView:
        """Make a pool, which is active."""
        return await pools.create(data, by=by(request), based_on=based_on(request))

    @get("/{pool:str}")
    async def get_pool(pool: FromPath[str]) -> PoolView:
        """One pool."""
        return await pools.get(pool)

    @patch("/{pool:str}")
    async def update_pool(pool: FromPath[str], data: JSONBody[PoolPatch], request: Asked) -> PoolView:
        """Change the fields that are given."""
        return await pools.update(pool, data, by=by(request), based_on=based_on(request))

    @delete("/{pool:str}", status_code=204)
    async def delete_pool(pool: FromPath[str], request: Asked) -> None:
        """Remove a pool that is archived and has no key that is not revoked."""
        await pools.delete(pool, by=by(request), based_on=based_on(request))

    @post("/{pool:str}/pause", status_code=200)
    async def pause_pool(pool: FromPath[str], request: Asked) -> PoolView:
        """Refuse its calls for now, and end its streams."""
        return await pools.pause(pool, by=by(request), based_on=based_on(request))

    @post("/{pool:str}/resume", status_code=200)
    async def resume_pool(pool: FromPath[str], request: Asked) -> PoolView:
        """Let its calls in again, whatever kept them out."""
        return await pools.resume(pool, by=by(request), based_on=based_on(request))

    @post("/{pool:str}/disable", status_code=200)
    async def disable_pool(pool: FromPath[str], request: Asked) -> PoolView:
        """Refuse its calls until further notice."""
        return await pools.disable(pool, by=by(request), based_on=based_on(request))

    @post("/{pool:str}/archive", status_code=200)
    async def archive_pool(pool: FromPath[str], request: Asked) -> PoolView:
        """Refuse its calls, and leave it out of lists."""
        return await pools.archive(pool, by=by(request), based_on=based_on(request))

    handlers = [list_pools, create_pool, get_pool, update_pool, delete_pool, pause_pool, resume_pool, disable_pool, archive_pool]
    return Router("/pools", route_handlers=handlers, tags=["pools"])
