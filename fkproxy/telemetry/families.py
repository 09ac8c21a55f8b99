"""Which metrics are sums over calls: their names, labels, and what a series of calls adds to each.

Floor 2. Pure. One row is one metric; `metrics.py` shows them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, get_args

from fkproxy.model.errors import FallbackExhausted, FkproxyError, InternalError, UpstreamError, UpstreamRejected
from fkproxy.model.events import FinishReason
from fkproxy.telemetry.tally import (
    DURATION_BOUNDS_S,
    NONE,
    OVERHEAD_BOUNDS_S,
    TOKEN_BOUNDS,
    TOKEN_KINDS,
    TTFT_BOUNDS_S,
    Histogram,
    Series,
)

__all__ = ["COUNTERS", "FINISH_REASONS", "HISTOGRAMS", "UPSTREAM_CODES", "UPSTREAM_FAILURES", "Counted", "Measured"]

_GEN_AI_DURATION_BOUNDS_S = tuple(bound for bound in DURATION_BOUNDS_S if 0.01 <= bound <= 81.92)
_GEN_AI_TTFT_BOUNDS_S = tuple(bound for bound in TTFT_BOUNDS_S if bound <= 10.0)


def _codes(kind: type[FkproxyError]) -> set[str]:
    """The codes of an error and of everything below it."""
    return {kind.code}.union(*map(_codes, kind.__subclasses__()))


UPSTREAM_CODES = sorted(_codes(UpstreamError))
UPSTREAM_FAILURES = frozenset(UPSTREAM_CODES) - _codes(UpstreamRejected) - {FallbackExhausted.code}
"""Outcomes of tries that are the upstream's failure: neither the client's mistake, nor the end of its stay or of its key's."""
_OWN_CODES = sorted(_codes(FkproxyError) - _codes(UpstreamError))
FINISH_REASONS: tuple[str, ...] = get_args(FinishReason)


class Counted(NamedTuple):
    """A counter over calls. `labels`: label name → field of `Labels`; `value`: what one series adds, 0 for nothing.

    `zeros`: from the provider_keys there are, the label values that are shown before anything was counted.
    """

    name: str
    help: str
    labels: Mapping[str, str]
    value: Callable[[Series], float]
    constants: Mapping[str, str] = {}
    zeros: Callable[[Iterable[str]], Iterable[tuple[str, ...]]] = lambda _: ()


class Measured(NamedTuple):
    """A histogram over calls. `value`: the series' part of it, None for none; `bounds` may leave some of its bounds out."""

    name: str
    help: str
    labels: Mapping[str, str]
    value: Callable[[Series], Histogram | None]
    bounds: tuple[float, ...]
    constants: Mapping[str, str] = {}


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


def _tokens(kind: int) -> Callable[[Series], int]:
    return lambda series: series.tokens[kind]


def _each_error(providers: Iterable[str]) -> Iterator[tuple[str, str]]:
    yield from ((code, NONE) for code in _OWN_CODES)
    yield from ((code, provider) for provider in providers for code in (*UPSTREAM_CODES, InternalError.code))


def _when(outcome: str) -> Callable[[Series], int]:
    return lambda series: series.count if series.labels.outcome == outcome else 0


_GEN_AI = {"gen_ai_provider_name": "provider_key", "gen_ai_request_model": "model_id", "gen_ai_operation_name": "operation"}

COUNTERS: tuple[Counted, ...] = (
    Counted(
        "fkproxy_requests_total",
        "Calls by what they were and how they ended.",
        _same("route", "dialect", "provider_key", "model_id", "status", "outcome"),
        lambda series: series.count,
    ),
    Counted(
        "fkproxy_errors_total",
        "Calls that ended with an error, by its code.",
        {"code": "error_code", **_same("provider_key")},
        lambda series: series.count if series.labels.error_code else 0,
        zeros=_each_error,
    ),
    Counted("fkproxy_rate_limited_total", "Calls refused by this gateway's own limits.", {}, _when("limited")),
    Counted("fkproxy_client_disconnects_total", "Calls the client left before their end.", {}, _when("client_ended")),
    *(
        Counted(
            "fkproxy_tokens_total",
            "Tokens as counted by upstreams, or estimated for a key's limits. input includes cached_input, output includes reasoning.",
            _same("provider_key", "model_id"),
            _tokens(index),
            {"kind": kind},
        )
        for index, kind in enumerate(TOKEN_KINDS)
    ),
    Counted(
        "fkproxy_usage_missing_total",
        "Complete replies in which the upstream did not say how many tokens it counted.",
        _same("provider_key"),
        lambda series: series.usage_missing,
        zeros=lambda providers: zip(providers),
    ),
    Counted(
        "fkproxy_cost_usd_total",
        "What calls cost, as far as it is known.",
        _same("provider_key", "model_id"),
        lambda series: series.cost_usd,
    ),
    Counted(
        "fkproxy_cost_unknown_total",
        "Calls with usage for which no price is known.",
        _same("provider_key"),
        lambda series: series.cost_unknown,
        zeros=lambda providers: zip(providers),
    ),
)

HISTOGRAMS: tuple[Measured, ...] = (
    Measured(
        "fkproxy_request_duration_seconds",
        "Whole calls, to the last byte.",
        _same("route", "provider_key", "outcome"),
        lambda series: series.duration_s,
        DURATION_BOUNDS_S,
    ),
    Measured(
        "fkproxy_time_to_first_token_seconds",
        "From a call's start to its first content, the upload of its body and waits included.",
        _same("route", "provider_key"),
        lambda series: series.ttft_s,
        TTFT_BOUNDS_S,
    ),
    Measured(
        "fkproxy_overhead_seconds",
        "The part of a call that was not spent waiting: for upstreams, for the client's body, for a turn.",
        _same("route"),
        lambda series: series.overhead_s,
        OVERHEAD_BOUNDS_S,
    ),
    Measured(
        "gen_ai_server_request_duration_seconds",
        "Generative AI server request duration, to the last byte.",
        {**_GEN_AI, "error_type": "error_code"},
        lambda series: series.duration_s if series.labels.provider_key != "none" else None,
        _GEN_AI_DURATION_BOUNDS_S,
    ),
    Measured(
        "gen_ai_server_time_to_first_token_seconds",
        "Time to the first token of successful responses.",
        _GEN_AI,
        lambda series: series.ttft_s if series.labels.outcome == "ok" else None,
        _GEN_AI_TTFT_BOUNDS_S,
    ),
    Measured(
        "gen_ai_client_token_usage",
        "Number of input and output tokens used.",
        _GEN_AI,
        lambda series: series.input_tokens,
        TOKEN_BOUNDS,
        {"gen_ai_token_type": "input"},
    ),
    Measured(
        "gen_ai_client_token_usage",
        "Number of input and output tokens used.",
        _GEN_AI,
        lambda series: series.output_tokens,
        TOKEN_BOUNDS,
        {"gen_ai_token_type": "output"},
    ),
)
