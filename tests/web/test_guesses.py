"""Wrong keys cost time, up to what a door says."""

from __future__ import annotations

import pytest

from fkproxy.web.guesses import Guesses, on_this_host


@pytest.mark.parametrize(
    ("peer", "longest_s", "most_s"),
    [("192.0.2.1", 60.0, 60.0), ("192.0.2.1", None, 1800.0), ("127.0.0.1", 60.0, 1.0), ("unknown", 4.0, 4.0)],
)
def test_the_wait_doubles_up_to_its_most(peer: str, longest_s: float | None, most_s: float) -> None:
    now_s = 1000.0
    guesses = Guesses(longest_s, lambda: now_s)
    waits = []
    for _ in range(20):
        guesses.failed(peer)
        waits.append(guesses.wait_s(peer))
        now_s += waits[-1]
    assert waits[:7] == [0.0] * 5 + [1.0, min(2.0, most_s)]
    assert max(waits) == most_s
    guesses.succeeded(peer)
    assert guesses.wait_s(peer) == 0.0


@pytest.mark.parametrize(
    ("peer", "here"), [("127.0.0.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("192.0.2.1", False), ("x", False)]
)
def test_what_this_host_is(peer: str, here: bool) -> None:
    assert on_this_host(peer) is here
