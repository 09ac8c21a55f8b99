"""The metrics: JSON for people and old scripts, Prometheus exposition for scrapers.

Floor 2. The only file with prometheus_client.

`tally.py` counts; this file says under which names the counts are shown, and holds what is counted outside of calls (attempts,
breaker changes, requests in flight). A metric over calls is one row of `families.py`.

A counter whose labels come from closed sets is shown from the start, with 0: one that appeared with 1 would, to `increase()` and
`rate()`, never have increased, and the first refused credential or the first bug of ours would raise no alert.

What counts. Every call that reached a dialect route, whatever its end: streams, refused keys, our own 429s, calls the client left.
`failed` is what `tally.outcome_of` calls failed: 5xx, an upstream's 429, or a reply that broke after its 200; the caller's own
mistakes count in the total and by status only. `success_rate` is a percentage of all calls and 100 before the first one, so that
an idle gateway raises no alert. Latencies are those of the last 1,000 calls that were tried at an upstream.

Three families of names:
- without prefix or labels: those of the system this gateway replaces, with the same meaning, for its runbooks and dashboards;
  `cache_*` is the cache of upstream credential tokens, `waf_*` are upstream 403s;
- `fkproxy_*`: ours, with labels;
- `gen_ai_*`: the OpenTelemetry conventions for generative AI in Prometheus form (dots become underscores, the unit `s` becomes
  `_seconds`, the unit `{token}` nothing): semantic-conventions-genai, docs/gen-ai/gen-ai-metrics.md, status Development, read
  2026-11-21. The operation is `CallRecord.operation`, the provider `provider_key`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from fkproxy.limits.breaker import STATES
from fkproxy.limits.standing import UPSTREAM_STATES
from fkproxy.telemetry.families import COUNTERS, FINISH_REASONS, HISTOGRAMS, UPSTREAM_CODES, Counted, Measured
from fkproxy.telemetry.record import CallRecord, upstream_key
from fkproxy.telemetry.tally import TOKEN_KINDS, Histogram, Series, Tally, Uncounted, percentile

__all__ = ["Metrics", "Sources", "StoreRow", "UpstreamRow"]


class UpstreamRow(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream as it is now. `refused`: its last word was that it does not take our credential. `quota`, `children`: name → number."""

    provider_key: str
    credential: str = ""
    breaker: str = "closed"
    state: str = "active"
    refused: bool = False
    in_flight: int = 0
    retry_after_s: float = 0.0
    quota: Mapping[str, float] = {}
    children: Mapping[str, float] = {}

    @property
    def key(self) -> str:
        """See `upstream_key`."""
        return upstream_key(self.provider_key, self.credential)


