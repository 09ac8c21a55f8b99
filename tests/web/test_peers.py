"""What an address says about who is at it."""

from __future__ import annotations

import pytest

from fkproxy.web.peers import network, on_this_host, subscriber


@pytest.mark.parametrize(
    ("peer", "local", "counted_as", "within"),
    [
        ("127.0.0.1", True, "127.0.0.1", "127.0.0.0/24"),
        ("::1", True, "::/64", "::/48"),
        ("::ffff:127.0.0.2", True, "127.0.0.2", "127.0.0.0/24"),
        ("192.0.2.7", False, "192.0.2.7", "192.0.2.0/24"),
        ("::ffff:192.0.2.7", False, "192.0.2.7", "192.0.2.0/24"),
        ("127.0.0.1:5555", True, "127.0.0.1", "127.0.0.0/24"),
        ("[::1]:5", True, "::/64", "::/48"),
        ("[2001:db8:1:2::3]", False, "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("[::ffff:192.0.2.7]:80", False, "192.0.2.7", "192.0.2.0/24"),
        ("fe80:1:2:3::4%eth0", False, "fe80:1:2:3::/64", "fe80:1:2::/48"),
        ("192.0.2.7:", False, "192.0.2.7:", None),
        ("[]:5", False, "[]:5", None),
        ("2001:db8:1:2:3::4", False, "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("unknown", False, "unknown", None),
    ],
)
def test_an_address_says_who_is_at_it(peer: str, local: bool, counted_as: str, within: str | None) -> None:
    assert (on_this_host(peer), subscriber(peer), network(peer)) == (local, counted_as, within)
