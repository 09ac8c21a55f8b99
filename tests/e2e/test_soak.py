"""Hours of use in little: streams, tools, clients that leave, faults, reloads; nothing grows, nothing becomes slower, no call is lost.

FKLLMPROXY_SOAK_SECS says how long, 120 if nothing is said; docs/benchmarks.md has what an hour came to. First the service is asked for
all that it and its callers can do together, then for a third of that all the time. It is handed over to itself before and after the part
that is measured, for what one process holds can only be followed as long as it is there.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

import uvloop

from fkproxy.storage.engines import SQLITE_CONNECTIONS
from fkproxy.telemetry.journal_files import journal_files
from tests.e2e.soak_house import Soak, soaked
from tests.e2e.soak_measures import Probe, Sample, fifths, growth_mb, quantile, slower

DURATION_S = float(os.environ.get("FKLLMPROXY_SOAK_SECS", "120"))
IS_LONG = DURATION_S >= 1000

CALLERS = 48
FIRST_CALLS, CAPACITY_CALLS = 300, 1500
REMEMBERED_CALLS = 5000
"""More than the service keeps in memory of the last calls (4,096, for `explain`): after so many it has all that it will ever keep."""
FIRST_HANDOVERS, FIRST_HANDOVER_EVERY_S = 3, 3.0
LAST_HANDOVERS, LAST_HANDOVER_EVERY_S = max(1, round(DURATION_S / 200)), 3.0
END_S = 8.0 * LAST_HANDOVERS
"""For what comes after the part that is measured."""
SAMPLE_EVERY_S = max(0.5, DURATION_S / 720)

MOST_GROWTH_MB = 8.0 if IS_LONG else 20.0
"""By slope, from the middle of the measured part to its end; in an hour it is some 50 bytes a call. Garbage in cycles is collected now and
then only, so memory goes up and down by that much: in two minutes once, in an hour so often that it does not make a slope."""
MOST_SLOWER = {0.5: 1.5, 0.99: 2.0} if IS_LONG else {}
"""By quantile. Two minutes beside other tests say nothing about time: neighbours come and go."""
MOST_LEFT_OUT = 0.1 if IS_LONG else 1.0
"""Of all calls, because the machine had no time for a third of what it can do."""
MORE_CONNECTIONS = SQLITE_CONNECTIONS - 1
"""To the database: a thread each, and two files."""
MORE_FILES = 4
"""Of the journal, or being written, at the moment of a look."""


def test_nothing_grows_nothing_becomes_slower_and_no_call_is_lost(tmp_path: Path) -> None:
    began_s = time.monotonic()
    with soaked(tmp_path) as soak:
        uvloop.run(story(soak, began_s))
        callers = soak.callers
        names = {f"soak-{number}" for number in range(callers.ids)} | {f"probe-{number}" for number in range(len(soak.probes))}
        logged, recorded = in_log(soak.running.log), in_store(soak.state) + waiting_for_store(soak.state)
        noise = b"transport error" in soak.running.log.read_bytes()
    assert not noise, "each of those who left has an access line, and that is all"
    assert not [name for name, count in logged.items() if count > 1]
    # Whoever left before the service had read the whole of his request has not called.
    assert names - logged.keys() <= callers.left_early
    assert recorded == logged
    assert all(callers.verdicts[verdict] for verdict in ("ok", "told", "broken", "left")), callers.verdicts
    assert callers.verdicts["ok"] > callers.ids / 2
    assert callers.verdicts["left out"] <= callers.ids * MOST_LEFT_OUT


async def story(soak: Soak, began_s: float) -> None:
    await soak.callers.storm(CALLERS, FIRST_CALLS)
    capacity = await soak.callers.storm(CALLERS, CAPACITY_CALLS)
    rate = capacity / 3
    async with soak.load(rate):
        await soak.hand_over(FIRST_HANDOVERS, FIRST_HANDOVER_EVERY_S)
    await soak.callers.storm(CALLERS, REMEMBERED_CALLS)
    before = await soak.quiet(lambda _: True)
    first = soak.callers.ids
    await soak.measure(rate, max(DURATION_S / 2, DURATION_S - END_S - (time.monotonic() - began_s)), SAMPLE_EVERY_S)
    calls = soak.callers.ids - first
    tell(soak, f"a third of {capacity:.0f} calls a second: {calls} calls", [before, *thinned(soak.samples)])
    after = await soak.quiet(lambda found: holds_no_more(found, before))
    print(f"at rest: {after}", flush=True)
    async with soak.load(rate):
        await soak.hand_over(LAST_HANDOVERS, LAST_HANDOVER_EVERY_S)
    last = await soak.quiet(lambda found: holds_no_more(found, before))
    print(f"after the last handover: {last}")

    assert {each.main_pid for each in soak.samples} == {before.main_pid, after.main_pid} == {before.main_pid}
    assert not after.lines_dropped
    for process in ("main", "worker"):
        assert growth_mb(soak.samples, process) < MOST_GROWTH_MB
    for share, most in MOST_SLOWER.items():
        assert slower(soak.probes, share) < most


def holds_no_more(found: Sample, before: Sample) -> bool:
    """Descriptors, threads and files are as many as before, or fewer, but for what the store opens when it needs it first."""
    return found.state_files <= before.state_files + MORE_FILES and all(
        now.descriptors <= then.descriptors
        and now.store_descriptors <= then.store_descriptors + 2 * MORE_CONNECTIONS
        and now.threads <= then.threads + MORE_CONNECTIONS
        for now, then in ((found.main, before.main), (found.worker, before.worker))
    )


def thinned(samples: Sequence[Sample], rows: int = 12) -> Sequence[Sample]:
    return samples[:: max(1, len(samples) // rows)]


def tell(soak: Soak, what: str, rows: Sequence[Sample]) -> None:
    """The figures."""
    callers = soak.callers
    print(
        f"\n{what}; all in all {callers.ids}, slowest {callers.slowest_s:.1f} s: {dict(callers.verdicts)}, {len(callers.left_early)} early"
    )
    print(f"refused or broken: {dict(callers.refusals)}")
    print(f"changes: {dict(soak.changes)}")
    print("     s  worker MB  PSS MB  main MB  descriptors  of the store  threads  files  waiting  under way")
    for row in rows:
        worker = row.worker
        memory = f"{worker.resident_mb:10.1f} {worker.proportional_mb:7.1f} {row.main.resident_mb:8.1f}"
        counts = f"{worker.descriptors:12} {worker.store_descriptors:13} {worker.threads:8}"
        print(f"{row.at_s - rows[0].at_s:6.0f} {memory} {counts} {row.state_files:6} {row.waiting_records:8} {row.in_flight:10}")
    print(f"growth in the second half: worker {growth_mb(soak.samples, 'worker'):+.2f} MB, main {growth_mb(soak.samples, 'main'):+.2f} MB")
    for name, part in zip(("first", "last"), fifths(soak.probes), strict=True):
        print(f"{name} fifth, {len(part)} probes, ms p50 / p99: {through_and_direct(part)}")
    print(f"slower by: {', '.join(f'p{share * 100:.0f} {slower(soak.probes, share):.2f}' for share in (0.5, 0.9, 0.99))}", flush=True)


def through_and_direct(part: Sequence[Probe]) -> str:
    through, direct = [probe.through_s for probe in part], [probe.direct_s for probe in part]
    of = [f"{quantile(values, 0.5) * 1000:.2f} / {quantile(values, 0.99) * 1000:.2f}" for values in (through, direct)]
    return f"{of[0]}, of the vendor itself {of[1]}"


# --- accounts

_NAME = re.compile(rb'"req_id": ?"((?:soak|probe)-\d+)"')


def in_log(log: Path) -> Counter[str]:
    """How often each call is in it."""
    found: Counter[str] = Counter()
    with log.open("rb") as lines:
        for line in lines:
            if b'"access"' in line and (name := _NAME.search(line)):
                found[name[1].decode()] += 1
    return found


def in_store(state: Path) -> Counter[str]:
    """How often each call is in it."""
    with closing(sqlite3.connect(f"file:{state / 'fkllmproxy.db'}?mode=ro", uri=True)) as connection:
        return ours(name for (name,) in connection.execute("SELECT request_id FROM calls"))


def waiting_for_store(state: Path) -> Counter[str]:
    """How often each call is in what the next process will find in the journal: after a handover the old one may have been the importer
    until it ended, and the other one has ended, too, before its turn came."""
    found: Counter[str] = Counter()
    with closing(sqlite3.connect(f"file:{state / 'fkllmproxy.db'}?mode=ro", uri=True)) as connection:
        positions = dict(connection.execute("SELECT file, read_bytes FROM journal_positions"))
    for file in journal_files(state / "journal"):
        found += ours(json.loads(line)[0] for line in file.read_bytes()[positions.get(file.name, 0) :].splitlines())
    return found


def ours(names: Iterable[str]) -> Counter[str]:
    return Counter(name for name in names if name.startswith(("soak-", "probe-")))
