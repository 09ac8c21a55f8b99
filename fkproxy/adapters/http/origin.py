"""Where requests go: a base URL parsed once, and header blocks rendered once.

Floor 2. Pure.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fkproxy.adapters.http.hostname import host_name
from fkproxy.adapters.http.proxy import Proxy

if TYPE_CHECKING:
    from fkproxy.adapters.http.client import Pool

__all__ = ["BAD_TARGET", "Address", "Origin", "header_block", "is_metadata", "parse_base_url", "render_head"]

_DEFAULT_PORTS = {"http": 80, "https": 443}

# RFC 9110 §5.6.2 token; §5.5 field values hold no control character but the tab; RFC 9112 §3.2 a target has no white space.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BAD_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
BAD_TARGET = re.compile(r"[^\x21-\x7e]")

_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        (
            *("fd00:ec2::254", "fd00:ec2::23"),  # AWS over IPv6: machines, and pods of EKS
            "fd20:ce::254",  # Google Cloud, machines without IPv4
            *("fd00:c1::a9fe:a9fe", "192.0.0.192"),  # Oracle Cloud over IPv6, and its Classic
            *("100.100.100.200", "fd00:100::100:200"),  # Alibaba Cloud
            "168.63.129.16",  # Azure
            "fd00:42::42",  # Scaleway
            "fd00:a9fe:a9fe::1",  # Akamai
        ),
    )
)
"""Where clouds answer their machines outside of the link-local networks; read 2026-11."""

_WITH_IPV4 = tuple(map(ipaddress.ip_network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")))
"""The last 32 bits are an IPv4 address: RFC 4291 §2.5.5 (compatible, mapped), RFC 2765 §2.1, RFC 6052 §2.1, RFC 8215."""

_MAX_KEPT_CHARS = 256
"""Of a target whose request line is kept: it may hold the name of a model, which a client chose."""

_OURS = frozenset(
    {
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "accept-encoding",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
    }
)
"""Headers that frame the message or manage the connection: the client's own, never a caller's or an operator's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """What a connection is made to; connections to equal addresses are interchangeable."""

    scheme: str
    host: str
    port: int
    proxy: Proxy | None = None

    @property
    def authority(self) -> str:
        """`host` or `host:port` as the Host header has it: brackets around IPv6, no default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def tunnelled(self) -> bool:
        """True when the proxy only passes bytes: TLS goes end to end."""
        return self.proxy is not None and self.scheme == "https"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A base URL that requests can be sent to. `target_prefix` stands before every target."""

    address: Address
    target_prefix: str
    pool: Pool


def parse_base_url(url: str) -> tuple[str, str, int, str]:
    """(scheme, host, port, path prefix). The host in lower case and IDNA form, IPv6 without brackets; the path without its last slash.

    Raises `ValueError` saying what is wrong; never quotes a URL that may hold a password.
    """
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS:
        raise ValueError("a base URL must begin with http:// or https://")
    if "@" in parts.netloc:
        raise ValueError("a base URL must not hold a user name or password")
    if parts.query or parts.fragment:
        raise ValueError("a base URL must not have a query or a fragment")
    try:
        port = parts.port
    except ValueError:
        raise ValueError("the port in a base URL must be a number between 1 and 65535") from None
    if port == 0:
        raise ValueError("the port in a base URL must be a number between 1 and 65535")
    if BAD_TARGET.search(parts.path):
        raise ValueError("the path in a base URL must be percent-encoded")
    return parts.scheme, host_name(parts.hostname or ""), port or _DEFAULT_PORTS[parts.scheme], parts.path.rstrip("/")


def is_metadata(host: str) -> bool:
    """Whether it is an address at which cloud machines are given credentials of their own, however it is written; False for a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            # One number, hexadecimal, octal or fewer parts: resolvers take all of that for an IPv4 address.
            address = ipaddress.ip_address(socket.inet_aton(host))
        except (OSError, ValueError):
            return False
    if isinstance(address, ipaddress.IPv6Address):
        address = ipaddress.IPv6Address(int(address))  # a zone makes another address of it
        if any(address in network for network in _WITH_IPV4):
            address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        else:
            address = address.sixtofour or address
    return address.is_link_local or address in _METADATA


def header_block(origin: Origin, headers: Sequence[tuple[str, str]]) -> bytes:
    """The header lines of every request with these headers, to be rendered once and sent often.

    Adds Host, Accept-Encoding and what a proxy wants. Raises `ValueError`, without the value, for a name or value that cannot be
    sent: line ends in it would be a second header or a second request.
    """
    address = origin.address
    lines = [f"host: {address.authority}", "accept-encoding: identity"]
    if address.proxy is not None and address.proxy.authorization is not None and not address.tunnelled:
        lines.append(f"proxy-authorization: {address.proxy.authorization}")
    for name, value in headers:
        if not _TOKEN.fullmatch(name):
            raise ValueError("a header name must be a token: letters, digits and !#$%&'*+-.^_`|~")
        if name.lower() in _OURS:
            raise ValueError(f"the header {name} is set by the HTTP client itself")
        if _BAD_VALUE.search(value):
            raise ValueError(f"the value of the header {name} holds a line end or another control character")
        lines.append(f"{name}: {value}")
    try:
        return "".join(line + "\r\n" for line in lines).encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError("a header value holds a character outside ISO 8859-1") from None


def render_head(origin: Origin, method: str, target: str, block: bytes, body_bytes: int) -> bytes:
    """Request line and headers, with the blank line. Raises `ValueError` for a target with white space or control characters."""
    made = _request_line if len(target) <= _MAX_KEPT_CHARS else _request_line.__wrapped__
    line = made(method, origin.target_prefix, target)
    if body_bytes or method == "POST":
        return b"%b%bcontent-length: %d\r\n\r\n" % (line, block, body_bytes)
    return b"%b%b\r\n" % (line, block)


@lru_cache(maxsize=1024)
def _request_line(method: str, prefix: str, target: str) -> bytes:
    """Few are different: one for each model at most."""
    full_target = prefix + target
    if BAD_TARGET.search(full_target) or not full_target:
        raise ValueError("a request target must be percent-encoded ASCII and not empty")
    return f"{method} {full_target} HTTP/1.1\r\n".encode()
