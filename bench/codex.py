"""What calls through the Codex CLI cost: processor time and memory of the gateway and of the children, and how long a call takes.

    python -m bench.codex [--calls 400] [--at-once 1 8] [--binary dist/fkllmproxy] [--codex node_modules/.bin/codex]

The children's endpoint is a second gateway on loopback, whose sandbox answers at once with 64 pieces of text; `endpoint` is that one asked
by itself, without a child in between. Children start before the clock does. Processor time is that of processes as /proc counts it, in
steps of 10 ms, memory is sampled five times a second. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEY = "sk-bench-0123456789abcdef0123456789abcdef"
SAID = "sandbox?chunks=64&text=" + "+".join(["words"] * 64)
OPEN = {
    "APP_AUTH__MASTER_KEY": KEY,
    "APP_RATE_LIMIT__ENABLED": "false",
    "APP_SANDBOX__ENABLED": "true",
    "APP_CONCURRENCY__MAX_STREAMS": "1000",
    "APP_CONCURRENCY__MAX_STREAMS_PER_KEY": "1000",
    "APP_ROUTING__MAX_WAIT_SECS": "60",
}
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
SAMPLE_S = 0.2
START_S = 30.0


def family(pid: int) -> Iterator[int]:
    """`pid` and all below it."""
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from family(int(child))


def is_child(pid: int) -> bool:
    """A Codex CLI, or the guard beside it, and not a process of the gateway's own."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip() in ("codex", "sh")
    return False


