"""Who may administer. Floor 4.

The master key opens everything here, as `Authorization: Bearer`, `X-Management-Secret` or `X-Management-Key`. Where no key is
configured only this host may ask, and no page of somebody else's that its browser shows. Who sends wrong keys waits: see `web.guesses`.
Whoever is refused is told of as a call would be.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException, NotAuthorizedException, PermissionDeniedException, TooManyRequestsException
from litestar.handlers.base import BaseRouteHandler

from fkproxy.access import KeyRing, presented_key
from fkproxy.control.strangers import Heard
from fkproxy.model.errors import FkproxyError, NotAllowed, NotAuthenticated, RateLimited
from fkproxy.telemetry.record import MAX_AGENT_CHARS, CallRecord
from fkproxy.web.asgi import request_id
from fkproxy.web.guesses import Guesses
from fkproxy.web.peers import is_this_host, on_this_host

__all__ = ["Guard"]

_SECRET_HEADERS = ("x-management-secret", "x-management-key")
_MISSING = "the master key is required: send it as 'Authorization: Bearer <key>', 'X-Management-Secret' or 'X-Management-Key'"

_PASSED_ON = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
"""What a proxy adds. One on this host makes the whole world look like this host."""


class Guard:
    """A Litestar guard. `peer_of` names the peer, behind trusted proxies too; `refused` takes the record of each that is not let in;
    `heard`: see `control.strangers`."""

    def __init__(
        self,
        keys: KeyRing,
        peer_of: Callable[[ASGIConnection[Any, Any, Any, Any]], str | None],
        refused: Callable[[CallRecord], None],
        heard: Heard,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._peer_of = peer_of
        self._refused = refused
        self._guesses = Guesses(now=now, heard=heard)

    def __call__(self, connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        """Raises `NotAuthorizedException` (401), `PermissionDeniedException` (403) and `TooManyRequestsException` (429)."""
        peer = self._peer_of(connection)
        try:
            self._check(connection, peer or "unknown")
        except FkproxyError as error:
            self._refused(_record(connection, peer, error))
            raise _told(error) from None

    def _check(self, connection: ASGIConnection[Any, Any, Any, Any], peer: str) -> None:
        if not self._keys.closed:
            if not (on_this_host(peer) and _asks_this_host(connection)):
                raise NotAuthenticated("no key is configured: only this host may ask, by its own name")
            return
        self._guesses.check(peer)
        presented = _presented(connection)
        if not presented:
            raise NotAuthenticated(_MISSING)
        try:
            self._keys.check_administrator(presented)
        except NotAuthenticated:
            self._guesses.failed(peer)
            raise
        self._guesses.succeeded(peer)


def _record(connection: ASGIConnection[Any, Any, Any, Any], peer: str | None, error: FkproxyError) -> CallRecord:
    scope: Any = connection.scope
    return CallRecord(
        request_id=request_id(scope),
        started_s=time.time(),
        method=scope["method"],
        route=scope["path_template"],
        status=error.status,
        duration_ms=0.0,
        error_code=error.code,
        auth="refused",
        peer=peer,
        user_agent=connection.headers.get("user-agent", "")[:MAX_AGENT_CHARS] or None,
    )


def _told(error: FkproxyError) -> HTTPException:
    match error:
        case RateLimited():
            return TooManyRequestsException(str(error), headers={"retry-after": str(int(error.retry_after_s or 0.0) + 1)})
        case NotAllowed():
            return PermissionDeniedException(str(error))
    return NotAuthorizedException(str(error), headers={"www-authenticate": "Bearer"})


def _presented(connection: ASGIConnection[Any, Any, Any, Any]) -> bytes | None:
    for name in _SECRET_HEADERS:
        if secret := connection.headers.get(name):
            return secret.encode()
    bearer = connection.headers.get("authorization")
    return presented_key(bearer.encode() if bearer else None)


def _asks_this_host(connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
    """A browser tells which page makes it ask, and by which name. A page from elsewhere may send what it likes, and a name that is led here
    makes its page one of ours (DNS rebinding): neither is somebody on this host. Nor is a page on another port of it, or what a proxy
    passes on."""
    headers = connection.headers
    if any(name in headers for name in _PASSED_ON):
        return False
    host, origin = headers.get("host", "localhost"), headers.get("origin")
    try:
        name = urlsplit(f"//{host}").hostname or ""
        from_elsewhere = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
    except ValueError:
        return False
    return not from_elsewhere and is_this_host(name)
