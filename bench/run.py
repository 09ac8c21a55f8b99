#!/usr/bin/env python3
"""What the gateway costs, beside nginx as a plain proxy, in one interleaved run on loopback.

    python3 bench/run.py --binary dist/fkllmproxy [--rounds 3] [--seconds 3] [--out bench.json]

CPU 0 has the process under test, CPU 1 the upstream (`mock.c`) and the load generator (`load.c`). While one is measured the others
are stopped. Compare ratios of one run: these figures drift by a quarter between runs, and the CPU time of a request at saturation is
steadier than requests a second. Needs gcc, nginx and two CPUs.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
KEY = "sk-bench-0123456789abcdef0123456789abcdef"
UPSTREAM_PORT, NGINX_PORT, GATEWAY_PORT, GEMINI_PORT = 9000, 9100, 9200, 9300
PROMPT = "Please summarise the following paragraph in one sentence. " * 8
CONNECTIONS, RATE_PER_S, STREAMS_PER_S, EVENTS = 64, 200, 75, 64
OPEN = {
    "APP_AUTH__MASTER_KEY": KEY,
    "APP_RATE_LIMIT__CAPACITY": "100000000",
    "APP_RATE_LIMIT__REFILL_PER_SECOND": "100000000",
    "APP_CONCURRENCY__MAX_STREAMS": "4000",
    "APP_CONCURRENCY__MAX_STREAMS_PER_KEY": "4000",
}


@dataclass
class Subject:
    """A process under test; `direct` has none. `model` is a prefix that decides the upstream's dialect."""

    name: str
    port: int
    command: list[str] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    model: str = ""
    process: subprocess.Popen[bytes] | None = None
    start_s: float = 0.0
    rounds: list[dict[str, float]] = field(default_factory=list)

    def start(self, directory: Path) -> None:
        """Start and wait until a call is answered."""
        if self.command is None:
            return
        log = (directory / f"{self.name}.log").open("wb")
        began = time.monotonic()
        self.process = subprocess.Popen(
            ["taskset", "-c", "0", *self.command], env={**os.environ, **self.environment}, stdout=log, stderr=log, start_new_session=True
        )
        while time.monotonic() - began < 30:
            if self.process.poll() is not None:
                sys.exit(f"{self.name} ended at start; see {directory}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("POST", "/v1/chat/completions", body(self.model + "m-64-0", False), headers())
                if connection.getresponse().status == 200:
                    self.start_s = time.monotonic() - began
                    return
            time.sleep(0.02)
        sys.exit(f"{self.name} did not answer within 30 s; see {directory}")

    def signal(self, number: int) -> None:
        """Send a signal to the whole group."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def cpu_s(self) -> float:
        """CPU seconds of the group so far."""
        total = 0
        for pid in self.members():
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def memory_mb(self) -> float:
        """Proportional resident memory of the group."""
        total = 0
        for pid in self.members():
            with contextlib.suppress(OSError):
                total += int(
                    next(line for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if line.startswith("Pss:")).split()[1]
                )
        return total / 1024

    def members(self) -> list[int]:
        """Process ids of the group."""
        if self.process is None:
            return []
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if int((entry / "stat").read_text().rsplit(")", 1)[1].split()[2]) == self.process.pid:
                        found.append(int(entry.name))
        return found

    def load(
        self, tools: Path, model: str, *, stream: bool, connections: int, seconds: float, rate: float = 0, warm_s: float = 0.5
    ) -> dict[str, float]:
        """One phase of load; the generator's figures and the CPU seconds it cost."""
        command = ["taskset", "-c", "1", str(tools / "load"), "-p", str(self.port), "-c", str(connections), "-d", str(seconds)]
        command += ["-r", str(rate), "-w", str(warm_s), "-b", body(self.model + model, stream)]
        command += [part for name, value in headers().items() if name != "Content-Type" for part in ("-H", f"{name}: {value}")]
        before = self.cpu_s()
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=True)
        return {**json.loads(done.stdout), "cpu_s": self.cpu_s() - before}

    def measure(self, tools: Path, seconds: float) -> None:
        """One round: saturated, at a fixed rate, paced streams."""
        self.signal(signal.SIGCONT)
        full = self.load(tools, "m-64-0", stream=False, connections=CONNECTIONS, seconds=seconds + 1, warm_s=1.0)
        calm = self.load(tools, "m-64-0", stream=False, connections=CONNECTIONS, seconds=seconds, rate=RATE_PER_S)
        paced = self.load(tools, f"m-{EVENTS}-20000", stream=True, connections=600, seconds=seconds + 2, rate=STREAMS_PER_S, warm_s=1.5)
        burst = self.load(tools, f"m-{EVENTS}-0", stream=True, connections=32, seconds=seconds)
        phases = (full, calm, paced, burst)
        self.rounds.append(
            {
                "requests_per_s": full["rps"],
                "cpu_us_per_request": full["cpu_s"] / max(1.0, full["rps"] * (seconds + 1)) * 1e6,
                "p50_us": calm["p50"],
                "p99_us": calm["p99"],
                "cpu_us_per_event": paced["cpu_s"] / (STREAMS_PER_S * (EVENTS + 2) * (seconds + 2)) * 1e6,
                "first_byte_p50_us": paced["ttfb50"],
                "first_byte_p99_us": paced["ttfb99"],
                "events_per_s": burst["ev_s"],
                "failed": sum(phase["errs"] + phase["non200"] for phase in phases),
            }
        )
        self.signal(signal.SIGSTOP)

    def median(self, name: str) -> float:
        """Median over the rounds."""
        return statistics.median(entry[name] for entry in self.rounds)


