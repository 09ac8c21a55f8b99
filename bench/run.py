"""What the gateway costs, with every feature on, beside nginx as a plain proxy, in one interleaved run on loopback.

    python -m bench.run [--rounds 3] [--seconds 3] [--rows 1000000] [--parts speed prompts growth fresh] [--peers] [--write]

CPU 0 has the process under test, CPU 1 the upstream (`mock.c`) and the load generator (`load.c`). While one is measured the others
are stopped. Everything is measured once a round, what is compared directly after one another. Ends with 1 when an answer was an error,
and with `--strict` when a goal was missed. Needs gcc, nginx and two CPUs; docs/benchmarks.md says what each figure means.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench import gateways, peers, report
from bench.phases import GROWTH_CALLS, PLAIN, PROMPT_SIZES_BYTES, Figures, Phases
from bench.subjects import Failed, Subject
from bench.tools import Tools

ROOT = Path(__file__).resolve().parent.parent
COMMITTED = ROOT / "bench" / "result.json"
DOCUMENT = ROOT / "docs" / "benchmarks.md"
PARTS = ("speed", "prompts", "growth", "fresh")
KEYS, UPSTREAMS = 1000, 200
BUSY_PERCENT = 5


class Run:
    """One run: subjects, and their figures so far."""

    def __init__(self, options: argparse.Namespace, directory: Path) -> None:
        self.measured: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._options = options
        self._directory = directory
        self._tools = Tools(directory)
        self._gateways = gateways.Gateways(directory, options.binary.resolve(), self._tools.upstream_port)
        self._phases = Phases(self._tools, options.seconds)
        self._subjects: list[Subject] = []
        self._began = time.monotonic()

    def all(self) -> None:
        """Everything that was asked for."""
        parts = self._options.parts
        try:
            with self._tools.upstream():
                if "fresh" in parts:
                    self._fresh()
                ends = self._ends() if {"speed", "prompts"} & set(parts) else []
                others = self._others() if "speed" in parts and self._options.peers else []
                grown = self._grown() if "growth" in parts else []
                for number in range(self._options.rounds):
                    step = -1 if number % 2 else 1
                    self._say(f"round {number + 1} of {self._options.rounds}")
                    if "speed" in parts:
                        self._each((ends + others)[::step], self._phases.calm)
                        self._each(ends[::step], self._phases.streams)
                    if "prompts" in parts:
                        for size_bytes in PROMPT_SIZES_BYTES:
                            self._each(ends[1:][::step], partial(self._phases.prompt, size_bytes=size_bytes))
                    if "speed" in parts:
                        self._each((ends + others)[::step], self._phases.saturated)
                    if grown:
                        self._growth(grown[::step])
        finally:
            for subject in self._subjects:
                subject.stop()

    def others_percent(self) -> int:
        """What others took of the subjects' processor while somebody was measured."""
        return round(100 * self._phases.others_cpu_s / self._phases.all_s) if self._phases.all_s else 0

    def _ends(self) -> list[Subject]:
        """The upstream, nginx, the bare relay, and the gateway towards either dialect."""
        direct = Subject(name="direct", port=self._tools.upstream_port, log=self._directory / "direct.log")
        same, other = self._gateways.make("same dialect"), self._gateways.make("other dialect", model="gemini-")
        yardsticks = [self._up(direct), self._up(self._tools.nginx()), self._up(self._tools.relay())]
        return [*yardsticks, self._up(same, keys=1), self._up(other, keys=1)]

    def _others(self) -> list[Subject]:
        """Other gateways."""
        self._say("peers")
        directory = ROOT / ".bench" / "peers" if self._options.peers_at is None else self._options.peers_at
        peers.install(directory)
        found = []
        for make in (peers.litellm, peers.portkey):
            subject = make(directory, self._directory, self._tools.upstream_port)
            self._subjects.append(subject)
            start_s = subject.start(self._phases.probe(subject))
            self._note(subject.name, {"start_s": start_s, "idle_mb": subject.memory().proportional_mb})
            self._phases.warm(subject, streams=False)
            subject.hold()
            found.append(subject)
        return found

    def _grown(self) -> list[tuple[Subject, str]]:
        """Gateways with much of one thing, and the model to ask for."""
        self._say(f"stores: {self._options.rows:,} rows, {KEYS:,} keys")
        rows = self._gateways.make("growth, rows")
        gateways.prepare_rows(rows, self._options.rows)
        return [
            (self._up(self._gateways.make("growth, base"), keys=1), PLAIN),
            (self._up(self._gateways.make("growth, keys"), keys=KEYS), PLAIN),
            (self._up(self._gateways.make("growth, one of the upstreams", upstreams=UPSTREAMS), keys=1), f"own-{UPSTREAMS // 2}-{PLAIN}"),
            (self._up(self._gateways.make("growth, all upstreams", upstreams=UPSTREAMS), keys=1), PLAIN),
            (self._up(rows, keys=1), PLAIN),
        ]

    def _fresh(self) -> None:
        """Starts, and memory of what has just started."""
        self._say("starts and memory")
        for name, model in (("fresh", ""), ("fresh, other dialect", "gemini-")):
            subject = self._up(self._gateways.make(name, model=model), keys=1)
            if not model:
                self._note(name, self._phases.starts(subject))
            else:
                subject.stop()
                subject.start(self._phases.probe(subject))
            gateways.wait_for_store(subject)
            self._note(name, self._phases.memory(subject, self._options.streams))
            subject.stop()
        nginx = self._up(self._tools.nginx("fresh, nginx"))
        self._note(nginx.name, self._phases.starts(nginx))
        self._note(nginx.name, self._phases.memory(nginx, self._options.streams))
        nginx.stop()
        relay = self._up(self._tools.relay("fresh, bare relay"))
        memory = self._phases.memory(relay, self._options.streams)
        self._note(relay.name, {"kb_per_open_stream": memory["kb_per_open_stream"]})  # it has loaded what it does not need
        relay.stop()

    def _up(self, subject: Subject, *, keys: int = 0) -> Subject:
        """Started, with so many keys, and held unless it is alone."""
        self._subjects.append(subject)
        subject.start(self._phases.probe(subject))
        if keys:
            gateways.wait_for_store(subject)
            gateways.open_up(subject, keys)
        if not subject.name.startswith("fresh"):
            self._phases.warm(subject)
            self._drain(subject)
            subject.hold()
        return subject

    def _each(self, subjects: list[Subject], phase: Callable[[Subject], Figures]) -> None:
        for subject in subjects:
            with subject.running():
                self._note(subject.name, phase(subject))
                self._drain(subject)

    def _growth(self, grown: list[tuple[Subject, str]]) -> None:
        """The same calls to each, and its processor time until all records are in the store."""
        for subject, model in grown:
            before_s = subject.cpu_s()
            with subject.running():
                self._phases.calls(subject, model)
                self._drain(subject)
            self._note(subject.name, {"cpu_us_per_recorded_request": (subject.cpu_s() - before_s) / GROWTH_CALLS * 1e6})

    @staticmethod
    def _drain(subject: Subject) -> None:
        """Let a gateway write its records into its store before it is held: its importer rests for nine times as long as an import took,
        and one that is held in the middle takes very long."""
        if subject.ready is not None:
            gateways.drain(subject)

    def _note(self, name: str, figures: Figures) -> None:
        for figure, value in figures.items():
            self.measured[name][figure].append(value)

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f} s  {text}", file=sys.stderr, flush=True)


