"""Who may administer. Floor 4.

The master key opens everything here, as `Authorization: Bearer`, `X-Management-Secret` or `X-Management-Key`. Where no key is
configured only this host may ask. Who sends wrong keys waits longer and longer; this host itself a second at most, so that nobody on it
can lock its operator out.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException, TooManyRequestsException
from litestar.handlers.base import BaseRouteHandler

from fkproxy.access import KeyRing, presented_key
from fkproxy.limits.failures import FailedAttempts
from fkproxy.model.errors import NotAllowed, NotAuthenticated

__all__ = ["Guard"]

_SECRET_HEADERS = ("x-management-secret", "x-management-key")
_LONGEST_ON_THIS_HOST_S = 1.0


class Guard:
    """A Litestar guard. `peer_of` names the peer, behind trusted proxies too."""

    def __init__(
        self, keys: KeyRing, peer_of: Callable[[ASGIConnection[Any, Any, Any, Any]], str | None], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._keys = keys
        self._peer_of = peer_of
        self._now = now
        self._failures = FailedAttempts()

    def __call__(self, connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        """Raises `NotAuthorizedException` (401) and `TooManyRequestsException` (429)."""
        peer = self._peer_of(connection) or "unknown"
        if not self._keys.closed:
            if not _on_this_host(peer):
                raise NotAuthorizedException("no key is configured: only this host may ask")
            return
        now = self._now()
        wait_s = self._failures.wait_s(peer, now)
        if wait_s > 0:
            headers = {"retry-after": str(int(wait_s) + 1)}
            raise TooManyRequestsException("too many wrong keys came from this address; wait before the next one", headers=headers)
        try:
            self._keys.check_administrator(_presented(connection))
        except NotAuthenticated as error:
            self._failures.failed(peer, now, _LONGEST_ON_THIS_HOST_S if _on_this_host(peer) else None)
            raise NotAuthorizedException(str(error), headers={"www-authenticate": "Bearer"}) from None
        except NotAllowed as error:
            raise PermissionDeniedException(str(error)) from None
        self._failures.succeeded(peer)


def _presented(connection: ASGIConnection[Any, Any, Any, Any]) -> bytes | None:
    for name in _SECRET_HEADERS:
        if secret := connection.headers.get(name):
            return secret.encode()
    bearer = connection.headers.get("authorization")
    return presented_key(bearer.encode() if bearer else None, None, None)


def _on_this_host(peer: str) -> bool:
    try:
        return ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return False
