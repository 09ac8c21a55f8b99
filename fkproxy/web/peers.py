"""What an address says about who is at it. Floor 4. Pure."""

from __future__ import annotations

import ipaddress
import re

__all__ = ["address_of", "is_this_host", "network", "on_this_host", "subscriber"]

_PREFIXES = {4: 24, 6: 48}
_WITH_PORT = re.compile(r"([0-9.]+):[0-9]{1,5}|\[(.+)\](?::[0-9]{1,5})?")


def on_this_host(peer: str) -> bool:
    """Whether it is an address of the loopback interface."""
    address = address_of(peer)
    return address is not None and address.is_loopback


def is_this_host(name: str) -> bool:
    """Whether a URL whose host this is leads to this host, wherever it is looked up."""
    return name == "localhost" or on_this_host(name)


def subscriber(peer: str) -> str:
    """Who is counted as one: an address, or the network that one subscriber has of IPv6 (RFC 6177)."""
    address = address_of(peer)
    if address is None or address.version == 4:
        return str(address or peer)
    return str(ipaddress.ip_network((address, 64), strict=False))


def network(peer: str | None) -> str | None:
    """The network of an address: IPv4/24 or IPv6/48. An address is a person's, often enough; its network is enough to find a host."""
    address = address_of(peer) if peer is not None else None
    return str(ipaddress.ip_network((address, _PREFIXES[address.version]), strict=False)) if address is not None else None


def address_of(peer: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """None for what is none. A socket for both families shows IPv4 as `::ffff:192.0.2.1`; a proxy may tell the client's port, too."""
    with_port = _WITH_PORT.fullmatch(peer)
    try:
        address = ipaddress.ip_address(peer if with_port is None else with_port[1] or with_port[2])
    except ValueError:
        return None
    if address.version == 4:
        return address
    # Anew, for a zone (RFC 4007 §11) says nothing outside its host, and may be of any length.
    return address.ipv4_mapped or ipaddress.IPv6Address(int(address))
