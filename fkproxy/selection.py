"""Who is next: one of several that could serve a call just as well.

Floor 1. Pure.

    ordered       the first
    round_robin   each in turn
    weighted      each in turn, in proportion to the weights and evenly spread (nginx's smooth weighted round robin)
    fill_first    the one that served last, until it cannot; then the next one stays
    least_busy    the one with the fewest calls under way for its weight
    sticky        the one that served this conversation last: prompt caches and encrypted thoughts are the vendor's, one account at a time

All choose among those that can serve now. A conversation is remembered for `ttl_s` after its last call, within a bound; one that is new,
or forgotten, goes where its hash says (rendezvous hashing), so that it most often comes back to the same place even then.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import chain

from fkproxy.routing import Strategy

__all__ = ["Selector"]


class Selector:
    """Remembers turns. Members are known by their names, which stay when the configuration changes around them."""

    __slots__ = ("_conversations", "_current", "_last", "_max_entries", "_ttl_s")

    def __init__(self, *, ttl_s: float = 3600.0, max_entries: int = 20_000) -> None:
        self._ttl_s = ttl_s
        self._max_entries = max_entries
        self._last: dict[str, tuple[int, str]] = {}
        self._current: dict[str, dict[str, int]] = {}
        self._conversations: OrderedDict[tuple[str, bytes], tuple[str, float]] = OrderedDict()

    def choose(
        self,
        place: str,
        strategy: Strategy,
        members: Sequence[str],
        candidates: Sequence[int],
        able: Callable[[int], bool],
        *,
        weight: Callable[[int], int],
        busy: Callable[[int], int],
        conversation: bytes | None,
        now: float,
    ) -> int | None:
        """The position in `members` of the next one, out of the positions in `candidates`, which rise; None when none of them is `able`.

        `place` says which turns are meant; `able`, `weight` and `busy` (calls under way) are asked by position, and no more often than the
        strategy needs: it may be one of hundreds.
        """
        if strategy == "sticky" and conversation is not None:
            return self._sticky(place, members, candidates, able, weight, conversation, now)
        if strategy == "ordered":
            chosen = next(filter(able, candidates), None)
        elif strategy == "least_busy":
            chosen = next(filter(able, sorted(candidates, key=lambda position: busy(position) / max(1, weight(position)))), None)
        elif strategy == "weighted":
            chosen = self._weighted(place, members, [*filter(able, candidates)], weight)
        else:
            chosen = self._turn(place, members, candidates, able, stay=strategy == "fill_first")
        if chosen is not None:
            self._last[place] = (chosen, members[chosen])
        return chosen

    def bind(self, place: str, conversation: bytes, member: str, now: float) -> None:
        """From now on this conversation is that member's."""
        self._conversations[place, conversation] = (member, now + self._ttl_s)
        self._conversations.move_to_end((place, conversation))
        if len(self._conversations) > self._max_entries:
            self._conversations.popitem(last=False)

    def _turn(
        self, place: str, members: Sequence[str], candidates: Sequence[int], able: Callable[[int], bool], *, stay: bool
    ) -> int | None:
        at, last = self._last.get(place, (-1, ""))
        if not 0 <= at < len(members) or members[at] != last:
            at = members.index(last) if last in members else -1
        if stay and at in candidates and able(at):
            return at
        behind = bisect_right(candidates, at)
        return next(filter(able, chain(candidates[behind:], candidates[:behind])), None)

    def _weighted(self, place: str, members: Sequence[str], able: Sequence[int], weight: Callable[[int], int]) -> int | None:
        if len(able) < 2:
            return able[0] if able else None
        current = self._current.setdefault(place, {})
        total = 0
        for position in able:
            share = weight(position)
            total += share
            current[members[position]] = current.get(members[position], 0) + share
        chosen = max(able, key=lambda position: current[members[position]])
        current[members[chosen]] -= total
        return chosen

    def _sticky(
        self,
        place: str,
        members: Sequence[str],
        candidates: Sequence[int],
        able: Callable[[int], bool],
        weight: Callable[[int], int],
        conversation: bytes,
        now: float,
    ) -> int | None:
        known = self._conversations.get((place, conversation))
        chosen: int | None = None
        if known is not None and known[1] > now and known[0] in members:
            chosen = members.index(known[0])
        if chosen is None or chosen not in candidates or not able(chosen):
            scored = sorted(candidates, key=lambda position: _score(conversation, members[position], weight(position)), reverse=True)
            chosen = next(filter(able, scored), None)
        if chosen is not None:
            self.bind(place, conversation, members[chosen], now)
        return chosen


def _score(conversation: bytes, member: str, weight: int) -> float:
    """Weighted rendezvous hashing: each member wins conversations in proportion to its weight (Thaler and Ravishankar, 1998)."""
    digest = hashlib.blake2b(member.encode(), key=conversation[:64], digest_size=8).digest()
    return -max(0, weight) / math.log((int.from_bytes(digest) + 1) / (2**64 + 2))
