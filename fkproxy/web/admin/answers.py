"""What an administrator is told when something cannot be done: `{"error": {"code", "message"}}`, one table for all. Floor 4."""

from __future__ import annotations

import logging
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.types import ExceptionHandlersMap

from fkproxy.control.refusals import MAX_TOLD, Forbidden, Invalid, Unknown
from fkproxy.control.upstreams import TestFailed, UnknownUpstream
from fkproxy.settings import SettingsError
from fkproxy.storage.values import BackupFailed, Conflict, StoreError, StoreUnavailable

__all__ = ["HANDLERS", "MAX_BODY_BYTES"]

logger = logging.getLogger("fkproxy.web.admin")

MAX_BODY_BYTES = 2 * 1024 * 1024
"""4 KB for each of as many providers as there may be."""

_CODES = {
    400: "invalid_request",
    401: "invalid_api_key",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    429: "rate_limit_exceeded",
}


def _told(status: int, code: str, message: str, headers: dict[str, str] | None = None, **more: Any) -> Response[Any]:
    body = {"error": {"code": code, "message": message, **more}}
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def _refused(_: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    return _told(error.status_code, _CODES.get(error.status_code, "invalid_request"), error.detail, error.headers)


def _misread(_: Request[Any, Any, Any], error: ValidationException) -> Response[Any]:
    """By field, as far as the library knows; what was given is not repeated."""
    found = error.extra if isinstance(error.extra, list) else []
    if not found:
        return _told(400, "invalid_request", error.detail)
    problems = [{"name": each.get("key", ""), "message": _misreading(each["message"]), "hint": None} for each in found]
    return _told(400, "invalid_request", "what was given cannot be read", problems=problems)


def _misreading(message: str) -> str:
    """Without the value; of a body that is not there Litestar tells the name alone."""
    return message.partition(" '")[0] if message != "'data'" else "is not there: a JSON body is expected"


def _too_large(_: Request[Any, Any, Any], __: RequestEntityTooLarge) -> Response[Any]:
    return _told(413, "request_too_large", f"a body too large: an administrator's holds {MAX_BODY_BYTES // 1024} KiB at most")


def _too_deep(_: Request[Any, Any, Any], __: Exception) -> Response[Any]:
    return _told(400, "invalid_request", "what was given is nested too deeply")


def _not_text(_: Request[Any, Any, Any], __: UnicodeDecodeError) -> Response[Any]:
    return _told(400, "invalid_request", "what was given is not UTF-8")


def _broken(_: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    logger.error("an administrator's request failed in the gateway", exc_info=error)
    return _told(500, "internal_error", "internal error")


def _unknown(_: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    return _told(404, "not_found", str(error))


def _no_answer(_: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    return _told(502, "no_answer", str(error))


def _conflict(_: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    return _told(409, "conflict", str(error))


def _forbidden(_: Request[Any, Any, Any], error: Forbidden) -> Response[Any]:
    return _told(409, error.reason, str(error))


def _faulty(_: Request[Any, Any, Any], error: Invalid) -> Response[Any]:
    problems = [{"name": fault.field, "message": fault.message, "hint": fault.hint or None} for fault in error.faults[:MAX_TOLD]]
    more = f"; these are {MAX_TOLD} of {len(error.faults)} problems" if len(error.faults) > MAX_TOLD else ""
    return _told(422, "invalid_request", f"nothing was changed{more}", problems=problems)


def _away(_: Request[Any, Any, Any], error: StoreUnavailable) -> Response[Any]:
    return _told(503, "store_unavailable", str(error), {"retry-after": "5"}, reason=error.reason)


def _not_copied(_: Request[Any, Any, Any], error: BackupFailed) -> Response[Any]:
    return _told(409, "backup_failed", str(error))


def _store_failed(_: Request[Any, Any, Any], error: StoreError) -> Response[Any]:
    return _told(503, "store_failed", str(error))


def _invalid(_: Request[Any, Any, Any], error: SettingsError) -> Response[Any]:
    problems = [{"name": problem.name, "message": problem.message, "hint": problem.hint} for problem in error.problems]
    return _told(422, "invalid_configuration", "nothing was changed", problems=problems)


HANDLERS: ExceptionHandlersMap = {
    HTTPException: _refused,
    ValidationException: _misread,
    RequestEntityTooLarge: _too_large,
    UnknownUpstream: _unknown,
    TestFailed: _no_answer,
    SettingsError: _invalid,
    Unknown: _unknown,
    Forbidden: _forbidden,
    Invalid: _faulty,
    Conflict: _conflict,
    StoreUnavailable: _away,
    BackupFailed: _not_copied,
    StoreError: _store_failed,
    RecursionError: _too_deep,
    UnicodeDecodeError: _not_text,
    Exception: _broken,
}
"""By exception."""
