"""The log of calls and the sums over it, as an administrator asks for them. Floor 3."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Set
from typing import Protocol

import msgspec

from fkproxy.control import checks
from fkproxy.control.ledger import By, Ledger
from fkproxy.control.refusals import Fault, Invalid
from fkproxy.storage.calls_values import CallFilter, CallPage, CallRow, ExportFormat, GroupBy, UsageFilter, UsageRow
from fkproxy.telemetry.record import Attempt, CallRecord

__all__ = ["MAX_PAGE", "CallControl", "Calls", "Grouped", "KeyName"]

MAX_PAGE = 1000
_HOUR_S = 3600.0
_WEEK_S = 7 * 86400.0


class Calls(Protocol):
    """See `storage.calls`."""

    async def search(self, which: CallFilter, *, limit: int = 50, cursor: str | None = None) -> CallPage: ...
    async def get(self, request_id: str) -> tuple[CallRow, ...]: ...
    def export(self, which: CallFilter, kind: ExportFormat) -> AsyncIterator[bytes]: ...
    async def usage(
        self, by: GroupBy, *, since_s: float | None = None, until_s: float | None = None, which: UsageFilter | None = None
    ) -> list[UsageRow]: ...


class KeyName(msgspec.Struct, frozen=True, kw_only=True):
    """What people call a key. `deleted_s`: when it was deleted, unix seconds; None: it is there."""

    pool: str
    label: str
    prefix: str
    deleted_s: float | None = None


class Grouped(msgspec.Struct, frozen=True, kw_only=True):
    """Sums since `since_s` (whole hours), unix seconds, by what `group_by` says.

    `more`: how many groups have no row here: the oldest times, or those with fewest calls. `keys`: where rows are keys', by their ids,
    those that are in the store, or were: the master key is not.
    """

    group_by: GroupBy
    since_s: float
    rows: list[UsageRow]
    more: int
    keys: dict[str, KeyName] = {}


class CallControl:
    """The verbs. `calls` raises `StoreUnavailable` while there is no store. They raise `Invalid` as well."""

    def __init__(self, calls: Callable[[], Calls], ledger: Ledger, now: Callable[[], float] = time.time) -> None:
        self._calls = calls
        self._ledger = ledger
        self._now = now

    async def search(self, which: CallFilter, *, limit: int = 50, cursor: str | None = None) -> CallPage:
        """A page, the newest first."""
        faults: list[Fault] = []
        if not 1 <= limit <= MAX_PAGE:
            faults.append(Fault("limit", f"is not between 1 and {MAX_PAGE}"))
        _check(which, faults)
        try:
            return await self._calls().search(which, limit=limit, cursor=cursor)
        except ValueError as error:
            raise Invalid([Fault("cursor", f"is not valid: {error}")]) from None

    async def get(self, request_id: str) -> tuple[CallRow, ...]:
        """Calls of one id: one, unless a client used its own id again."""
        _check(CallFilter(request_id=request_id), [])
        return await self._calls().get(request_id)

    async def record(self, request_id: str) -> CallRecord | None:
        """The newest call of an id, as far as the log keeps what was recorded of it."""
        found = await self.get(request_id)
        return _record(found[0]) if found else None

    async def export(self, which: CallFilter, kind: ExportFormat, *, by: By) -> AsyncIterator[bytes]:
        """All that fit, as pieces of a file. That it was taken is written down."""
        _check(which, [])
        pieces = self._calls().export(which, kind)
        # A store that cannot be read says so now, and not in the middle of the file.
        first = await anext(pieces, b"")
        await self._ledger.note(by, "log.export", "calls", kind)
        return _all(first, pieces)

    async def usage(self, group_by: GroupBy, *, since_s: float | None, until_s: float | None, which: UsageFilter, limit: int) -> Grouped:
        """Sums over the last week, if nothing else is said; those with most calls first, times in their order, up to the newest."""
        since_s = self._now() - _WEEK_S if since_s is None else since_s
        _check(CallFilter(since_s=since_s, until_s=until_s), [])
        _check(which, [])
        since_s = since_s // _HOUR_S * _HOUR_S
        rows = await self._calls().usage(group_by, since_s=since_s, until_s=until_s, which=which)
        if group_by in ("hour", "day"):
            told = rows[-limit:]
        else:
            told = sorted(rows, key=lambda row: row.calls, reverse=True)[:limit]
        keys = await self._names({str(row.group) for row in told}) if group_by == "key" else {}
        return Grouped(group_by=group_by, since_s=since_s, rows=told, more=len(rows) - len(told), keys=keys)

    async def _names(self, ids: Set[str]) -> dict[str, KeyName]:
        store = self._ledger.store()
        picture, gone = await store.picture(), await store.tombstones()
        names = {key.id: KeyName(pool=key.pool, label=key.label, prefix=key.prefix) for key in picture.keys}
        for key in gone.values():
            names[key.id] = KeyName(pool=key.pool, label=key.label, prefix=key.prefix, deleted_s=key.deleted_s)
        return {id_: names[id_] for id_ in ids & names.keys()}


def _check(which: CallFilter | UsageFilter, faults: list[Fault]) -> None:
    """Raises `Invalid`. PostgreSQL has no texts with a NUL in them, and does not look for any."""
    values = msgspec.structs.asdict(which)
    checks.moments(faults, since_s=values.get("since_s"), until_s=values.get("until_s"))
    faults += [Fault(name, "holds a NUL character") for name, value in values.items() if isinstance(value, str) and "\0" in value]
    if faults:
        raise Invalid(faults)


async def _all(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


def _record(row: CallRow) -> CallRecord:
    tries = row.detail.tries
    if not tries and row.provider_key is not None:
        tries = (
            Attempt(
                provider_key=row.provider_key,
                credential=row.credential,
                model_id=row.model_id or "",
                outcome=row.error_code or "ok",
                status=row.upstream_status,
                duration_ms=row.upstream_ms,
                ttft_ms=row.ttft_ms,
            ),
        )
    return CallRecord(
        request_id=row.request_id,
        started_s=row.started_ms / 1000,
        method=row.method,
        route=row.route,
        status=row.status,
        duration_ms=row.duration_ms,
        dialect=row.dialect,
        model_requested=row.model_requested,
        model_id=row.model_id,
        provider_key=row.provider_key,
        credential=row.credential,
        upstream_dialect=row.upstream_dialect,
        attempts=row.attempts,
        tries=tries,
        skipped=row.detail.skipped,
        notes=row.detail.notes,
        waited_ms=row.waited_ms,
        upstream_status=row.upstream_status,
        error_code=row.error_code,
        losses=row.detail.losses,
        reasoning_requested=row.reasoning_requested,
        reasoning_applied=row.reasoning_applied,
        key_id=row.key_id,
        pool=row.pool,
    )
