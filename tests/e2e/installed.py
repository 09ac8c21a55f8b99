"""A copy of the built file that hands over to itself."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.processes import BINARY, ask, clean_environment, free_port

__all__ = ["Installed", "installation", "manager"]

SETTINGS = {"APP_RATE_LIMIT__ENABLED": "false", "APP_SERVER__DRAIN_TIMEOUT_SECS": "60", "APP_SERVER__LAME_DUCK_SECS": "1"}


class Installed:
    """A copy of the built file, started as an operator would, that may be swapped on disk."""

    def __init__(self, directory: Path, settings: Mapping[str, str] = {}) -> None:
        self.binary = directory / "fkllmproxy"
        self.put(BINARY)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.v1 = f"{self.url}/v1"
        self.log = directory / "log"
        env = {**clean_environment(), **SETTINGS, "APP_SERVER__PORT": str(self.port), "APP_STORE__DIRECTORY": str(directory / "state")}
        env |= settings
        with self.log.open("wb") as out:
            self.first = subprocess.Popen([str(self.binary)], stdout=out, stderr=subprocess.STDOUT, env=env, start_new_session=True)
        self.wait(lambda: self.main_pid() == self.first.pid)

    def put(self, source: Path) -> None:
        """As an upgrade does it: never write into a running file."""
        fresh = self.binary.with_suffix(".new")
        shutil.copyfile(source, fresh)
        fresh.chmod(0o755)
        fresh.rename(self.binary)

    def main_pid(self) -> int | None:
        """The process that a request reaches now."""
        try:
            return int(ask(f"{self.url}/health").json()["pid"])
        except (OSError, KeyError):
            return None

    def wait(self, condition: object, timeout_s: float = 90.0) -> None:
        deadline = time.monotonic() + timeout_s
        assert callable(condition)
        while not condition():
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.05)

    def hand_over(self) -> None:
        """Until another process answers, and the one before no more: for a moment both accept connections."""
        before = self.main_pid()
        assert before is not None
        (worker,) = Path(f"/proc/{before}/task/{before}/children").read_text().split()
        assert self._accepts(worker)
        os.kill(before, signal.SIGHUP)
        self.wait(lambda: self.main_pid() not in (None, before) and not self._accepts(worker))

    def _accepts(self, pid: str) -> bool:
        """Whether the process has the listening socket (proc_pid_net(5), proc_pid_fd(5))."""
        sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        (inode,) = {each[9] for each in sockets if each[1].endswith(f":{self.port:04X}") and each[3] == "0A"}
        try:
            return f"socket:[{inode}]" in map(os.readlink, Path(f"/proc/{pid}/fd").iterdir())
        except FileNotFoundError:
            return self._accepts(pid) if Path(f"/proc/{pid}").exists() else False


@contextmanager
def installation(directory: Path, **settings: str) -> Iterator[Installed]:
    """Running, and stopped at the end, whichever process it is by then."""
    running = Installed(directory, settings)
    asked: set[int] = set()

    def all_gone() -> bool:
        pid = running.main_pid()
        if pid is not None and pid not in asked:
            asked.add(pid)
            os.kill(pid, signal.SIGTERM)
        return pid is None

    try:
        yield running
    finally:
        running.wait(all_gone)
        running.first.wait(90)


@contextmanager
def manager(path: Path) -> Iterator[list[str]]:
    """What a service manager that listens at `path` is told, from when it is asked for."""
    told: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        # Its queue is short, and who finds it full waits.
        reading = threading.Thread(target=lambda: told.extend(each.decode() for each in iter(lambda: listening.recv(4096), b"")))
        reading.start()
        try:
            yield told
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
                own.sendto(b"", str(path))
            reading.join()
