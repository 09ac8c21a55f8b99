"""What measures: the upstream (`mock.c`), the load generator (`load.c`), and the yardsticks: nginx, and the bare relay (`relay.py`)."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.subjects import TOOLS_CPU, Failed, Subject, ask, clean_environment, free_port

__all__ = ["Load", "Tools"]

HERE = Path(__file__).resolve().parent
NEEDED = {"gcc": "gcc", "nginx": "nginx-light", "taskset": "util-linux"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the generator is to do. `rate_per_s`: 0 is as fast as answers come. `calls`: stop after so many; 0 is until the time is over."""

    body: bytes
    connections: int
    seconds: float
    warm_s: float = 0.0
    rate_per_s: float = 0.0
    calls: int = 0


class Tools:
    """Programs built into `directory`, and the upstream at `upstream_port` while `upstream` lasts."""

    def __init__(self, directory: Path) -> None:
        if missing := [package for program, package in NEEDED.items() if shutil.which(program) is None]:
            raise Failed(f"missing: {', '.join(missing)}; on Debian: apt-get install {' '.join(missing)}")
        self.directory = directory
        self.upstream_port = free_port()
        for source, libraries in (("mock", []), ("load", ["-lm"])):
            built = subprocess.run(
                ["gcc", "-O2", "-o", str(directory / source), str(HERE / f"{source}.c"), *libraries], capture_output=True, text=True
            )
            if built.returncode:
                raise Failed(f"{source}.c does not compile:\n{built.stderr}")

    @contextmanager
    def upstream(self) -> Iterator[None]:
        """The upstream, running."""
        process = subprocess.Popen(["taskset", "-c", TOOLS_CPU, str(self.directory / "mock"), str(self.upstream_port)])
        try:
            deadline = time.monotonic() + 5
            while True:
                with contextlib.suppress(OSError):
                    ask(self.upstream_port, "POST", "/", b"{}")
                    break
                if time.monotonic() > deadline:
                    raise Failed("the upstream did not answer within 5 s")
                time.sleep(0.01)
            yield
        finally:
            process.terminate()
            process.wait()

    def nginx(self, name: str = "nginx") -> Subject:
        """A plain proxy on one core."""
        home = self.directory / name.replace(",", "").replace(" ", "-")
        home.mkdir()
        port = free_port()
        configuration = (HERE / "nginx.conf").read_text()
        for mark, value in (("@DIR@", str(home)), ("@PORT@", str(port)), ("@UPSTREAM@", str(self.upstream_port))):
            configuration = configuration.replace(mark, value)
        (home / "nginx.conf").write_text(configuration)
        return Subject(name=name, port=port, log=home / "log", command=("nginx", "-c", str(home / "nginx.conf")))

    def relay(self, name: str = "bare relay") -> Subject:
        """What the gateway's server and event loop cost without a gateway."""
        port = free_port()
        command = (sys.executable, "-m", "bench.relay", str(port), str(self.upstream_port))
        return Subject(name=name, port=port, log=self.directory / f"{name}.log", command=command, directory=HERE.parent)

    def load(self, subject: Subject, load: Load) -> dict[str, float]:
        """The generator's figures (see `load.c`). Raises `Failed` when one answer was not well."""
        done = self._run(subject, load)
        if done["bad"] or (done["unfinished"] and load.rate_per_s):
            raise Failed(
                f"{subject.name}: {done['bad']:.0f} of {done['all']:.0f} answers were errors (the last status was {done['last_bad']:.0f}), "
                f"{done['unfinished']:.0f} did not come\n{subject.tail()}"
            )
        if not done["all"]:
            raise Failed(f"{subject.name} answered nothing within {load.seconds:g} s")
        return done

    @contextmanager
    def holding(self, subject: Subject, body: bytes, streams: int) -> Iterator[None]:
        """So many open streams."""
        command = self._command(subject, Load(body=body, connections=streams, seconds=60))
        process = subprocess.Popen([*command, "-o"], stdout=subprocess.DEVNULL)
        try:
            yield
            if process.poll() is not None:
                raise Failed(f"{subject.name} did not take {streams} streams\n{subject.tail()}")
        finally:
            process.kill()
            process.wait()

    def _run(self, subject: Subject, load: Load) -> dict[str, float]:
        command, limit_s = self._command(subject, load), load.seconds + 90
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, env=clean_environment())
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{subject.name}: the load generator did not end within {limit_s:g} s\n{subject.tail()}") from error
        if done.returncode:
            raise Failed(f"{subject.name}: the load generator gave up: {done.stderr.strip()}\n{subject.tail()}")
        return {name: float(value) for name, value in json.loads(done.stdout).items()}

    def _command(self, subject: Subject, load: Load) -> list[str]:
        body = self.directory / "body.json"
        body.write_bytes(load.body)
        command = ["taskset", "-c", TOOLS_CPU, str(self.directory / "load"), "-p", str(subject.port), "-b", str(body)]
        command += ["-c", str(load.connections), "-d", str(load.seconds), "-w", str(load.warm_s), "-r", str(load.rate_per_s)]
        command += ["-n", str(load.calls), *(["-k", str(subject.keys)] if subject.keys else [])]
        return command + [part for name, value in self._headers(subject).items() for part in ("-H", f"{name}: {value}")]

    @staticmethod
    def _headers(subject: Subject) -> Mapping[str, str]:
        """Those that the generator does not send by itself."""
        left_out = {"Content-Type", *(["Authorization"] if subject.keys else [])}
        return {name: value for name, value in subject.request_headers().items() if name not in left_out}
