"""Finding calls. Floor 2.

Every page is one walk along one index, newest first, from where the page before it ended: pages stay what they are while rows come in,
and the hundredth costs what the first does. Which index it is, is said here and not left to a planner that knows no more than we do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Select, and_, or_, select, text, union_all

from fkproxy.storage.calls_rows import NANO
from fkproxy.storage.calls_tables import NOT_PLAIN, calls
from fkproxy.storage.calls_values import CallFilter, CallPage, CallRow, Cursor, Detail
from fkproxy.storage.database import Database

__all__ = ["MAX_PAGE", "rows_after", "search"]

MAX_PAGE = 1000

_columns = calls.c
_FIELDS = CallRow.__struct_fields__
_SELECTED = [_columns["cost_nanousd" if field == "cost_usd" else field] for field in _FIELDS]
_COST, _DETAIL, _ASKED, _SERVED = (_FIELDS.index(name) for name in ("cost_usd", "detail", "model_requested", "model_id"))
_FLOATS = tuple(_FIELDS.index(name) for name in ("duration_ms", "upstream_ms", "waited_ms", "ttft_ms"))
_NEWEST_FIRST = (_columns.started_ms.desc(), _columns.id.desc())
_decode_detail = msgspec.json.Decoder(Detail).decode

_EQUAL = (
    "request_id",
    "key_id",
    "pool",
    "provider_key",
    "credential",
    "status",
    "status_class",
    "outcome",
    "error_code",
    "family",
    "ended_by",
)
"""Fields of a filter that name the column they are compared with."""
_INDEXES = (("request_id", "calls_request"), ("key_id", "calls_key"), ("provider_key", "calls_provider"), ("pool", "calls_pool"))
"""The first of these fields that a filter has says which index is walked along."""


async def search(database: Database, which: CallFilter, *, limit: int = 50, cursor: str | None = None) -> CallPage:
    """One page. Raises ValueError for what is no cursor, and StoreUnavailable."""
    limit = max(1, min(limit, MAX_PAGE))
    rows = await rows_after(database, which, Cursor.parse(cursor) if cursor is not None else None, limit + 1)
    if len(rows) <= limit:
        return CallPage(rows=tuple(rows))
    last = rows[limit - 1]
    return CallPage(rows=tuple(rows[:limit]), next=str(Cursor(last.started_ms, last.id)))


async def rows_after(database: Database, which: CallFilter, cursor: Cursor | None, limit: int) -> list[CallRow]:
    """The newest calls that fit, before `cursor`."""
    statement = _statement(which, cursor, limit)
    async with database.read() as connection:
        return [_call(row) for row in await connection.execute(statement)]


def _call(row: Sequence[Any]) -> CallRow:
    values = list(row)
    for place in _FLOATS:
        if values[place] is not None:
            values[place] = round(values[place], 3)
    cost, detail = values[_COST], values[_DETAIL]
    values[_COST] = cost / NANO if cost is not None else None
    values[_DETAIL] = _decode_detail(detail) if detail is not None else Detail()
    if values[_ASKED] is None:
        values[_ASKED] = values[_SERVED]
    return CallRow(**dict(zip(_FIELDS, values, strict=True)))


def _statement(which: CallFilter, cursor: Cursor | None, limit: int) -> Select[Any]:
    fits = _conditions(which, cursor)
    model = which.model
    if _none_is_plain(which):
        of_model = [] if model is None else [or_(_columns.model_id == model, _columns.model_requested == model)]
        return _along(select(*_SELECTED), "calls_not_plain", [text(NOT_PLAIN), *fits, *of_model], limit)
    index = next((index for field, index in _INDEXES if getattr(which, field) is not None), None)
    if model is None:
        return _along(select(*_SELECTED), index or "calls_time", fits, limit)
    if index is not None:
        return _along(select(*_SELECTED), index, [*fits, or_(_columns.model_id == model, _columns.model_requested == model)], limit)
    # What served the model, and what asked for it and was served by another or by none: no call is both.
    ids = select(_columns.id, _columns.started_ms)
    served = _along(ids, "calls_model", [*fits, _columns.model_id == model], limit)
    asked = _along(ids, "calls_asked_else", [*fits, _columns.model_requested == model], limit)
    either = union_all(served.subquery().select(), asked.subquery().select()).subquery()
    found = either.select().order_by(either.c.started_ms.desc(), either.c.id.desc()).limit(limit).subquery()
    rows = select(*_SELECTED).join_from(found, calls, _columns.id == found.c.id)
    return rows.order_by(found.c.started_ms.desc(), found.c.id.desc())


def _along(chosen: Select[Any], index: str, fits: Sequence[Any], limit: int) -> Select[Any]:
    return chosen.with_hint(calls, f"INDEXED BY {index}", "sqlite").where(*fits).order_by(*_NEWEST_FIRST).limit(limit)


def _none_is_plain(which: CallFilter) -> bool:
    """No call that is ok with a 200 fits: see `telemetry.tally.outcome_of`."""
    status, status_class = which.status or 200, which.status_class or 2
    return status != 200 or status_class != 2 or which.failures or which.error_code is not None or which.outcome not in (None, "ok")


def _conditions(which: CallFilter, cursor: Cursor | None) -> list[ColumnElement[bool]]:
    fits = [_columns[field] == value for field in _EQUAL if (value := getattr(which, field)) is not None]
    if which.status_class is not None:
        # As a range, because the indexes hold the status.
        fits += [_columns.status >= which.status_class * 100, _columns.status < (which.status_class + 1) * 100]
    if which.failures:
        fits.append(_columns.outcome != "ok")
    if which.since_s is not None:
        fits.append(_columns.started_ms >= int(which.since_s * 1000))
    if which.until_s is not None:
        fits.append(_columns.started_ms < int(which.until_s * 1000))
    if cursor is not None:
        same_moment = and_(_columns.started_ms == cursor.started_ms, _columns.id < cursor.id)
        fits += [_columns.started_ms <= cursor.started_ms, or_(_columns.started_ms < cursor.started_ms, same_moment)]
    return fits
