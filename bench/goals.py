"""What the figures are to be: one table. Pure.

A round's values are compared with each other before anything is averaged: machines drift by a quarter from minute to minute, and the
ratios within a round do not.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["GOALS", "Goal", "Measured", "Value", "Verdict", "evaluate"]

Measured = Mapping[str, Mapping[str, Sequence[float]]]
"""Subject → figure → its values, one for each round."""

Verdict = Literal["met", "missed", "not measured"]

FLAT = 1.15
"""What is called flat: less than what this kind of measurement can tell from noise."""
LINEAR = 1.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """Median and range over the rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Value:
        return cls(median=statistics.median(values), least=min(values), most=max(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A figure and its bound. `values`: one for each round, none when it was not measured."""

    name: str
    unit: str
    values: Callable[[Measured], Sequence[float]]
    at_least: float | None = None
    at_most: float | None = None

    @property
    def bound(self) -> str:
        """For readers."""
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"

    def verdict(self, value: Value | None) -> Verdict:
        """By the median."""
        if value is None:
            return "not measured"
        good = value.median >= self.at_least if self.at_least is not None else value.median <= (self.at_most or 0.0)
        return "met" if good else "missed"


def plain(subject: str, figure: str) -> Callable[[Measured], Sequence[float]]:
    """As it was measured."""
    return lambda measured: measured.get(subject, {}).get(figure, ())


def combined(
    subject: str, other: str, figure: str, combine: Callable[[float, float], float], of_other: str | None = None
) -> Callable[[Measured], Sequence[float]]:
    """Two subjects' values of one round. `of_other`: the other's figure, where it has another name."""

    def values(measured: Measured) -> Sequence[float]:
        pairs = zip(plain(subject, figure)(measured), plain(other, of_other or figure)(measured), strict=False)
        return [combine(one, two) for one, two in pairs]

    return values


def ratio(subject: str, other: str, figure: str) -> Callable[[Measured], Sequence[float]]:
    """How many times the other's."""
    return combined(subject, other, figure, lambda one, two: one / two)


def added(subject: str, other: str, figure: str) -> Callable[[Measured], Sequence[float]]:
    """What comes on top of the other's."""
    return combined(subject, other, figure, lambda one, two: one - two)


def bend(subject: str) -> Callable[[Measured], Sequence[float]]:
    """What a further KB costs between 200 and 800 KB, to what it costs between 50 and 200 KB: 1 is a straight line."""

    def values(measured: Measured) -> Sequence[float]:
        sizes = [plain(subject, f"cpu_ms_per_{size}_kb_prompt")(measured) for size in (50, 200, 800)]
        return [((large - middle) / 600) / ((middle - little) / 150) for little, middle, large in zip(*sizes, strict=False)]

    return values


def _growth(subject: str) -> Callable[[Measured], Sequence[float]]:
    return ratio(subject, "growth, base", "cpu_us_per_recorded_request")


GOALS: tuple[Goal, ...] = (
    Goal(name="same dialect, 1 KB, saturated", unit="× nginx", at_least=0.15, values=ratio("same dialect", "nginx", "requests_per_s")),
    Goal(
        name="same dialect, 1 KB, saturated, to LiteLLM",
        unit="× LiteLLM",
        at_least=80,
        values=ratio("same dialect", "LiteLLM", "requests_per_s"),
    ),
    Goal(
        name="same dialect, 1 KB, saturated, to Portkey",
        unit="× Portkey",
        at_least=15,
        values=ratio("same dialect", "Portkey", "requests_per_s"),
    ),
    Goal(name="other dialect, 1 KB, saturated", unit="× nginx", at_least=0.08, values=ratio("other dialect", "nginx", "requests_per_s")),
    Goal(
        name="CPU for a streamed event, same dialect", unit="× nginx", at_most=2, values=ratio("same dialect", "nginx", "cpu_us_per_event")
    ),
    Goal(
        name="CPU for a streamed event, other dialect",
        unit="× nginx",
        at_most=4,
        values=ratio("other dialect", "nginx", "cpu_us_per_event"),
    ),
    Goal(name="added latency at 200 req/s, p50", unit="ms", at_most=0.35, values=added("same dialect", "direct", "p50_ms")),
    Goal(name="added latency at 200 req/s, p99", unit="ms", at_most=1, values=added("same dialect", "direct", "p99_ms")),
    Goal(name="the same p99, beyond nginx's", unit="ms", at_most=0, values=added("same dialect", "nginx", "p99_ms")),
    Goal(
        name="added time to first token, 256 live streams, p99",
        unit="ms",
        at_most=3,
        values=added("same dialect", "direct", "first_byte_p99_ms"),
    ),
    Goal(
        name="added time to first token, other dialect", unit="ms", at_most=3, values=added("other dialect", "direct", "first_byte_p99_ms")
    ),
    Goal(
        name="200 KB prompt, 60 messages, 20 tools, same dialect",
        unit="ms of CPU",
        at_most=1,
        values=plain("same dialect", "cpu_ms_per_200_kb_prompt"),
    ),
    Goal(name="200 KB prompt, other dialect", unit="ms of CPU", at_most=8, values=plain("other dialect", "cpu_ms_per_200_kb_prompt")),
    Goal(name="start to ready, warm", unit="s", at_most=0.6, values=plain("fresh", "start_s")),
    Goal(name="memory, idle", unit="MB", at_most=100, values=plain("fresh", "idle_mb")),
    Goal(name="memory for an open stream, same dialect", unit="KB", at_most=24, values=plain("fresh", "kb_per_open_stream")),
    Goal(
        name="memory for an open stream, other dialect", unit="KB", at_most=24, values=plain("fresh, other dialect", "kb_per_open_stream")
    ),
    Goal(name="CPU of a call, 1,000 keys to 1", unit="×", at_most=FLAT, values=_growth("growth, keys")),
    Goal(name="CPU of a call, 200 upstreams to 1, one serves it", unit="×", at_most=FLAT, values=_growth("growth, one of the upstreams")),
    Goal(name="CPU of a call, 200 upstreams to 1, all serve it", unit="×", at_most=FLAT, values=_growth("growth, all upstreams")),
    Goal(name="CPU of a call, full log to empty", unit="×", at_most=FLAT, values=_growth("growth, rows")),
    Goal(name="CPU of a further KB, large prompts to small, same dialect", unit="×", at_most=LINEAR, values=bend("same dialect")),
    Goal(name="CPU of a further KB, other dialect", unit="×", at_most=LINEAR, values=bend("other dialect")),
)


def evaluate(goal: Goal, measured: Measured) -> Value | None:
    """None when it was not measured."""
    values = goal.values(measured)
    return Value.of(values) if values else None