def body(model: str, stream: bool) -> str:
    """About 600 bytes of request."""
    messages = [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": PROMPT}]
    return json.dumps(
        {"model": model, **({"stream": True} if stream else {}), "messages": messages, "max_tokens": 128}, separators=(",", ":")
    )


def headers() -> dict[str, str]:
    """What a client sends."""
    return {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}


def table(subjects: list[Subject]) -> str:
    """The result as Markdown."""
    nginx = next(subject for subject in subjects if subject.name == "nginx")
    direct = next(subject for subject in subjects if subject.name == "direct")
    lines = [
        "| | req/s a core | × nginx | CPU µs/request | added p50 / p99 µs at 200/s | CPU µs/event | × nginx "
        "| added first byte p50 / p99 µs | failed | start s | MB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for subject in subjects:
        added = [
            max(0.0, subject.median(name) - direct.median(name)) for name in ("p50_us", "p99_us", "first_byte_p50_us", "first_byte_p99_us")
        ]
        own = subject.command is not None
        lines.append(
            f"| {subject.name} | {subject.median('requests_per_s'):,.0f} "
            f"| {subject.median('requests_per_s') / nginx.median('requests_per_s'):.3f} | "
            + (f"{subject.median('cpu_us_per_request'):.0f} | {added[0]:.0f} / {added[1]:.0f} | " if own else "– | – | ")
            + (
                f"{subject.median('cpu_us_per_event'):.1f} | {subject.median('cpu_us_per_event') / nginx.median('cpu_us_per_event'):.2f} | "
                if own
                else "– | – | "
            )
            + (f"{added[2]:.0f} / {added[3]:.0f} | " if own else "– | ")
            + f"{sum(entry['failed'] for entry in subject.rounds):.0f} | "
            + (f"{subject.start_s:.2f} | {subject.memory_mb():.0f} |" if own else "– | – |")
        )
    return "\n".join(lines)


def opened(directory: Path, port: int) -> dict[str, str]:
    """Settings without limits, with a store of its own."""
    return {**OPEN, "APP_SERVER__PORT": str(port), "APP_STORE__DIRECTORY": str(directory / f"state-{port}")}


def main() -> None:
    """Build, start, measure in turns, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=HERE.parent / "dist" / "fkllmproxy")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    for tool in ("gcc", "nginx", "taskset"):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is missing: apt-get install gcc nginx-light util-linux")
    with tempfile.TemporaryDirectory() as name:
        tools = Path(name)
        for source, flags in (("mock", []), ("load", ["-lm"])):
            subprocess.run(["gcc", "-O2", "-o", str(tools / source), str(HERE / f"{source}.c"), *flags], check=True)
        configuration = (HERE / "nginx.conf").read_text()
        for mark, value in (("@DIR@", name), ("@PORT@", str(NGINX_PORT)), ("@UPSTREAM@", str(UPSTREAM_PORT))):
            configuration = configuration.replace(mark, value)
        (tools / "nginx.conf").write_text(configuration)
        binary, upstream = str(options.binary.resolve()), f"http://127.0.0.1:{UPSTREAM_PORT}"
        subjects = [
            Subject("direct", UPSTREAM_PORT),
            Subject("nginx", NGINX_PORT, ["nginx", "-c", str(tools / "nginx.conf")]),
            Subject(
                "same dialect",
                GATEWAY_PORT,
                [binary],
                {**opened(tools, GATEWAY_PORT), "OPENAI_API_KEY": "sk-upstream", "APP_OPENAI__BASE_URL": upstream + "/v1"},
            ),
            Subject(
                "other dialect",
                GEMINI_PORT,
                [binary],
                {**opened(tools, GEMINI_PORT), "GOOGLE_API_KEY": "upstream", "APP_VERTEX__API_KEY_BASE_URL": upstream},
                model="gemini-",
            ),
        ]
        mock = subprocess.Popen(["taskset", "-c", "1", str(tools / "mock"), str(UPSTREAM_PORT)])
        try:
            for subject in subjects:
                subject.start(tools)
                subject.signal(signal.SIGSTOP)
            for index in range(options.rounds):
                for subject in subjects if index % 2 == 0 else subjects[::-1]:
                    subject.measure(tools, options.seconds)
            print(table(subjects))
            if options.out is not None:
                result: dict[str, Any] = {subject.name: {"start_s": subject.start_s, "rounds": subject.rounds} for subject in subjects}
                options.out.write_text(json.dumps(result, indent=1) + "\n")
        finally:
            for subject in subjects:
                subject.signal(signal.SIGCONT)
                subject.signal(signal.SIGTERM)
            mock.terminate()
            for subject in subjects:
                if subject.process is not None:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        subject.process.wait(10)
                    subject.signal(signal.SIGKILL)


if __name__ == "__main__":
    main()
