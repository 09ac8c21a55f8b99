"""`/admin/api/store`. Floor 4."""

from __future__ import annotations

from typing import Any

from litestar import Router, get, post

from fkproxy.control.store import Backup, Resealed, StoreControl
from fkproxy.web.admin.caller import Asked, Asking

__all__ = ["store_routes"]


def store_routes(store: StoreControl, by: Asking) -> Router:
    """The verbs of `control.store`."""

    @get("/", sync_to_thread=False)
    def store_status() -> dict[str, Any]:
        """Whether the store can be used, and what waits for it."""
        return store.status()

    @post("/backup", status_code=200)
    async def back_up_store(request: Asked) -> Backup:
        """Copy an SQLite store, while it is used, into its directory's `backups/`."""
        return await store.backup(by=by(request))

    @post("/reseal", status_code=200)
    async def reseal_secrets(request: Asked) -> Resealed:
        """Seal every secret with the newest key."""
        return await store.reseal(by=by(request))

    return Router("/store", route_handlers=[store_status, back_up_store, reseal_secrets], tags=["store"])
