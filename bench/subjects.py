"""What is measured: a group of processes on a processor of its own, stopped while others have their turn, looked at from outside.

Processor time and memory are those of the whole group, as the kernel counts them: schedstat in nanoseconds, and proportional memory,
in which a page that several processes share counts once. Linux only.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["SUBJECT_CPU", "TOOLS_CPU", "Failed", "Memory", "Subject", "administer", "ask", "busy_cpu_s", "clean_environment", "free_port"]

SUBJECT_CPU, TOOLS_CPU = "0", "1"
START_S, STOP_S = 60.0, 15.0


class Failed(Exception):
    """A measurement that is worth nothing, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Of a group, in MB. `resident_mb`: of each process, what it shares with others included."""

    proportional_mb: float
    resident_mb: tuple[float, ...]


@dataclass(kw_only=True)
class Subject:
    """One that answers chat completions at `port`. No `command`: the upstream itself, asked directly.

    `model` goes before each model's name and so decides the upstream. `key` opens it; `keys` is a file of keys that calls take by chance.
    `ready` is what answers 200 when it can be used; POST of a small call where it is None.
    """

    name: str
    port: int
    log: Path
    command: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path | None = None
    model: str = ""
    key: str = ""
    keys: Path | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    connections: int = 64
    rate_per_s: float = 200.0
    ready: str | None = None
    process: subprocess.Popen[bytes] | None = None

    def start(self, probe: bytes) -> float:
        """Start it and wait until it is ready; seconds from exec. `probe` is the body of a small call."""
        began = time.monotonic()
        if self.command is not None:
            with self.log.open("ab") as out:
                self.process = subprocess.Popen(
                    ["taskset", "-c", SUBJECT_CPU, *self.command],
                    env={**clean_environment(), **self.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    cwd=self.directory,
                    start_new_session=True,
                )
        while not self._is_ready(probe):
            if self.process is not None and self.process.poll() is not None:
                raise Failed(f"{self.name} ended at its start:\n{self.tail()}")
            if time.monotonic() - began > START_S:
                raise Failed(f"{self.name} was not ready within {START_S:g} s:\n{self.tail()}")
            time.sleep(0.002)
        return time.monotonic() - began

    def _is_ready(self, probe: bytes) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if self.ready is not None:
                return ask(self.port, "GET", self.ready)[0] == 200
            return ask(self.port, "POST", "/v1/chat/completions", probe, self.request_headers())[0] == 200
        return False

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        if self.process is None:
            return
        self.let_go()
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_S)
        self._signal(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def hold(self) -> None:
        """Let it have no processor time until `let_go`."""
        self._signal(signal.SIGSTOP)

    def let_go(self) -> None:
        """Let it run."""
        self._signal(signal.SIGCONT)

    @contextlib.contextmanager
    def running(self) -> Iterator[Subject]:
        """Its turn."""
        self.let_go()
        try:
            yield self
        finally:
            self.hold()

    def cpu_s(self) -> float:
        """Processor seconds of the group so far."""
        total_ns = 0
        for pid in self._members():
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    total_ns += int((task / "schedstat").read_text().split()[0])
        return total_ns / 1e9

    def memory(self) -> Memory:
        """What the group has now."""
        found = [rollup for pid in self._members() if (rollup := _rollup(pid))]
        return Memory(
            proportional_mb=sum(rollup["Pss"] for rollup in found) / 1024,
            resident_mb=tuple(sorted((rollup["Rss"] / 1024 for rollup in found), reverse=True)),
        )

    def request_headers(self) -> dict[str, str]:
        """What a client sends beside its body."""
        return {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}", **self.headers}

    def tail(self) -> str:
        """The end of what it wrote."""
        with contextlib.suppress(OSError):
            return self.log.read_text(errors="replace")[-2000:]
        return ""

    def _signal(self, number: int) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def _members(self) -> list[int]:
        if self.process is None:
            return []
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if int((entry / "stat").read_text().rsplit(")", 1)[1].split()[2]) == self.process.pid:
                        found.append(int(entry.name))
        return found


def _rollup(pid: int) -> dict[str, int]:
    """`Pss`, `Rss` and others of a process, in KB; empty when it is gone."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        return {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)}
    return {}


def ask(port: int, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}) -> tuple[int, bytes]:
    """Status and body of one request to loopback. Raises OSError and HTTPException."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, dict(headers))
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def administer(port: int, key: str, method: str, path: str, body: object = None) -> Any:
    """What `/admin/api` answers. Raises `Failed` unless it is well."""
    status, answer = ask(
        port,
        method,
        f"/admin/api{path}",
        json.dumps(body).encode() if body is not None else None,
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    if status not in (200, 201):
        raise Failed(f"{method} /admin/api{path} was answered {status}: {answer[:500].decode(errors='replace')}")
    return json.loads(answer)


def free_port() -> int:
    """A port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def busy_cpu_s() -> float:
    """Seconds that the subjects' processor was at work for anybody."""
    line = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith(f"cpu{SUBJECT_CPU} "))
    user, nice, system, _, _, irq, softirq, *_ = map(int, line.split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def clean_environment() -> dict[str, str]:
    """Nothing of ours, of a vendor's or of a proxy's."""
    return {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
