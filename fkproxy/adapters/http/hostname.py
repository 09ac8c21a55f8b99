"""A host's name as it is resolved and sent. Floor 2. Pure."""

from __future__ import annotations

import ipaddress
import re

__all__ = ["host_name"]

_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*(?<!-)\.?")
"""RFC 1035 §2.3.4: a label has 63 octets at most. Longer ones, and empty ones, no resolver takes. Names of containers have underscores."""


def host_name(name: str) -> str:
    """In lower case and IDNA form, IPv6 without brackets. `name` is in lower case. Raises `ValueError` for what no resolver takes."""
    if ":" in name:
        try:
            return str(ipaddress.IPv6Address(name))
        except ValueError:
            raise ValueError("the host is not an IPv6 address") from None
    try:
        ascii_name = name if name.isascii() else name.encode("idna").decode("ascii")
    except UnicodeError:
        ascii_name = ""
    if not _HOST.fullmatch(ascii_name):
        raise ValueError("the host is missing or not a host name")
    return ascii_name
