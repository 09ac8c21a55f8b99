"""Counting calls: every record goes into one series, and every metric is a sum over series.

Floor 2. Pure.

A series is all calls that share their labels at the finest grain any metric needs. So a call costs one look-up and a few additions
in plain lists (the event loop is the only writer, there is nothing to lock), and the coarser views are summed when somebody looks.

Label values come from closed sets. What callers can choose is bounded here: a model's name becomes a label only after an upstream
answered for it, and only the first 200 of them; the names of lost fields lose their indices and are bounded too.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Callable
from functools import lru_cache
from math import ceil
from typing import Literal, NamedTuple, Protocol

from fkproxy.dialects.base import Operation
from fkproxy.model.errors import (
    ConcurrencyExceeded,
    KeyExpired,
    KeyPaused,
    KeyRevoked,
    PoolInactive,
    RateLimited,
    SpendBudgetExceeded,
    TokenBudgetExceeded,
)
from fkproxy.telemetry.record import CallRecord

__all__ = [
    "DURATION_BOUNDS_S",
    "NONE",
    "OVERHEAD_BOUNDS_S",
    "TOKEN_BOUNDS",
    "TOKEN_KINDS",
    "TTFT_BOUNDS_S",
    "Histogram",
    "Labels",
    "Outcome",
    "Series",
    "Settled",
    "Tally",
    "Uncounted",
    "outcome_of",
    "percentile",
]

Outcome = Literal["ok", "failed", "client_error", "limited", "client_ended"]

NONE = "none"
OTHER = "other"

_LOCAL_LIMITS = frozenset({RateLimited.code, ConcurrencyExceeded.code, TokenBudgetExceeded.code, SpendBudgetExceeded.code})
_ENDINGS = frozenset({KeyExpired.code, KeyPaused.code, KeyRevoked.code, PoolInactive.code})
_MAX_MODELS = 200
_MAX_LOSSES = 200
_COUNTED_TOGETHER = 64
_COUNTED_AFTER_S = 0.02
"""Where calls are few, few are counted together: the next call would have to wait for many."""
_RECENT = 1000
"""Calls that percentiles are taken over, the same number as in the system whose metric names we keep."""

# The first fourteen from 0.01 on are those of the OpenTelemetry convention, as are all of TOKEN_BOUNDS and TTFT_BOUNDS_S up to 10;
# the rest covers what never left the house and what models take minutes for. (semantic-conventions-genai, gen-ai-metrics.md,
# read 2026-11-21)
DURATION_BOUNDS_S = (
    *(0.001, 0.0025, 0.005),
    *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
    *(163.84, 327.68, 655.36),
)
TTFT_BOUNDS_S = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 40.0, 60.0, 120.0),
)
OVERHEAD_BOUNDS_S = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
TOKEN_BOUNDS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)

TOKEN_KINDS = ("input", "output", "cached_input", "cache_write", "reasoning")


class Settled(Protocol):
    """What the end of a call is judged by; see `CallRecord`."""

    @property
    def status(self) -> int: ...
    @property
    def error_code(self) -> str | None: ...
    @property
    def client_ended(self) -> bool: ...


def outcome_of(record: Settled) -> Outcome:
    """How a call ended, seen by the operator.

    `client_ended`: the client left first, whatever else happened. `limited`: our own 429 (rate, concurrency, budget), which is the gateway
    doing its work. `failed`: status 500 and above, an upstream's 429, or a reply that broke after its 200. `client_error`: any other
    4xx, the caller's own mistake, 401 and what an upstream rejected included, and a stream that ended because its key did. `ok`: the rest.
    Only `failed` counts against the success rate.
    """
    status = record.status
    if record.client_ended or status == 499:
        return "client_ended"
    if status >= 500:
        return "failed"
    if status == 429:
        return "limited" if record.error_code in _LOCAL_LIMITS else "failed"
    if status >= 400:
        return "client_error"
    if record.error_code in _ENDINGS:
        return "client_error"
    return "failed" if record.error_code else "ok"


class Labels(NamedTuple):
    """What the calls of one series have in common, as label values. `error_code` is "" where there was no error."""

    route: str
    dialect: str
    upstream_dialect: str
    provider_key: str
    model_id: str
    status: str
    error_code: str
    outcome: Outcome
    stream: bool
    auth: str
    operation: Operation


class Histogram:
    """Counts per bucket (not cumulative; the last one is above all bounds) and their sum. A value on a bound is below it.

    `observe` keeps a value until `settle`, which sorts many into their buckets with less work than one by one.
    """

    __slots__ = ("_observed", "bounds", "counts", "observe", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self._observed: list[float] = []
        self.observe: Callable[[float], None] = self._observed.append

    def settle(self) -> None:
        """Count what was observed."""
        observed, counts = self._observed, self.counts
        observed.sort()
        self.total += sum(observed)
        below = 0
        while below < len(observed):
            bucket = bisect_left(self.bounds, observed[below])
            end = bisect_right(observed, self.bounds[bucket], below) if bucket < len(self.bounds) else len(observed)
            counts[bucket] += end - below
            below = end
        observed.clear()

    def add(self, other: Histogram) -> None:
        """Everything the other one saw; both have the same bounds."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.total += other.total

    def cumulative(self, bounds: tuple[float, ...]) -> list[tuple[float, int]]:
        """(bound, values up to it) for `bounds`, which must be among the own ones, and for infinity."""
        seen, below = {}, 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            below += count
            seen[bound] = below
        return [(bound, seen[bound]) for bound in (*bounds, float("inf"))]


