"""Token buckets: how many requests a caller may send, and when the next one may pass.

Floor 1. Pure.

A bucket holds `capacity` tokens, starts full, loses one for each request and gains `refill_per_second` continuously (RFC 2697 §3,
the committed-rate half). A full bucket is no different from a bucket nobody has used, so forgetting it loses nothing; forgetting
any other one gives tokens back to whoever spent them.

What memory pressure costs an attacker. `Buckets` forgets only when `max_entries` keys are known. It then looks at the eight least
recently used, forgets those that are full and, if none is, the fullest; the others are put back as if just used. Whoever rotates
keys to have his own spent bucket forgotten therefore throws out the rotated keys, which are fuller. To have a bucket with d tokens
missing forgotten he must hold nearly the whole table at d tokens missing: about `max_entries` × d requests, sent before the refill
undoes them. Keys must still come from something a caller cannot make up for nothing (a valid key, the peer's address): a new key
starts with a full bucket.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice

import msgspec

__all__ = ["Buckets", "TokenBucket", "Verdict"]

_ROUNDING_TOKENS = 1e-6
"""Float error that is forgiven: a caller who waits exactly `retry_after_s` passes."""

_LOOKED_AT = 8
"""Candidates for one eviction. Redis samples 5 to 10 for its approximate LRU (`maxmemory-samples`), for the same reason."""


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """The answer to one request, with what rate limit headers need.

    `limit` and `remaining` in requests; `reset_after_s` until the bucket is full; `retry_after_s` until one request passes, 0.0 when
    this one did.
    """

    allowed: bool
    limit: int
    remaining: int
    reset_after_s: float
    retry_after_s: float


class TokenBucket:
    """One bucket. Raises `ValueError` for a capacity below 1 or a refill that is not positive: it would never let anyone pass again."""

    __slots__ = ("_at_s", "_capacity", "_rate", "_tokens")

    def __init__(self, capacity: int, refill_per_second: float, now: float) -> None:
        if capacity < 1:
            raise ValueError(f"a bucket's capacity must be at least 1, not {capacity}")
        if refill_per_second <= 0:
            raise ValueError(f"a bucket's refill per second must be above 0, not {refill_per_second}")
        self._capacity = capacity
        self._rate = refill_per_second
        self._tokens = float(capacity)
        self._at_s = now

    def take(self, now: float) -> Verdict:
        """Take one token if there is one. `now` is monotonic seconds; a clock that steps back refills nothing and costs nothing."""
        tokens = self._fill(now)
        missing = 1.0 - tokens
        if missing <= _ROUNDING_TOKENS:
            tokens = self._tokens = tokens - 1.0 if missing < 0.0 else 0.0
            return Verdict(True, self._capacity, int(tokens + _ROUNDING_TOKENS), (self._capacity - tokens) / self._rate, 0.0)
        return Verdict(False, self._capacity, 0, (self._capacity - tokens) / self._rate, missing / self._rate)

    def missing(self, now: float) -> float:
        """Tokens missing to a full bucket; 0.0 is full."""
        missing = self._capacity - self._fill(now)
        return missing if missing > _ROUNDING_TOKENS else 0.0

    def _fill(self, now: float) -> float:
        tokens = self._tokens
        if now > self._at_s:
            tokens += (now - self._at_s) * self._rate
            if tokens > self._capacity:
                tokens = float(self._capacity)
            self._tokens = tokens
        self._at_s = now
        return tokens


class Buckets:
    """A bucket for each key, all alike, at most `max_entries` of them; the top of this file says who is forgotten first."""

    __slots__ = ("_buckets", "_capacity", "_max_entries", "_rate")

    def __init__(self, capacity: int, refill_per_second: float, max_entries: int = 10_000) -> None:
        if max_entries < 1:
            raise ValueError(f"max_entries must be at least 1, not {max_entries}")
        TokenBucket(capacity, refill_per_second, 0.0)
        self._capacity = capacity
        self._rate = refill_per_second
        self._max_entries = max_entries
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: str, now: float) -> Verdict:
        """Take one token from `key`'s bucket. `now` is monotonic seconds."""
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self._max_entries:
                self._forget(now)
            bucket = self._buckets[key] = TokenBucket(self._capacity, self._rate, now)
        else:
            self._buckets.move_to_end(key)
        return bucket.take(now)

    def _forget(self, now: float) -> None:
        candidates = [(bucket.missing(now), key) for key, bucket in islice(self._buckets.items(), _LOOKED_AT)]
        least_missing = min(missing for missing, _ in candidates)
        forgotten = False
        for missing, key in candidates:
            if missing == 0.0 or (missing == least_missing and not forgotten):
                del self._buckets[key]
                forgotten = True
            else:
                self._buckets.move_to_end(key)
