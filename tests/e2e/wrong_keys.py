"""Wrong keys until the right one has to wait, however busy the machine is on which they are sent."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator

from tests.e2e.processes import Answer

__all__ = ["FREE", "slowed"]

FREE = 5
"""Wrong keys that cost nothing; the next ones cost 1, 2, 4 … seconds."""

_LONGEST = 5
"""Doublings after which the machine is not only busy."""


def slowed(
    addresses: Iterator[str], knock: Callable[[str, str, int], Answer], right: Callable[[str], list[Answer]], doublings: int = 0
) -> tuple[list[Answer], int]:
    """What the right key is told, from an address whose wrong ones cost 1 second first, doubled so many times, and that cost.

    `knock` gets address, key, and how many came before. Where the wait was over before the right key had been tried everywhere, another
    address begins, with a longer one.
    """
    for longest in range(doublings, _LONGEST + 1):
        address = next(addresses)
        guessed_s = 0.0
        for count in range(FREE + 1 + longest):
            cost_s = 2 ** (count - FREE - 1) if count > FREE else 0
            before_s, guessed_s = guessed_s, _guess(lambda address=address, count=count: knock(address, _wrong(), count), cost_s)
            assert time.monotonic() - before_s >= cost_s
        told = right(address)
        if all(each.status == 429 for each in told):
            assert all(1 <= int(each.headers["retry-after"]) <= 2**longest for each in told)
            return told, 2**longest
        assert time.monotonic() - guessed_s >= 2**longest, "the right key waits, too, or it could be told from wrong ones"
    raise AssertionError("no wait was long enough")


def _wrong() -> str:
    """One that nobody has sent yet: at some doors an old one is no further guess."""
    return f"sk-guess-{secrets.token_hex(8)}"


def _guess(knock: Callable[[], Answer], cost_s: int) -> float:
    """Until it is looked at; when that may have been at the earliest. `cost_s`: what the one before it may cost."""
    while True:
        asked_s = time.monotonic()
        answer = knock()
        if answer.status == 401:
            return asked_s
        assert answer.status == 429
        assert 1 <= int(answer.headers["retry-after"]) <= cost_s
        time.sleep(0.05)
