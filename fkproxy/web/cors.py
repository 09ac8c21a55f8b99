"""Pages that call from a browser: which may, and what they may read. Floor 4. Pure.

Source: Fetch standard, CORS protocol, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Sequence

from fkproxy.call import Headers

__all__ = ["CorsPolicy"]

_EXPOSED = (
    *("request-id", "retry-after", "www-authenticate", "x-api-version", "x-fkproxy-explain", "x-fkproxy-losses", "x-fkproxy-provider"),
    *("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "x-request-id", "x-should-retry"),
)
"""What a page may read of a reply, beside what every page may (CORS-safelisted response-header name). By name: the `*` that
stands for all is unknown to older web views."""

_EXPOSED_NAMES = ", ".join(_EXPOSED).encode()


class CorsPolicy:
    """Which web pages may call. Credentials are never allowed: a key travels in a header that the page sets itself.

    `origins` as browsers send them, compared as a whole; `http://localhost:*` is that host on any port, and `*` alone is everybody.
    """

    __slots__ = ("_any", "_any_port", "_origins", "_preflight", "_shared")

    def __init__(self, origins: Sequence[str], max_age_s: int) -> None:
        self._any = "*" in origins
        given = frozenset(origin.encode() for origin in origins)
        self._any_port = frozenset(origin.removesuffix(b":*") for origin in given if origin.endswith(b":*"))
        self._origins = frozenset(origin for origin in given if not origin.endswith(b":*"))
        # What is kept for one origin must not be shown to another (CORS protocol and HTTP caches).
        self._shared: Headers = [] if self._any else [(b"vary", b"Origin")]
        self._preflight: Headers = [
            (b"access-control-allow-methods", b"GET, HEAD, POST, OPTIONS"),
            (b"access-control-max-age", b"%d" % max_age_s),
        ]

    def allows(self, origin: bytes) -> bool:
        """Whether a page of that origin may call."""
        if self._any or origin in self._origins:
            return True
        host, _, port = origin.rpartition(b":")
        return (host if port.isdigit() else origin) in self._any_port

    def headers(self, origin: bytes | None) -> Headers:
        """Headers for a reply; None: no page asks."""
        if origin is None or not self.allows(origin):
            return self._shared
        allowed = b"*" if self._any else origin
        return [(b"access-control-allow-origin", allowed), (b"access-control-expose-headers", _EXPOSED_NAMES), *self._shared]

    def preflight(self, origin: bytes, requested_headers: bytes | None) -> Headers:
        """Headers for the answer to a preflight request."""
        headers = self.headers(origin)
        if headers is self._shared:
            return headers
        # Header names only ever echo what the browser is about to send; SDKs add many of their own.
        return [*headers, *self._preflight, (b"access-control-allow-headers", requested_headers or b"*")]