def cpu_s(pid: int) -> float:
    """So far."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S
    return 0.0


def resident_mb(pid: int) -> float:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / 1e6
    return 0.0


@dataclass
class Use:
    """Of a gateway and of its children."""

    gateway: float = 0.0
    children: float = 0.0

    def add(self, more: float, child: bool) -> None:
        if child:
            self.children += more
        else:
            self.gateway += more


@dataclass
class Watch:
    """Of one gateway while calls run. `most_mb` is the largest sample; a child that is gone counts as when it was last seen."""

    pid: int
    most_mb: Use = field(default_factory=Use)
    cpu_s: Use = field(default_factory=Use)

    def __enter__(self) -> Watch:
        self._before: dict[int, float] = {pid: cpu_s(pid) for pid in family(self.pid)}
        self._last: dict[tuple[int, bool], float] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._sample()
        for (pid, child), now_s in self._last.items():
            self.cpu_s.add(now_s - self._before.get(pid, 0.0), child)

    def _watch(self) -> None:
        while not self._end.wait(SAMPLE_S):
            self._sample()

    def _sample(self) -> None:
        now = Use()
        for pid in family(self.pid):
            child = is_child(pid)
            now.add(resident_mb(pid), child)
            # A process that ends in between is told as none, and was not younger a moment ago.
            self._last[pid, child] = max(cpu_s(pid), self._last.get((pid, child), 0.0))
        self.most_mb = Use(max(self.most_mb.gateway, now.gateway), max(self.most_mb.children, now.children))


@dataclass
class Phase:
    """Calls of one kind. Times in milliseconds; `first_ms` is when the first piece of text came."""

    name: str
    at_once: int
    calls: int
    took_s: float
    all_ms: list[float]
    first_ms: list[float]
    watch: Watch

    def row(self) -> str:
        cpu, most = self.watch.cpu_s, self.watch.most_mb
        first = f"{_of(self.first_ms, 50):.0f} / {_of(self.first_ms, 99):.0f}" if self.first_ms else "–"
        return (
            f"| {self.name} | {self.at_once} | {self.calls / self.took_s:.1f} | {_of(self.all_ms, 50):.0f} / {_of(self.all_ms, 99):.0f} "
            f"| {first} | {cpu.gateway / self.calls * 1000:.1f} | {cpu.children / self.calls * 1000:.1f} "
            f"| {most.gateway:.0f} | {most.children:.0f} |"
        )


HEAD = (
    "| | at once | calls/s | ms p50 / p99 | first piece ms p50 / p99 | CPU ms/call, gateway | CPU ms/call, children "
    "| MB, gateway | MB, children |\n|---|---|---|---|---|---|---|---|---|"
)


def _of(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def call(port: int, model: str, stream: bool) -> tuple[float, float]:
    """(milliseconds to the first piece of text, to the end). Ends the program where the reply is not whole."""
    body = json.dumps({"model": model, "stream": stream, "messages": [{"role": "user", "content": "Tell me something."}]})
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    began = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", body, headers)
    reply = connection.getresponse()
    first_s, whole = 0.0, b""
    while piece := reply.read1():
        whole += piece
        if not first_s and b"words" in whole:
            first_s = time.perf_counter() - began
    took_s = time.perf_counter() - began
    connection.close()
    if reply.status != 200 or whole.count(b"words") != 64:
        sys.exit(f"a reply is not whole: {reply.status} {whole[-300:]!r}")
    return first_s * 1000, took_s * 1000


def measure(name: str, pid: int, port: int, model: str, *, stream: bool, calls: int, at_once: int) -> Phase:
    with Watch(pid) as watch, ThreadPoolExecutor(at_once) as pool:
        began = time.perf_counter()
        times = list(pool.map(lambda _: call(port, model, stream), range(calls)))
        took_s = time.perf_counter() - began
    first_ms = [first for first, _ in times] if stream else []
    return Phase(name, at_once, calls, took_s, [took for _, took in times], first_ms, watch)


@contextmanager
def running(binary: Path, directory: Path, port: int, **settings: str) -> Iterator[int]:
    """The process id of a gateway that answers calls."""
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "SHIV_ROOT")}
    environment |= {**OPEN, "APP_SERVER__PORT": str(port), "APP_STORE__DIRECTORY": str(directory / f"state-{port}"), **settings}
    with (directory / f"{port}.log").open("wb") as log:
        process = subprocess.Popen([str(binary)], env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("GET", "/livez")
                if connection.getresponse().status == 200:
                    break
            if time.monotonic() > deadline:
                sys.exit(f"{binary} did not answer within {START_S:g} s:\n{(directory / f'{port}.log').read_text()[-2000:]}")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def configuration(endpoint: int) -> str:
    """A config.toml whose model provider is the gateway on that port."""
    return (
        'model = "gpt-5"\nmodel_provider = "local"\n[model_providers.local]\nname = "local"\nwire_api = "responses"\n'
        f'env_key = "LOCAL_KEY"\nbase_url = "http://127.0.0.1:{endpoint}/v1"\nrequest_max_retries = 0\nstream_max_retries = 0\n'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--binary", type=Path, default=ROOT / "dist" / "fkllmproxy")
    parser.add_argument("--codex", type=Path, default=ROOT / "node_modules" / ".bin" / "codex")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory, endpoint, port = Path(name), free_port(), free_port()
        home = directory / "home"
        home.mkdir()
        (home / "config.toml").write_text(configuration(endpoint))
        child = {"CODEX_BIN": str(asked.codex), "CODEX_HOME": str(home), "APP_CODEX__PASS_ENVIRONMENT": "LOCAL_KEY", "LOCAL_KEY": KEY}
        child |= {"APP_CODEX__MODEL": SAID, "APP_CODEX__CALLS_PER_PROCESS": "32"}
        with running(asked.binary, directory, endpoint) as vendor, running(asked.binary, directory, port, **child) as gateway:
            print(HEAD)
            for at_once in asked.at_once:
                for pid, where, model in ((vendor, endpoint, SAID), (gateway, port, "codex-5")):
                    measure("warm", pid, where, model, stream=True, calls=max(8, 2 * at_once), at_once=at_once)
                    for stream in (False, True):
                        what = f"{'endpoint' if pid == vendor else 'Codex CLI'}, {'streamed' if stream else 'plain'}"
                        phase = measure(what, pid, where, model, stream=stream, calls=asked.calls, at_once=at_once)
                        print(phase.row(), flush=True)


if __name__ == "__main__":
    main()
