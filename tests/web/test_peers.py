"""What an address says about who is at it."""

from __future__ import annotations

import pytest

from fkproxy.web.peers import on_this_host, subscriber


@pytest.mark.parametrize(
    ("peer", "local", "counted_as"),
    [
        ("127.0.0.1", True, "127.0.0.1"),
        ("::1", True, "::/64"),
        ("::ffff:127.0.0.2", True, "127.0.0.2"),
        ("192.0.2.7", False, "192.0.2.7"),
        ("::ffff:192.0.2.7", False, "192.0.2.7"),
        ("2001:db8:1:2:3::4", False, "2001:db8:1:2::/64"),
        ("unknown", False, "unknown"),
    ],
)
def test_an_address_says_who_is_at_it(peer: str, local: bool, counted_as: str) -> None:
    assert (on_this_host(peer), subscriber(peer)) == (local, counted_as)