class Series:
    """The sums of calls with the same labels. `tokens` in the order of `TOKEN_KINDS`."""

    __slots__ = (
        "cost_unknown",
        "cost_usd",
        "count",
        "duration_s",
        "input_tokens",
        "labels",
        "output_tokens",
        "overhead_s",
        "tokens",
        "ttft_s",
        "usage_missing",
    )

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self.count = 0
        self.usage_missing = 0
        self.cost_usd = 0.0
        self.cost_unknown = 0
        self.duration_s = Histogram(DURATION_BOUNDS_S)
        self.overhead_s = Histogram(OVERHEAD_BOUNDS_S)
        self.ttft_s = Histogram(TTFT_BOUNDS_S)
        self.input_tokens = Histogram(TOKEN_BOUNDS)
        self.output_tokens = Histogram(TOKEN_BOUNDS)
        self.tokens = [0] * len(TOKEN_KINDS)

    def settle(self) -> None:
        """Bring the histograms up to date."""
        for histogram in (self.duration_s, self.overhead_s, self.ttft_s, self.input_tokens, self.output_tokens):
            histogram.settle()


class Tally:
    """All series, and the few things that are not sums over them.

    `durations_ms` and `ttfts_ms` are the last 1,000 of calls that were tried at an upstream: what is refused at the door takes
    microseconds, and a flood of it would hide how slow the rest is.
    """

    def __init__(self) -> None:
        self._series: dict[tuple[object, ...], Series] = {}
        self._models: set[str] = set()
        self.durations_ms: deque[float] = deque(maxlen=_RECENT)
        self.ttfts_ms: deque[float] = deque(maxlen=_RECENT)
        self.losses: Counter[tuple[str, str, str]] = Counter()
        self.waf_blocks = 0

    @property
    def series(self) -> list[Series]:
        found = list(self._series.values())
        for series in found:
            series.settle()
        return found

    def add(self, record: CallRecord) -> None:
        """Count one call."""
        upstream_status = record.upstream_status
        model = record.model_id
        if model is None:
            model = NONE
        elif model not in self._models:
            model = self._learn(record, model)
        key = (
            record.route,
            record.dialect,
            record.upstream_dialect,
            record.provider_key,
            model,
            record.status,
            record.error_code,
            record.client_ended,
            record.stream,
            record.auth,
            record.operation,
        )
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = Series(_labels(record, model))
        series.count += 1
        if series.count % _COUNTED_TOGETHER == 0:
            series.settle()
        duration_ms = record.duration_ms
        overhead_ms = duration_ms - record.upstream_ms - record.waited_ms
        series.duration_s.observe(duration_ms * 1e-3)
        series.overhead_s.observe(overhead_ms * 1e-3 if overhead_ms > 0.0 else 0.0)
        if record.provider_key is None:
            return
        self.durations_ms.append(duration_ms)
        ttft_ms = record.ttft_ms
        if ttft_ms is not None:
            self.ttfts_ms.append(ttft_ms)
            series.ttft_s.observe(ttft_ms * 1e-3)
        usage = record.usage
        if usage is not None:
            tokens = series.tokens
            if (count := usage.input_tokens) is not None:
                series.input_tokens.observe(count)
                tokens[0] += count
            if (count := usage.output_tokens) is not None:
                series.output_tokens.observe(count)
                tokens[1] += count
            tokens[2] += usage.cached_input_tokens or 0
            tokens[3] += usage.cache_write_tokens or 0
            tokens[4] += usage.reasoning_tokens or 0
            if record.cost_usd is not None:
                series.cost_usd += record.cost_usd
            else:
                series.cost_unknown += 1
        if (usage is None or record.notes) and series.labels.outcome == "ok" and record.usage_missing:
            series.usage_missing += 1
        if upstream_status == 403 or (len(record.tries) > 1 and any(attempt.status == 403 for attempt in record.tries)):
            self.waf_blocks += 1
        if record.losses:
            self._add_losses(record)

    def _learn(self, record: CallRecord, model: str) -> str:
        if record.provider_key is None or not 200 <= (record.upstream_status or record.status) < 300:
            return NONE
        if len(self._models) >= _MAX_MODELS or len(model) > 100:
            return OTHER
        self._models.add(model)
        return model

    def _add_losses(self, record: CallRecord) -> None:
        for field in record.losses:
            key = (record.dialect or NONE, record.upstream_dialect or NONE, _field_label(field))
            if key not in self.losses and len(self.losses) >= _MAX_LOSSES:
                key = (*key[:2], OTHER)
            self.losses[key] += 1


