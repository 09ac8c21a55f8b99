"""What is done to a subject, and which figures come of it. Each phase gives figures by name, the unit in the name."""

from __future__ import annotations

import statistics
import time

from bench import prompts
from bench.subjects import Failed, Subject, busy_cpu_s
from bench.tools import Load, Tools

__all__ = ["GROWTH_CALLS", "LIVE_STREAMS", "PLAIN", "PROMPT_SIZES_BYTES", "Figures", "Phases"]

Figures = dict[str, float]

PLAIN = "m-64-0"
"""A model of the upstream: 64 events without a pause between them; an answer of 1 KB where it is not streamed."""
EVENTS, PACE_US, LIVE_STREAMS = 64, 40_000, 256
STREAM_S = EVENTS * PACE_US / 1e6
OPEN_FOR_LONG = "m-3-60000000"
PROMPT_SIZES_BYTES = (50_000, 200_000, 800_000)
PROMPT_CONNECTIONS = 8
GROWTH_CALLS, GROWTH_S = 10_000, 180.0
STARTS = 5
FULL_CONNECTIONS, WARM_CALLS, WARM_STREAMS = 64, 1000, 64
HANDFUL = 20
SETTLE_S = 2.0


class Phases:
    """Each phase lasts `seconds`, and as long again as it needs to get going."""

    def __init__(self, tools: Tools, seconds: float) -> None:
        self.others_cpu_s = self.all_s = 0.0
        """What others took of the processor, and in how long a time."""
        self._tools = tools
        self._seconds = seconds

    def warm(self, subject: Subject, *, streams: bool = True) -> None:
        """What is done once only is done after this."""
        share = subject.connections / FULL_CONNECTIONS  # slow ones have few
        called = [(self.probe(subject), WARM_CALLS)]
        if streams:
            called.append((prompts.small(subject.model + PLAIN, stream=True), WARM_STREAMS))
        for body, calls in called:
            self._tools.load(subject, Load(body=body, connections=subject.connections, seconds=30, calls=round(calls * share)))

    def saturated(self, subject: Subject) -> Figures:
        """As many small calls as it can answer, not streamed."""
        load = Load(body=self.probe(subject), connections=subject.connections, seconds=self._seconds + 1, warm_s=1.0)
        done, cpu_s = self._loaded(subject, load)
        return {"requests_per_s": done["rps"], **_own(subject, cpu_us_per_request=cpu_s / done["all"] * 1e6)}

    def calm(self, subject: Subject) -> Figures:
        """Small calls at a fixed rate: how long they take."""
        load = Load(
            body=self.probe(subject),
            connections=subject.connections,
            seconds=self._seconds + 0.5,
            warm_s=0.5,
            rate_per_s=subject.rate_per_s,
        )
        done, _ = self._loaded(subject, load)
        return {"p50_ms": done["p50"] / 1000, "p99_ms": done["p99"] / 1000}

    def streams(self, subject: Subject) -> Figures:
        """New streams at a fixed rate beside `LIVE_STREAMS` that are under way: their first byte, and what an event costs."""
        load = Load(
            body=prompts.small(f"{subject.model}m-{EVENTS}-{PACE_US}", stream=True),
            connections=3 * LIVE_STREAMS,
            seconds=STREAM_S + self._seconds,
            warm_s=STREAM_S,
            rate_per_s=LIVE_STREAMS / STREAM_S,
        )
        done, cpu_s = self._loaded(subject, load)
        if done["all_events"] < done["all"] * EVENTS:
            raise Failed(f"{subject.name}: {done['all']:.0f} streams had {done['all_events']:.0f} events only")
        return {
            "first_byte_p50_ms": done["ttfb50"] / 1000,
            "first_byte_p99_ms": done["ttfb99"] / 1000,
            **_own(subject, cpu_us_per_event=cpu_s / done["all_events"] * 1e6),
        }

    def prompt(self, subject: Subject, size_bytes: int) -> Figures:
        """What a call with a prompt of that size costs."""
        body = prompts.conversation(subject.model + PLAIN, size_bytes)
        self._tools.load(subject, Load(body=body, connections=PROMPT_CONNECTIONS, seconds=10, calls=2 * PROMPT_CONNECTIONS))
        done, cpu_s = self._loaded(subject, Load(body=body, connections=PROMPT_CONNECTIONS, seconds=self._seconds))
        return {f"cpu_ms_per_{size_bytes // 1000}_kb_prompt": cpu_s / done["all"] * 1e3}

    def calls(self, subject: Subject, model: str = PLAIN) -> None:
        """`GROWTH_CALLS` small calls, as fast as they are answered."""
        body = prompts.small(subject.model + model)
        done = self._tools.load(subject, Load(body=body, connections=subject.connections, seconds=GROWTH_S, calls=GROWTH_CALLS))
        if done["all"] < GROWTH_CALLS:
            raise Failed(f"{subject.name} answered {done['all']:.0f} calls only in {GROWTH_S:g} s")

    def starts(self, subject: Subject) -> Figures:
        """How long it takes to be ready when its file was unpacked before. It is up at the end."""
        times_s = []
        for _ in range(STARTS):
            subject.stop()
            times_s.append(subject.start(self.probe(subject)))
        return {"start_s": statistics.median(times_s), "slowest_start_s": max(times_s)}

    def memory(self, subject: Subject, streams: int) -> Figures:
        """Of one that has just started: idle after a handful of calls, and for each open stream."""
        self._tools.load(subject, Load(body=self.probe(subject), connections=2, seconds=10, calls=HANDFUL))
        time.sleep(SETTLE_S)
        idle = subject.memory()
        with self._tools.holding(subject, prompts.small(subject.model + OPEN_FOR_LONG, stream=True), streams):
            time.sleep(SETTLE_S + streams / 500)
            held = subject.memory()
        return {
            "idle_mb": idle.proportional_mb,
            "largest_process_mb": idle.resident_mb[0],
            "processes": float(len(idle.resident_mb)),
            "kb_per_open_stream": (held.proportional_mb - idle.proportional_mb) * 1024 / streams,
        }

    def probe(self, subject: Subject) -> bytes:
        """A small call."""
        return prompts.small(subject.model + PLAIN)

    def _loaded(self, subject: Subject, load: Load) -> tuple[Figures, float]:
        before_s, busy_s, began_s = subject.cpu_s(), busy_cpu_s(), time.monotonic()
        done = self._tools.load(subject, load)
        cpu_s = subject.cpu_s() - before_s
        if subject.command is not None:
            self.others_cpu_s += max(0.0, busy_cpu_s() - busy_s - cpu_s)
            self.all_s += time.monotonic() - began_s
        return done, cpu_s


def _own(subject: Subject, **figures: float) -> Figures:
    """Nothing for the upstream, whose processor time is that of the tools."""
    return figures if subject.command is not None else {}
