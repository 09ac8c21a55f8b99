"""What an address says about who is at it. Floor 4. Pure."""

from __future__ import annotations

import ipaddress

__all__ = ["network", "on_this_host", "subscriber"]

_PREFIXES = {4: 24, 6: 48}


def on_this_host(peer: str) -> bool:
    """Whether it is an address of the loopback interface."""
    address = _address(peer)
    return address is not None and address.is_loopback


def subscriber(peer: str) -> str:
    """Who is counted as one: an address, or the network that one subscriber has of IPv6 (RFC 6177)."""
    address = _address(peer)
    if address is None or address.version == 4:
        return str(address or peer)
    return str(ipaddress.ip_network((address, 64), strict=False))


def network(peer: str | None) -> str | None:
    """The network of an address: IPv4/24 or IPv6/48. An address is a person's, often enough; its network is enough to find a host."""
    address = _address(peer) if peer is not None else None
    return str(ipaddress.ip_network((address, _PREFIXES[address.version]), strict=False)) if address is not None else None


def _address(peer: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """A socket for both families shows IPv4 as `::ffff:192.0.2.1`."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
