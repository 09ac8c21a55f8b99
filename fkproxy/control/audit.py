"""The audit log, read and verified. Floor 3."""

from __future__ import annotations

from fkproxy.control import checks
from fkproxy.control.ledger import By, Ledger
from fkproxy.control.refusals import Fault, Invalid
from fkproxy.storage.values import ACTIONS, AuditRow, AuditVerdict

__all__ = ["MAX_PAGE", "AuditControl"]

MAX_PAGE = 1000
_MAX_ID = 2**53
_FAMILIES = frozenset(action.partition(".")[0] for action in ACTIONS)
_OUTCOMES = ("done", "refused", "failed")


class AuditControl:
    """The verbs. Both raise `StoreUnavailable`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def all(
        self,
        *,
        limit: int = 50,
        before_id: int | None = None,
        action: str | None = None,
        outcome: str | None = None,
        target: str | None = None,
        since_s: float | None = None,
        until_s: float | None = None,
    ) -> list[AuditRow]:
        """A page, the newest first; `before_id`: the last id of the page before. `action` is one, or a family of them (`key`).

        Raises `Invalid`.
        """
        faults: list[Fault] = []
        if not 1 <= limit <= MAX_PAGE:
            faults.append(Fault("limit", f"is not between 1 and {MAX_PAGE}"))
        if action is not None and action not in ACTIONS | _FAMILIES:
            faults.append(Fault("action", "is no action", f"families are {', '.join(sorted(_FAMILIES))}"))
        if outcome is not None and outcome not in _OUTCOMES:
            faults.append(Fault("outcome", f"is none of {', '.join(_OUTCOMES)}"))
        if before_id is not None and not 0 <= before_id <= _MAX_ID:
            faults.append(Fault("before_id", "is no entry's id"))
        if target is not None and not target.isprintable():
            faults.append(Fault("target", "holds control characters"))
        checks.moments(faults, since_s=since_s, until_s=until_s)
        if faults:
            raise Invalid(faults)
        return await self._ledger.store().audit(
            limit=limit, before_id=before_id, action=action, outcome=outcome, target=target, since_s=since_s, until_s=until_s
        )

    async def verify(self, *, by: By) -> AuditVerdict:
        """Whether it is whole and as it was written. Walks all of it; that it was done is written down."""
        verdict = await self._ledger.store().verify_audit()
        await self._ledger.note(by, "audit.verify", "audit", note="ok" if verdict.ok else f"broken at {verdict.first_bad_id}")
        return verdict
