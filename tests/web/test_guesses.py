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


def test_of_one_peer_the_first_wrong_key_is_heard_and_the_first_that_it_waits_for() -> None:
    heard: list[tuple[str | None, str]] = []
    guesses = Guesses(None, lambda: 1000.0, lambda network, told: heard.append((network, told)))
    for _ in range(20):
        guesses.failed("192.0.2.1")
    guesses.failed("198.51.100.1")
    guesses.succeeded("192.0.2.1")
    guesses.failed("192.0.2.1")
    team, other = "192.0.2.0/24", "198.51.100.0/24"
    assert heard == [(team, "refuse"), (team, "slow_down"), (other, "refuse"), (team, "refuse")]


@pytest.mark.parametrize(
    ("peer", "here"), [("127.0.0.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("192.0.2.1", False), ("x", False)]
)
def test_what_this_host_is(peer: str, here: bool) -> None:
    assert on_this_host(peer) is here
