"""`/admin/api/audit`. Floor 4."""

from __future__ import annotations

from litestar import Router, get
from litestar.params import FromQuery

from fkproxy.control.audit import AuditControl
from fkproxy.storage.values import AuditRow, AuditVerdict
from fkproxy.web.admin.caller import Asked, Asking

__all__ = ["audit_routes"]


def audit_routes(audit: AuditControl, by: Asking) -> Router:
    """The verbs of `control.audit`."""

    @get("/")
    async def list_audit(
        limit: FromQuery[int] = 50,
        before_id: FromQuery[int | None] = None,
        action: FromQuery[str | None] = None,
        outcome: FromQuery[str | None] = None,
        target: FromQuery[str | None] = None,
        since_s: FromQuery[float | None] = None,
        until_s: FromQuery[float | None] = None,
    ) -> list[AuditRow]:
        """What administrators did, the newest first; `before_id` is the last id of the page before. `action` is one or a family (`key`)."""
        return await audit.all(
            limit=limit, before_id=before_id, action=action, outcome=outcome, target=target, since_s=since_s, until_s=until_s
        )

    @get("/verify")
    async def verify_audit(request: Asked) -> AuditVerdict:
        """Whether anybody changed, moved or removed an entry. Walks all of them."""
        return await audit.verify(by=by(request))

    return Router("/audit", route_handlers=[list_audit, verify_audit], tags=["audit"])
