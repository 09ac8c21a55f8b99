"""`/admin/api/config`: everything that is managed, as one. Floor 4."""

from __future__ import annotations

from typing import Any

from litestar import Response, Router, get, post, put
from litestar.params import FromPath, FromQuery, JSONBody

from fkproxy.control.config import ConfigControl, Exported
from fkproxy.storage.values import RevisionInfo
from fkproxy.web.admin.caller import Asked, Asking, based_on

__all__ = ["config_routes"]


def config_routes(config: ConfigControl, by: Asking) -> Router:
    """The verbs of `control.config`."""

    @get("/")
    async def export_config(request: Asked, secrets: FromQuery[bool] = False) -> Response[Exported]:
        """Providers, pools and settings. Secrets are masked unless they are asked for, which the audit log keeps."""
        found = await config.export(with_secrets=secrets, by=by(request))
        return Response(found, headers={"etag": f'"{found.revision}"'})

    @put("/")
    async def restore_config(data: JSONBody[dict[str, Any]], request: Asked) -> Exported:
        """Put an export in place of all there is, whole or not at all. Masked secrets keep what is stored."""
        return await config.restore(data, by=by(request), based_on=based_on(request))

    @get("/revisions")
    async def list_revisions(limit: FromQuery[int] = 50, before: FromQuery[int | None] = None) -> list[RevisionInfo]:
        """What changed, when and by whom, the newest first."""
        return await config.revisions(limit=limit, before=before)

    @get("/diff")
    async def diff_revisions(older: FromQuery[int], newer: FromQuery[int]) -> list[str]:
        """The fields that differ between two revisions, without their values."""
        return list(await config.diff(older, newer))

    @post("/revisions/{revision:int}/restore", status_code=200)
    async def roll_back(revision: FromPath[int], request: Asked) -> Exported:
        """Make an older revision the newest one, with the secrets that it had."""
        return await config.rollback(revision, by=by(request), based_on=based_on(request))

    return Router("/config", route_handlers=[export_config, restore_config, list_revisions, diff_revisions, roll_back], tags=["config"])