class Uncounted:
    """Records on their way to `count`: in a row, when there are enough of them or when somebody asks for what they add up to."""

    __slots__ = ("_count", "_records", "_until_s")

    def __init__(self, count: Callable[[CallRecord], None]) -> None:
        self._count = count
        self._records: list[CallRecord] = []
        self._until_s = 0.0

    def add(self, record: CallRecord) -> None:
        """Count it now or later."""
        records = self._records
        if not records:
            self._until_s = record.started_s + _COUNTED_AFTER_S
        records.append(record)
        if len(records) >= _COUNTED_TOGETHER or record.started_s >= self._until_s:
            self.settle()

    def settle(self) -> None:
        """Count all that wait."""
        records, self._records = self._records, []
        for record in records:
            self._count(record)


def _labels(record: CallRecord, model: str) -> Labels:
    return Labels(
        route=record.route,
        dialect=record.dialect or NONE,
        upstream_dialect=record.upstream_dialect or NONE,
        provider_key=record.provider_key or NONE,
        model_id=model,
        status=str(record.status),
        error_code=record.error_code or "",
        outcome=outcome_of(record),
        stream=record.stream,
        auth=record.auth,
        operation=record.operation,
    )


_INDEX = re.compile(r"\[\d+\]")
_FIELD = re.compile(r"[A-Za-z0-9_.$\[\]-]{1,64}")


@lru_cache(maxsize=1024)
def _field_label(field: str) -> str:
    """`messages[3].name` as `messages[].name`; "other" for what does not look like a field's name."""
    general = _INDEX.sub("[]", field)
    return general if _FIELD.fullmatch(general) else OTHER


def percentile(ascending: list[float], percent: int) -> float:
    """The nearest-rank percentile: element number ceil(n·p/100) of the sorted values; 0.0 when there are none."""
    return ascending[ceil(len(ascending) * percent / 100) - 1] if ascending else 0.0
