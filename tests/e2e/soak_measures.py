"""What a soak looks at from outside: processes by /proc, the service by its metrics, a probe's latency beside the vendor's own."""

from __future__ import annotations

import contextlib
import itertools
import re
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from tests.e2e.processes import KEY, ask
from tests.e2e.weather import worker_of

__all__ = ["Held", "Probe", "Sample", "fifths", "growth_mb", "held", "quantile", "sample", "slope", "slower"]

_METRIC = re.compile(r"^(fkproxy_\w+)(\{[^}]*\})? (\S+)$", re.MULTILINE)


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """By one process. `descriptors` are those that are no file of the store, `store_descriptors` the others."""

    resident_mb: float
    proportional_mb: float
    descriptors: int
    store_descriptors: int
    threads: int


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """Of one moment. `waiting_records` and `waiting_bytes`: of calls that are not in the store yet."""

    at_s: float
    main_pid: int
    main: Held
    worker: Held
    state_files: int
    waiting_records: int
    waiting_bytes: int
    in_flight: int
    busy_connections: int
    lines_dropped: int


class Probe(msgspec.Struct, frozen=True):
    """One call through the gateway, and the same at the vendor right after it, in seconds."""

    at_s: float
    through_s: float
    direct_s: float


def sample(url: str, state: Path) -> Sample:
    """Now. The service must answer."""
    main_pid = int(ask(f"{url}/health").json()["pid"])
    text = ask(f"{url}/metrics/prometheus", key=KEY).body.decode()
    metrics = {name + labels: float(value) for name, labels, value in _METRIC.findall(text)}
    return Sample(
        at_s=time.monotonic(),
        main_pid=main_pid,
        main=held(main_pid),
        worker=held(worker_of(main_pid)),
        state_files=sum(1 for _ in state.rglob("*")),
        waiting_records=int(metrics["fkproxy_journal_waiting_records"]),
        waiting_bytes=int(metrics["fkproxy_journal_waiting_bytes"]),
        in_flight=int(metrics["fkproxy_requests_in_flight"]),
        busy_connections=int(metrics['fkproxy_upstream_connections{state="busy"}']),
        lines_dropped=int(metrics["fkproxy_log_lines_dropped_total"]),
    )


def held(pid: int) -> Held:
    process = Path(f"/proc/{pid}")
    of_store = others = 0
    for each in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            is_store = "/state/" in str(each.readlink())
            of_store, others = of_store + is_store, others + (not is_store)
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    pages = dict(line.split(":", 1) for line in (process / "smaps_rollup").read_text().splitlines()[1:])
    return Held(
        resident_mb=int(status["VmRSS"].split()[0]) / 1024,
        proportional_mb=int(pages["Pss"].split()[0]) / 1024,
        descriptors=others,
        store_descriptors=of_store,
        threads=int(status["Threads"]),
    )


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Theil–Sen: the median of the slopes of all pairs of points; a third of the points may be wild and it stays where it is."""
    return statistics.median((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in itertools.combinations(points, 2) if x2 > x1)


def growth_mb(samples: Sequence[Sample], process: Literal["main", "worker"]) -> float:
    """Of what a process holds in memory, by the slope from the middle of the samples to their end."""
    points = [(each.at_s, getattr(each, process).resident_mb) for each in samples[len(samples) // 2 :]]
    return slope(points) * (points[-1][0] - points[0][0])


def quantile(values: Iterable[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def fifths(probes: Sequence[Probe]) -> tuple[Sequence[Probe], Sequence[Probe]]:
    """The first and the last."""
    count = len(probes) // 5
    return probes[:count], probes[-count:]


def slower(probes: Sequence[Probe], share: float) -> float:
    """How many times longer this quantile of the probes took in the last fifth than in the first, each in proportion to the vendor's own:
    a machine that has become slower says nothing about the gateway. 1.0: as long as before."""
    first, last = (
        quantile((probe.through_s for probe in part), share) / quantile((probe.direct_s for probe in part), share)
        for part in fifths(probes)
    )
    return last / first
