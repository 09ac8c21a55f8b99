"""Which proxy, if any, a request goes through: the meaning of HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY.

Floor 2. Pure: the values are given, not read from the environment.

NO_PROXY has no standard. Understood here is what golang.org/x/net/http/httpproxy documents (read 2026-11): a list of host names
(with their subdomains), IP addresses, CIDR blocks, each with an optional port, or `*`. Loopback never goes through a proxy.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from fkproxy.adapters.http.hostname import host_name

__all__ = ["Proxies", "Proxy"]

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_EXPECTED = "a proxy URL must look like http://host:port or http://user:password@host:port"
_HOST_AND_PORT = re.compile(r"(\[[^\]]+\]|[^:]+):(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """An HTTP proxy. `authorization` is the value of Proxy-Authorization, None when it wants none."""

    host: str
    port: int
    authorization: str | None = None

    def __repr__(self) -> str:
        return f"Proxy(host={self.host!r}, port={self.port})"

    @classmethod
    def parse(cls, url: str) -> Proxy:
        """From `http://user:password@host:port`, the scheme optional. Raises `ValueError` without quoting the URL."""
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
        except ValueError:
            raise ValueError(_EXPECTED) from None
        if parts.scheme.lower() != "http":
            raise ValueError("a proxy URL must begin with http:// (the proxy itself is spoken to in plain HTTP)")
        try:
            host, port = host_name(parts.hostname or ""), parts.port
        except ValueError:
            host, port = "", None
        if not host or port == 0 or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError(_EXPECTED)
        authorization = None
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = "Basic " + base64.b64encode(pair.encode()).decode()
        return cls(host=host, port=80 if port is None else port, authorization=authorization)


class Proxies:
    """The operator's proxies. Each is a URL, "" or None for none; `all_url` serves where the more special one is not set.

    Raises `ValueError` for a URL that is no HTTP proxy.
    """

    def __init__(
        self, *, https_url: str | None = None, http_url: str | None = None, all_url: str | None = None, no_proxy: str | None = None
    ) -> None:
        self._by_scheme = {
            scheme: Proxy.parse(url) if url else None for scheme, url in (("https", https_url or all_url), ("http", http_url or all_url))
        }
        self._everything = False
        self._names: list[tuple[str, int | None]] = []
        self._networks: list[tuple[IpNetwork, int | None]] = []
        for entry in (no_proxy or "").replace(",", " ").split():
            self._except_for(entry.lower())

    def _except_for(self, entry: str) -> None:
        if entry == "*":
            self._everything = True
            return
        match = _HOST_AND_PORT.fullmatch(entry)
        host, port = (match[1], int(match[2])) if match else (entry, None)
        try:
            self._networks.append((ipaddress.ip_network(host.strip("[]"), strict=False), port))
        except ValueError:
            self._names.append((host.removeprefix("*").removeprefix("."), port))

    def choose(self, scheme: str, host: str, port: int) -> Proxy | None:
        """The proxy for `scheme://host:port`, None for a direct connection. `host` in lower case, IPv6 without brackets."""
        proxy = self._by_scheme.get(scheme)
        return None if proxy is None or self._excepted(host, port) else proxy

    def _excepted(self, host: str, port: int) -> bool:
        if self._everything or host == "localhost":
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return any((host == name or host.endswith("." + name)) and only_port in (None, port) for name, only_port in self._names if name)
        return address.is_loopback or any(address in network and only_port in (None, port) for network, only_port in self._networks)