@contextmanager
def alone() -> Iterator[None]:
    """On the tools' processor, so that this program does not disturb who is measured."""
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        raise Failed("two CPUs are needed")
    os.sched_setaffinity(0, {1})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=ROOT / "dist" / "fkllmproxy")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a phase")
    parser.add_argument("--rows", type=int, default=1_000_000, help="records of calls in the full log")
    parser.add_argument("--streams", type=int, default=1000, help="held open to see their memory")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--peers", action="store_true", help="measure LiteLLM and Portkey as well; they are installed if need be")
    parser.add_argument("--peers-at", type=Path, help="where they are installed; .bench/peers")
    parser.add_argument("--out", type=Path, default=ROOT / ".bench" / "last.json")
    parser.add_argument("--write", action="store_true", help="make this the committed result, here and in docs/benchmarks.md")
    parser.add_argument("--strict", action="store_true", help="end with 1 when a goal is missed")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # or the subjects would stay, and most of them stopped
    try:
        with tempfile.TemporaryDirectory(prefix="fkproxy-bench-") as name, alone():
            run = Run(options, Path(name))
            run.all()
    except Failed as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    found = report.result(
        run.measured,
        settings={name: getattr(options, name) for name in ("rounds", "seconds", "rows", "streams")}
        | {"others_percent": run.others_percent()},
        versions=report.versions(ROOT, options.binary) | (peers.VERSIONS if options.peers else {}),
    )
    committed: dict[str, Any] | None = None
    with contextlib.suppress(FileNotFoundError):
        committed = json.loads(COMMITTED.read_text())
    print(report.section(found))
    if (percent := run.others_percent()) > BUSY_PERCENT:
        print(
            f"bench: others took {percent} % of the processor: times are longer than they would be, and ratios less sure", file=sys.stderr
        )
    if committed is not None:
        print(f"\n{report.comparison(found, committed)}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=1) + "\n"
    options.out.write_text(text)
    if options.write:
        COMMITTED.write_text(text)
        DOCUMENT.write_text(report.insert(DOCUMENT.read_text(), report.section(found)))
    return 1 if options.strict and report.missed(found) else 0


if __name__ == "__main__":
    sys.exit(main())