class StoreRow(msgspec.Struct, frozen=True, kw_only=True):
    """The store as it is now. `waiting_*`: records of calls that are not in it yet, in memory and on the disk; `dropped`: lost ones."""

    up: bool = False
    away_s: float = 0.0
    waiting_records: int = 0
    waiting_bytes: int = 0
    dropped: int = 0


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for at the moment somebody looks. All must be quick and must not raise.

    `credential_cache`: (hits, misses) so far. `upstream_connections`: connections by state (`idle`, `busy`). `upstreams`: one row each.
    `log_lines_dropped`: lines so far. `in_flight`: (calls, streams) under way; `streams_limit`: how many of the latter may be.
    `handovers_failed`: next versions that did not get ready. `store`: not up and never away where there is none.
    """

    credential_cache: Callable[[], tuple[int, int]] = lambda: (0, 0)
    upstream_connections: Callable[[], Mapping[str, int]] = dict
    upstreams: Callable[[], Sequence[UpstreamRow]] = tuple
    retry_budget_left: Callable[[], int] = lambda: 0
    log_lines_dropped: Callable[[], int] = lambda: 0
    in_flight: Callable[[], tuple[int, int]] = lambda: (0, 0)
    streams_limit: Callable[[], int] = lambda: 0
    handovers_failed: Callable[[], int] = lambda: 0
    store: Callable[[], StoreRow] = lambda: StoreRow()


_LEGACY: tuple[tuple[str, str, str], ...] = (
    ("cache_hits_total", "cache_hits", "Total number of cache hits"),
    ("cache_misses_total", "cache_misses", "Total number of cache misses"),
    ("cache_hit_rate", "cache_hit_rate", "Cache hit rate percentage"),
    ("waf_blocks_total", "waf_blocks", "Total number of upstream 403 replies"),
    ("waf_block_rate", "waf_block_rate", "Upstream 403 replies as a percentage of all requests"),
    ("requests_total", "total_requests", "Total number of requests"),
    ("requests_failed_total", "failed_requests", "Total number of failed requests"),
    ("request_success_rate", "success_rate", "Request success rate percentage"),
    ("request_latency_ms", "avg_latency_ms", "Average request latency in milliseconds"),
    ("request_latency_p50_ms", "p50_latency_ms", "Median request latency in milliseconds"),
    ("request_latency_p95_ms", "p95_latency_ms", "95th percentile request latency in milliseconds"),
    ("request_latency_p99_ms", "p99_latency_ms", "99th percentile request latency in milliseconds"),
)
"""(Prometheus name, key of the JSON, help), in the order of the system that had them first."""


_CHILDREN = (
    ("fkproxy_child_processes", "Child processes of the upstream.", "processes"),
    ("fkproxy_child_restarts_total", "Child processes that ended by themselves.", "restarts"),
    ("fkproxy_child_resident_bytes", "Memory of the upstream's child processes.", "resident_bytes"),
    ("fkproxy_child_waiting_turns", "Turns that wait for what the clients' tools give.", "waiting"),
)
"""Of upstreams that consist of processes: name, help, name in `UpstreamRow.children`."""

_QUOTAS = (
    ("quota_remaining", "What the vendor says is left, in its own unit."),
    ("quota_reset_seconds", "Seconds until the vendor's quota is full again."),
    ("quota_usage_percentage", "Share of the vendor's quota that is used."),
    ("quota_exhausted", "1 if the vendor's quota is used up."),
)
"""Of upstreams whose quota is asked for."""

DECISIONS = (
    "credential_renewed",
    "default_thinking",
    "fallback",
    "hedged",
    "retry_budget",
    "safety_valve",
    "takeover",
    "usage_estimated",
    "waited",
)
"""The notes that a call may carry; see `CallRecord.notes`."""

VERIFICATIONS = ("let_in", "refused", "slowed")
"""What a proxy hears that asks about a key."""

SKIP_REASONS = (
    *("busy", "circuit_open", "exhausted", "limited", "paused", "reauth_required"),
    *("requests_per_minute", "tokens_per_minute"),
)
"""Why an upstream is passed over; see `Upstream.obstacle`."""


class Metrics:
    """Everything this process counts. One event loop feeds it; nothing here waits or does I/O."""

    def __init__(
        self,
        version: str,
        sources: Sources | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._version = version
        self._sources = sources or Sources()
        self._clock = clock
        self._started_s = clock()
        self._tally = Tally()
        self._uncounted = Uncounted(self._count)
        self._attempts: Counter[tuple[str, ...]] = Counter()
        self._finishes: Counter[tuple[str, ...]] = Counter()
        self._transitions: Counter[tuple[str, ...]] = Counter()
        self._skipped: Counter[tuple[str, ...]] = Counter()
        self._decisions: Counter[str] = Counter()
        self._verifications: Counter[str] = Counter()
        self._refused_administrators = 0
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def observe(self, record: CallRecord) -> None:
        """Count one call, once, when it is over."""
        self._uncounted.add(record)

    def _count(self, record: CallRecord) -> None:
        self._tally.add(record)
        for attempt in record.tries:
            self._attempts[attempt.provider_key, attempt.outcome] += 1
        for skipped in record.skipped:
            self._skipped[skipped.provider_key, skipped.reason] += 1
        for note in record.notes:
            self._decisions[note.partition(":")[0]] += 1
        if record.provider_key is not None and record.finish_reason is not None:
            self._finishes[record.provider_key, record.finish_reason] += 1

    def count_breaker_transition(self, provider_key: str, to: str) -> None:
        """A breaker changed its state to `to`."""
        self._transitions[provider_key, to] += 1

    def count_verification(self, outcome: str) -> None:
        """A proxy asked about a key; `outcome` is one of `VERIFICATIONS`."""
        self._verifications[outcome] += 1

    def count_refused_administrator(self) -> None:
        """Somebody came to an administrator's door without the key to it."""
        self._refused_administrators += 1

    def json(self) -> dict[str, Any]:
        """What `/metrics` shows. Rates in percent, latencies in milliseconds."""
        self._uncounted.settle()
        hits, misses = self._sources.credential_cache()
        requests_in_flight, streams_open = self._sources.in_flight()
        durations, ttfts = sorted(self._tally.durations_ms), sorted(self._tally.ttfts_ms)
        outcomes, statuses, errors, streams = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
        providers: dict[str, Counter[str]] = {}
        tokens = dict.fromkeys(TOKEN_KINDS, 0)
        every = self._tally.series
        for series in every:
            labels, count = series.labels, series.count
            outcomes[labels.outcome] += count
            statuses[labels.status] += count
            if labels.error_code:
                errors[labels.error_code] += count
            if labels.stream:
                streams[labels.outcome] += count
            for kind, amount in zip(TOKEN_KINDS, series.tokens, strict=True):
                tokens[kind] += amount
            if labels.provider_key != "none":
                providers.setdefault(labels.provider_key, Counter()).update(
                    total_requests=count,
                    failed_requests=count if labels.outcome == "failed" else 0,
                    input_tokens=series.tokens[0],
                    output_tokens=series.tokens[1],
                )
        total, failed = outcomes.total(), outcomes["failed"]
        return {
            "total_requests": total,
            "failed_requests": failed,
            "success_rate": _percent(total - failed, total, 100.0),
            "avg_latency_ms": round(sum(durations) / len(durations), 3) if durations else 0.0,
            **{f"p{percent}_latency_ms": round(percentile(durations, percent), 3) for percent in (50, 95, 99)},
            **{f"p{percent}_ttft_ms": round(percentile(ttfts, percent), 3) for percent in (50, 95, 99)},
            "cache_hits": hits,
            "cache_misses": misses,
            "cache_hit_rate": _percent(hits, hits + misses, 0.0),
            "waf_blocks": self._tally.waf_blocks,
            "waf_block_rate": _percent(self._tally.waf_blocks, total, 0.0),
            "streams_total": streams.total(),
            "streams_failed": streams["failed"],
            "streams_open": streams_open,
            "requests_in_flight": requests_in_flight,
            "client_disconnects": outcomes["client_ended"],
            "rate_limited": outcomes["limited"],
            "client_errors": outcomes["client_error"],
            "tokens": tokens,
            "cost_usd": round(sum(series.cost_usd for series in every), 6),
            "providers": {key: dict(counts) for key, counts in sorted(providers.items())},
            "statuses": dict(sorted(statuses.items())),
            "errors": dict(sorted(errors.items())),
            "breakers": {row.key: row.breaker for row in sorted(self._sources.upstreams(), key=lambda row: row.key)},
            "uptime_seconds": round(self._clock() - self._started_s, 3),
            "version": self._version,
        }

    def prometheus(self) -> tuple[bytes, str]:
        """(body, content type) for a scrape, in the text format: of what only OpenMetrics can say there is nothing here."""
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4

    def collect(self) -> Iterator[Metric]:
        """The families, for prometheus_client's encoders."""
        self._uncounted.settle()
        yield from self._legacy()
        yield from self._counters()
        yield from self._histograms()
        yield from self._beside_calls()
        yield from self._gauges()

    def _legacy(self) -> Iterator[Metric]:
        values = self.json()
        for name, key, text in _LEGACY:
            if name.endswith("_total"):
                yield CounterMetricFamily(name, text, values[key])
            else:
                yield GaugeMetricFamily(name, text, round(values[key], 2))

    def _beside_calls(self) -> Iterator[Metric]:
        """What is counted, but is no sum over calls."""
        sources = self._sources
        providers = self._providers()

        def by_provider(name: str, text: str, label: str, values: Iterable[str], counts: Mapping[Any, int]) -> Metric:
            zeros = {(provider, value): 0 for provider in providers for value in values}
            return _counter(name, text, ("provider_key", label), {**zeros, **counts})

        yield by_provider("fkproxy_attempts_total", "Tries at upstreams.", "outcome", ("ok", *UPSTREAM_CODES), self._attempts)
        yield by_provider("fkproxy_finishes_total", "Replies by why the model stopped.", "reason", FINISH_REASONS, self._finishes)
        yield by_provider("fkproxy_breaker_transitions_total", "Changes of a breaker's state.", "to", STATES, self._transitions)
        yield by_provider("fkproxy_skipped_total", "Upstreams that a call passed over.", "reason", SKIP_REASONS, self._skipped)

        def by_word(name: str, text: str, label: str, words: Iterable[str], counts: Counter[str]) -> Metric:
            return _counter(name, text, (label,), {(word,): counts[word] for word in words})

        yield by_word("fkproxy_decisions_total", "Calls that did not go the usual way.", "decision", DECISIONS, self._decisions)
        yield by_word("fkproxy_verifications_total", "Keys that a proxy asked about.", "outcome", VERIFICATIONS, self._verifications)
        yield _counter(
            "fkproxy_losses_total",
            "Request fields that the upstream's dialect cannot carry.",
            ("dialect", "upstream_dialect", "field"),
            self._tally.losses,
        )
        refused = sum(series.count for series in self._tally.series if series.labels.auth == "refused")
        told = "Calls without a valid key, and requests at an administrator's door."
        yield CounterMetricFamily("fkproxy_refused_keys_total", told, refused + self._refused_administrators)
        dropped, failed = sources.log_lines_dropped(), sources.handovers_failed()
        yield CounterMetricFamily("fkproxy_log_lines_dropped_total", "Log lines that nobody read or that could not be written.", dropped)
        yield CounterMetricFamily("fkproxy_handovers_failed_total", "Next versions that did not get ready; this one went on.", failed)

    def _providers(self) -> list[str]:
        return list(dict.fromkeys(row.provider_key for row in self._sources.upstreams()))

    def _counters(self) -> Iterator[Metric]:
        families: dict[str, CounterMetricFamily] = {}
        every = self._tally.series
        providers = self._providers()
        for row in COUNTERS:
            family = families.setdefault(row.name, CounterMetricFamily(row.name, row.help, labels=(*row.labels, *row.constants)))
            sums: dict[tuple[str, ...], float] = {}
            sums.update(dict.fromkeys(row.zeros(providers) if row.labels else [()], 0))
            for series in every:
                if amount := row.value(series):
                    values = _values(row, series)
                    sums[values] = sums.get(values, 0) + amount
            for values, amount in sums.items():
                family.add_metric(values, amount)
        yield from families.values()

    def _histograms(self) -> Iterator[Metric]:
        families: dict[str, HistogramMetricFamily] = {}
        every = self._tally.series
        for row in HISTOGRAMS:
            family = families.setdefault(row.name, HistogramMetricFamily(row.name, row.help, labels=(*row.labels, *row.constants)))
            sums: dict[tuple[str, ...], Histogram] = {}
            for series in every:
                part = row.value(series)
                if part is not None and any(part.counts):
                    sums.setdefault(_values(row, series), Histogram(part.bounds)).add(part)
            for values, whole in sums.items():
                family.add_metric(values, [(_bound(bound), count) for bound, count in whole.cumulative(row.bounds)], whole.total)
        yield from families.values()

    def _upstreams(self) -> Iterator[Metric]:
        rows = self._sources.upstreams()
        labels = ("provider_key", "credential")

        def gauge(name: str, text: str, value: Callable[[UpstreamRow], float]) -> Metric:
            family = GaugeMetricFamily(name, text, labels=labels)
            for row in rows:
                family.add_metric((row.provider_key, row.credential), value(row))
            return family

        def states(name: str, text: str, among: Iterable[str], value: Callable[[UpstreamRow], str]) -> Metric:
            family = GaugeMetricFamily(name, text, labels=(*labels, "state"))
            for row in rows:
                for each in among:
                    family.add_metric((row.provider_key, row.credential, each), float(each == value(row)))
            return family

        yield gauge("fkproxy_credential_refused", "1 if the upstream does not take our credential.", lambda row: float(row.refused))
        yield gauge("fkproxy_upstream_in_flight", "Calls at the upstream.", lambda row: row.in_flight)
        yield gauge(
            "fkproxy_upstream_retry_after_seconds", "Until the upstream may be asked again; 0 if it may now.", lambda row: row.retry_after_s
        )
        yield states("fkproxy_breaker_state", "1 for the state a breaker is in.", STATES, lambda row: row.breaker)
        yield states("fkproxy_upstream_state", "1 for the state an upstream is in.", UPSTREAM_STATES, lambda row: row.state)
        for name, text in _QUOTAS:
            family = GaugeMetricFamily(f"fkproxy_{name}", text, labels=labels)
            for row in rows:
                if name in row.quota:
                    family.add_metric((row.provider_key, row.credential), row.quota[name])
            yield family
        yield from self._children([row for row in rows if row.children])

    def _children(self, rows: Sequence[UpstreamRow]) -> Iterator[Metric]:
        """Of upstreams that consist of processes."""
        labels = ("provider_key", "credential")
        for name, text, field in _CHILDREN:
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            family = kind(name, text, labels=labels)
            for row in rows:
                family.add_metric((row.provider_key, row.credential), row.children[field])
            yield family

    def _store(self) -> Iterator[Metric]:
        row = self._sources.store()
        yield GaugeMetricFamily("fkproxy_store_up", "1 if the store can be used.", float(row.up))
        yield GaugeMetricFamily("fkproxy_store_away_seconds", "How long it could not be used; 0 while it can.", row.away_s)
        yield GaugeMetricFamily("fkproxy_journal_waiting_records", "Records of calls in memory, not yet on the disk.", row.waiting_records)
        yield GaugeMetricFamily("fkproxy_journal_waiting_bytes", "Records of calls on the disk.", row.waiting_bytes)
        yield CounterMetricFamily("fkproxy_journal_dropped_total", "Records of calls lost because nothing could hold them.", row.dropped)

    def _gauges(self) -> Iterator[Metric]:
        requests_in_flight, streams_open = self._sources.in_flight()
        yield GaugeMetricFamily("fkproxy_requests_in_flight", "Calls under way.", requests_in_flight)
        yield GaugeMetricFamily("fkproxy_streams_open", "Streams under way.", streams_open)
        yield GaugeMetricFamily("fkproxy_streams_limit", "Streams that may be under way.", self._sources.streams_limit())
        yield GaugeMetricFamily("fkproxy_retry_budget_left", "Further attempts that may still be made.", self._sources.retry_budget_left())
        yield from self._upstreams()
        yield from self._store()
        connections = GaugeMetricFamily("fkproxy_upstream_connections", "Connections to upstreams.", labels=("state",))
        for state, count in self._sources.upstream_connections().items():
            connections.add_metric((state,), count)
        yield connections
        build = GaugeMetricFamily("fkproxy_build_info", "What is running; always 1.", labels=("version",))
        build.add_metric((self._version,), 1.0)
        yield build


def _percent(part: int, whole: int, of_nothing: float) -> float:
    return round(part / whole * 100, 4) if whole else of_nothing


def _values(row: Counted | Measured, series: Series) -> tuple[str, ...]:
    return (*(getattr(series.labels, field) for field in row.labels.values()), *row.constants.values())


def _bound(bound: float) -> str:
    return "+Inf" if bound == float("inf") else repr(float(bound))


def _counter(name: str, text: str, labels: tuple[str, ...], counts: Mapping[Any, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in counts.items():
        family.add_metric(values, count)
    return family
