"""Who guesses keys is slowed: after a few wrong ones a peer waits, twice as long each time.

Floor 1. Pure.

Peers are remembered up to a bound, the least recent failure goes first: an attacker with many addresses gains from that what many
addresses give him anyway.
"""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["FREE", "FailedAttempts"]

FREE = 5
_LONGEST_S = 1800.0
_MAX_PEERS = 4096


class FailedAttempts:
    """`FREE` wrong keys cost nothing: an operator mistypes. From then on 1, 2, 4 … seconds, half an hour at most.

    `now` is monotonic seconds. A peer that has been quiet for half an hour after its wait starts anew.
    """

    __slots__ = ("_by_peer",)

    def __init__(self) -> None:
        self._by_peer: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_peer)

    def wait_s(self, peer: str, now: float) -> float:
        """Seconds until this peer may try again; 0.0 now."""
        _, until = self._by_peer.get(peer, (0, 0.0))
        return max(0.0, until - now)

    def failed(self, peer: str, now: float, longest_s: float | None = None) -> int:
        """A wrong key came from this peer: how many in a row there are now. `longest_s`: the most for this one."""
        count, until = self._by_peer.pop(peer, (0, 0.0))
        if now - until > _LONGEST_S:
            count = 0
        count += 1
        beyond = count - FREE
        wait_s = min(2.0 ** min(beyond - 1, 30), _LONGEST_S if longest_s is None else longest_s) if beyond > 0 else 0.0
        self._by_peer[peer] = (count, now + wait_s)
        if len(self._by_peer) > _MAX_PEERS:
            self._by_peer.popitem(last=False)
        return count

    def succeeded(self, peer: str) -> None:
        """The right key came: nothing is held against it any more."""
        self._by_peer.pop(peer, None)
