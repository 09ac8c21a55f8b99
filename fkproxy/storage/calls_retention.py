"""Taking away what is old. Floor 2.

A few hundred rows at a time and a pause between: whoever else writes gets a turn, and no transaction grows large.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from sqlalchemy import func, select

from fkproxy.storage.calls_tables import calls, journal_positions, usage_hourly
from fkproxy.storage.calls_usage import HOUR_S
from fkproxy.storage.calls_values import Removed, Retention
from fkproxy.storage.database import Database

__all__ = ["retain"]

_ROWS_AT_ONCE = 500
_HOURS_AT_ONCE = 6
_LEAST_PAUSE_S = 0.02
_DAY_S = 86400
_POSITIONS_DAYS = 400
"""Long after a journal file could be anywhere; positions are dropped with their files but for accidents."""

Sleep = Callable[[float], Awaitable[object]]


async def retain(database: Database, keep: Retention, now_s: float | None, *, sleep: Sleep = asyncio.sleep) -> Removed:
    """Remove what is older, or more, than `keep` says; what is more alone while nobody knows the time.

    Raises StoreUnavailable; what was removed until then is.
    """
    removed = 0
    if (oldest_ms := await _oldest_kept_ms(database, keep, now_s)) is not None:
        old = select(calls.c.id).where(calls.c.started_ms < oldest_ms).order_by(calls.c.started_ms).limit(_ROWS_AT_ONCE)
        statement = calls.delete().where(calls.c.id.in_(old))
        while count := await _delete(database, statement, sleep):
            removed += count
    if now_s is None:
        return Removed(calls=removed, usage=0)
    sums = await _forget_sums(database, int((now_s - keep.usage_days * _DAY_S) // HOUR_S), sleep) if keep.usage_days is not None else 0
    await _delete(database, journal_positions.delete().where(journal_positions.c.updated_s < now_s - _POSITIONS_DAYS * _DAY_S), sleep)
    return Removed(calls=removed, usage=sums)


async def _oldest_kept_ms(database: Database, keep: Retention, now_s: float | None) -> int | None:
    """The time before which all calls go; None where none do."""
    by_age = int((now_s - keep.days * _DAY_S) * 1000) if keep.days is not None and now_s is not None else None
    if keep.max_rows is None:
        return by_age
    first_too_many = select(calls.c.started_ms).order_by(calls.c.started_ms.desc()).offset(keep.max_rows).limit(1)
    async with database.read() as connection:
        newest_gone = (await connection.execute(first_too_many)).scalar()
    by_count = newest_gone + 1 if newest_gone is not None else None
    return max(filter(None, (by_age, by_count)), default=None)


async def _forget_sums(database: Database, first_kept: int, sleep: Sleep) -> int:
    removed = 0
    while True:
        async with database.read() as connection:
            oldest = (await connection.execute(select(func.min(usage_hourly.c.hour)))).scalar()
        if oldest is None or oldest >= first_kept:
            return removed
        until = min(oldest + _HOURS_AT_ONCE, first_kept)
        removed += await _delete(database, usage_hourly.delete().where(usage_hourly.c.hour < until), sleep)


async def _delete(database: Database, statement: object, sleep: Sleep) -> int:
    began = time.monotonic()
    async with database.begin() as connection:
        count = (await connection.execute(statement)).rowcount  # type: ignore[call-overload]  # a DELETE
    await sleep(max(_LEAST_PAUSE_S, 2 * (time.monotonic() - began)))
    return int(count)
