"""How each provider has served of late, for `/v1/metrics/providers`.

Floor 2. Pure.

Over the last ten minutes, for each provider and each of its credentials: attempts by outcome, the shares of 401, 403 and 429, how long
they took, how long to the first content, how often nobody said what was used. Totals are since the start.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

from fkproxy.telemetry.families import UPSTREAM_FAILURES
from fkproxy.telemetry.record import Attempt, CallRecord
from fkproxy.telemetry.tally import Uncounted, percentile

__all__ = ["ProviderStats"]

_WINDOW_S = 600.0
_SLICE_S = 10.0
_SAMPLES = 512
"""Latencies kept of each upstream; percentiles are over the latest of them."""


class _Slice:
    """`served`: attempts that ended well, which are most; the others by outcome and status."""

    __slots__ = ("began_s", "outcomes", "served", "statuses")

    def __init__(self, began_s: float) -> None:
        self.began_s = began_s
        self.served = 0
        self.outcomes: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()


class _Upstream:
    """One credential's attempts."""

    def __init__(self) -> None:
        self.requests = self.failures = self.tokens = self.usage_reported = self.usage_missing = 0
        self.last_seen_s: float | None = None
        self.here = _Slice(float("-inf"))
        self.slices: deque[_Slice] = deque(maxlen=int(_WINDOW_S / _SLICE_S) + 1)
        self.durations_ms: deque[float] = deque(maxlen=_SAMPLES)
        self.ttfts_ms: deque[float] = deque(maxlen=_SAMPLES)

    def add(self, attempt: Attempt, now_s: float) -> None:
        self.requests += 1
        self.last_seen_s = now_s
        here = self.here
        since_s = now_s - here.began_s
        # One that is a little behind began before the clock was set on, or the clock was set back a little.
        if not -_WINDOW_S < since_s < _SLICE_S:
            if since_s < 0:
                self.slices.clear()  # the clock was set back
            here = self.here = _Slice(now_s)
            self.slices.append(here)
        outcome = attempt.outcome
        if outcome == "ok":
            here.served += 1
        else:
            self.failures += outcome in UPSTREAM_FAILURES
            here.outcomes[outcome] += 1
            if attempt.status is not None:
                here.statuses[attempt.status] += 1
        self.durations_ms.append(attempt.duration_ms)
        if attempt.ttft_ms is not None:
            self.ttfts_ms.append(attempt.ttft_ms)


class ProviderStats:
    """Fed with every record; asked seldom. Upstreams come from the configuration, so their number is bounded."""

    def __init__(self) -> None:
        self._upstreams: dict[tuple[str, str], _Upstream] = {}
        self._uncounted = Uncounted(self._count)

    def observe(self, record: CallRecord) -> None:
        """Count a call's attempts."""
        if record.tries:
            self._uncounted.add(record)

    def _count(self, record: CallRecord) -> None:
        now_s = record.started_s + record.duration_ms / 1000
        for attempt in record.tries:
            upstream = self._upstream(attempt)
            upstream.add(attempt, now_s)
        usage = record.usage
        if usage is not None:
            upstream.tokens += (usage.input_tokens or 0) + (usage.output_tokens or 0)
        if (usage is None or record.notes) and record.usage_missing:
            upstream.usage_missing += record.tries[-1].outcome == "ok"
        elif usage is not None:
            upstream.usage_reported += 1

    def _upstream(self, attempt: Attempt) -> _Upstream:
        key = (attempt.provider_key, attempt.credential)
        found = self._upstreams.get(key)
        if found is None:
            found = self._upstreams[key] = _Upstream()
        return found

    def of(self, provider_key: str, now_s: float) -> dict[str, Any]:
        """The provider's figures."""
        self._uncounted.settle()
        return _figures([upstream for (key, _), upstream in self._upstreams.items() if key == provider_key], now_s)

    def of_credential(self, provider_key: str, credential: str, now_s: float) -> dict[str, Any]:
        """The figures of one of its credentials."""
        self._uncounted.settle()
        found = self._upstreams.get((provider_key, credential))
        return _figures([found] if found is not None else [], now_s)


def _figures(upstreams: list[_Upstream], now_s: float) -> dict[str, Any]:
    requests = sum(upstream.requests for upstream in upstreams)
    failures = sum(upstream.failures for upstream in upstreams)
    recent = [each for upstream in upstreams for each in upstream.slices if abs(now_s - each.began_s) < _WINDOW_S]
    outcomes = sum((each.outcomes for each in recent), Counter[str]())
    statuses = sum((each.statuses for each in recent), Counter[int]())
    total = outcomes.total() + sum(each.served for each in recent)
    durations = sorted(value for upstream in upstreams for value in upstream.durations_ms)
    ttfts = sorted(value for upstream in upstreams for value in upstream.ttfts_ms)
    seen = [upstream.last_seen_s for upstream in upstreams if upstream.last_seen_s is not None]
    failed = sum(count for outcome, count in outcomes.items() if outcome in UPSTREAM_FAILURES)
    return {
        "request_count": requests,
        "success_count": requests - failures,
        "failure_count": failures,
        "success_rate": round((requests - failures) / requests, 4) if requests else 1.0,
        "total_tokens": sum(upstream.tokens for upstream in upstreams),
        "usage_reported": sum(upstream.usage_reported for upstream in upstreams),
        "usage_missing": sum(upstream.usage_missing for upstream in upstreams),
        "latency_p50_ms": round(percentile(durations, 50), 1),
        "latency_p95_ms": round(percentile(durations, 95), 1),
        "latency_p99_ms": round(percentile(durations, 99), 1),
        "ttft_p50_ms": round(percentile(ttfts, 50), 1),
        "ttft_p95_ms": round(percentile(ttfts, 95), 1),
        "last_seen": max(seen, default=None),
        "window_s": int(_WINDOW_S),
        "requests": total,
        "error_rate": _share(failed, total),
        "errors": {outcome: count for outcome, count in sorted(outcomes.items()) if outcome in UPSTREAM_FAILURES},
        **{f"ratio_{status}": _share(statuses[status], total) for status in (401, 403, 429)},
    }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
