"""Pages that call from a browser: which may, and what they may read. Floor 4. Pure.

Source: Fetch standard, CORS protocol, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from fkproxy.call import Headers
from fkproxy.web.peers import is_this_host

__all__ = ["CorsPolicy", "is_another_sites"]

_EXPOSED = (
    *("request-id", "retry-after", "www-authenticate", "x-api-version", "x-fkproxy-explain", "x-fkproxy-losses", "x-fkproxy-provider"),
    *("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "x-request-id", "x-should-retry"),
)
"""What a page may read of a reply, beside what every page may (CORS-safelisted response-header name). By name: the `*` that
stands for all is unknown to older web views."""

_EXPOSED_NAMES = ", ".join(_EXPOSED).encode()


def is_another_sites(origin: bytes, fetch_site: bytes | None) -> bool:
    """Whether it is a page from elsewhere that makes a browser ask: what a page sends as a form does needs nobody's leave (Fetch standard,
    CORS-safelisted request), and a name that is led here makes the page one of ours (DNS rebinding). Apps made of pages have an origin of
    no site, such as `app://obsidian.md`; `fetch_site` is the header Sec-Fetch-Site, which no page can set.
    """
    if fetch_site == b"same-origin":
        return False
    try:
        at = urlsplit(origin.decode("latin-1"))
        name = at.hostname or ""
    except ValueError:
        return True
    if at.scheme not in ("http", "https"):
        # Of a page without an origin of its own, as in a frame that may do little: "null".
        return not at.scheme
    return not (is_this_host(name) or name.endswith(".localhost"))


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
