"""What was used: sums by the hour, added up. Floor 2. The calls themselves are not looked at: they may be gone already."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from fkproxy.limits.budget import Window, window_of
from fkproxy.storage.calls_rows import NANO
from fkproxy.storage.calls_tables import usage_hourly
from fkproxy.storage.calls_values import Begins, GroupBy, Spent, UsageFilter, UsageRow
from fkproxy.storage.database import Database

__all__ = ["HOUR_S", "hours_of", "spent", "spent_within", "usage"]

HOUR_S = 3600

_columns = usage_hourly.c
_SUMS = tuple(column.name for column in usage_hourly.columns if not column.primary_key)
_GROUPS: dict[GroupBy, tuple[ColumnElement[Any], int]] = {
    "pool": (_columns.pool, 0),
    "key": (_columns.key_id, 0),
    "provider": (_columns.provider_key, 0),
    "model": (_columns.model_id, 0),
    "hour": (_columns.hour, HOUR_S),
    "day": (_columns.hour // 24, 24 * HOUR_S),
}
"""By what → the expression, and how many seconds its numbers stand for; 0: it is a name."""


async def usage(
    database: Database, by: GroupBy, *, since_s: float | None = None, until_s: float | None = None, which: UsageFilter | None = None
) -> list[UsageRow]:
    """Sums over the calls that began in a time, to the hour, in the order of their groups. Raises StoreUnavailable."""
    which = which or UsageFilter()
    fits = [_columns[field] == value for field in which.__struct_fields__ if (value := getattr(which, field)) is not None]
    if since_s is not None:
        fits.append(_columns.hour >= int(since_s // HOUR_S))
    if until_s is not None:
        fits.append(_columns.hour < -int(-until_s // HOUR_S))
    group, seconds = _GROUPS[by]
    statement = select(group.label("group"), *(func.sum(_columns[name]).label(name) for name in _SUMS))
    async with database.read() as connection:
        rows = (await connection.execute(statement.where(*fits).group_by(group).order_by(group))).all()
    return [_usage(row, seconds) for row in rows]


def _usage(row: Any, seconds: int) -> UsageRow:
    sums = {name: int(getattr(row, name)) for name in _SUMS}
    cost_usd = sums.pop("cost_nanousd") / NANO
    return UsageRow(group=row.group * seconds if seconds else row.group, cost_usd=cost_usd, **sums)


async def spent(database: Database, begins: Begins) -> dict[str, Spent]:
    """What every key has used in the windows that began then, by its id. Raises StoreUnavailable."""
    async with database.read() as connection:
        return await spent_within(connection, begins)


async def spent_within(connection: AsyncConnection, begins: Begins) -> dict[str, Spent]:
    """`spent`, within the caller's transaction."""
    day, week, month = hours_of(begins)
    tokens = _columns.tokens_input + _columns.tokens_output
    statement = (
        select(
            _columns.key_id,
            _within(day, tokens),
            _within(week, tokens),
            _within(day, _columns.cost_nanousd),
            _within(month, _columns.cost_nanousd),
        )
        .where(_columns.hour >= min(day.start, week.start, month.start), _columns.key_id != "")
        .group_by(_columns.key_id)
    )
    rows = (await connection.execute(statement)).all()
    return {
        key_id: Spent(int(tokens_day), int(tokens_week), int(cost_day) / NANO, int(cost_month) / NANO)
        for key_id, tokens_day, tokens_week, cost_day, cost_month in rows
    }


def hours_of(begins: Begins) -> tuple[range, range, range]:
    """Those of the day, of the week and of the month, each to its end: what lies behind it was written by a clock that was wrong, and is
    no use of now."""
    return _hours("day", begins.day_s), _hours("week", begins.week_s), _hours("month", begins.month_s)


def _hours(window: Window, start_s: float) -> range:
    return range(int(start_s // HOUR_S), int(window_of(window, start_s)[1] // HOUR_S))


def _within(hours: range, value: ColumnElement[int]) -> ColumnElement[Any]:
    return func.sum(case((_columns.hour.between(hours.start, hours.stop - 1), value), else_=0))
