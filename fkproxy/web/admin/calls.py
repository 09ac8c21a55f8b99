"""`/admin/api/calls` and `/admin/api/usage`. Floor 4."""

from __future__ import annotations

import msgspec
from litestar import Router, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, FromQuery
from litestar.response import Stream

from fkproxy.control.calls import CallControl, Grouped
from fkproxy.control.refusals import Fault, Invalid
from fkproxy.storage.calls_values import CallFilter, CallPage, CallRow, EndedBy, ExportFormat, Family, GroupBy, Outcome, UsageFilter
from fkproxy.web.admin.caller import Asked, Asking
from fkproxy.web.admin.files import taken_in_time
from fkproxy.wire.numbers import whole_number

__all__ = ["call_routes"]

_TYPES: dict[ExportFormat, str] = {"csv": "text/csv", "jsonl": "application/x-ndjson"}


def call_routes(calls: CallControl, by: Asking) -> Router:
    """The verbs of `control.calls`."""

    @get("/calls")
    async def search_calls(
        request_id: FromQuery[str | None] = None,
        since_s: FromQuery[float | None] = None,
        until_s: FromQuery[float | None] = None,
        key_id: FromQuery[str | None] = None,
        pool: FromQuery[str | None] = None,
        provider_key: FromQuery[str | None] = None,
        credential: FromQuery[str | None] = None,
        model: FromQuery[str | None] = None,
        status: FromQuery[str | None] = None,
        outcome: FromQuery[Outcome | None] = None,
        error_code: FromQuery[str | None] = None,
        family: FromQuery[Family | None] = None,
        ended_by: FromQuery[EndedBy | None] = None,
        failures: FromQuery[bool] = False,
        limit: FromQuery[int] = 50,
        cursor: FromQuery[str | None] = None,
    ) -> CallPage:
        """Calls, the newest first. `status` is a status or a class (`429`, `5xx`); `cursor` is `next` of the page before."""
        which = _filter(
            status,
            CallFilter(
                request_id=request_id,
                since_s=since_s,
                until_s=until_s,
                key_id=key_id,
                pool=pool,
                provider_key=provider_key,
                credential=credential,
                model=model,
                outcome=outcome,
                error_code=error_code,
                family=family,
                ended_by=ended_by,
                failures=failures,
            ),
        )
        return await calls.search(which, limit=limit, cursor=cursor)

    @get("/calls/export", middleware=[taken_in_time])
    async def export_calls(
        request: Asked,
        format: FromQuery[ExportFormat] = "jsonl",  # noqa: A002 - the word people know
        since_s: FromQuery[float | None] = None,
        until_s: FromQuery[float | None] = None,
        request_id: FromQuery[str | None] = None,
        key_id: FromQuery[str | None] = None,
        pool: FromQuery[str | None] = None,
        provider_key: FromQuery[str | None] = None,
        model: FromQuery[str | None] = None,
        status: FromQuery[str | None] = None,
        outcome: FromQuery[Outcome | None] = None,
        error_code: FromQuery[str | None] = None,
    ) -> Stream:
        """All calls that fit, as CSV or JSON lines, the newest first."""
        which = _filter(
            status,
            CallFilter(
                request_id=request_id,
                since_s=since_s,
                until_s=until_s,
                key_id=key_id,
                pool=pool,
                provider_key=provider_key,
                model=model,
                outcome=outcome,
                error_code=error_code,
            ),
        )
        pieces = await calls.export(which, format, by=by(request))
        return Stream(pieces, media_type=_TYPES[format], headers={"content-disposition": f'attachment; filename="calls.{format}"'})

    @get("/calls/{request_id:str}")
    async def get_call(request_id: FromPath[str]) -> list[CallRow]:
        """The calls with this id: one, unless a client used its own id again."""
        found = await calls.get(request_id)
        if not found:
            raise NotFoundException("there is no call with this id in the log")
        return list(found)

    @get("/usage")
    async def sum_usage(
        group_by: FromQuery[GroupBy] = "key",
        since_s: FromQuery[float | None] = None,
        until_s: FromQuery[float | None] = None,
        pool: FromQuery[str | None] = None,
        key_id: FromQuery[str | None] = None,
        provider_key: FromQuery[str | None] = None,
        model_id: FromQuery[str | None] = None,
        limit: FromQuery[int] = 1000,
    ) -> Grouped:
        """Calls, tokens and costs of the last week, or since and until a time; to the hour."""
        which = UsageFilter(pool=pool, key_id=key_id, provider_key=provider_key, model_id=model_id)
        return await calls.usage(group_by, since_s=since_s, until_s=until_s, which=which, limit=max(1, min(limit, 10_000)))

    return Router("/", route_handlers=[search_calls, export_calls, get_call, sum_usage], tags=["calls"])


def _filter(status: str | None, which: CallFilter) -> CallFilter:
    if status is None:
        return which
    if len(status) == 3 and (exact := whole_number(status)) is not None:
        return msgspec.structs.replace(which, status=exact)
    if len(status) == 3 and status[0] in "12345" and status[1:].lower() == "xx":
        return msgspec.structs.replace(which, status_class=int(status[0]))
    raise Invalid([Fault("status", "is neither a status such as 429 nor a class such as 5xx")])
