"""One version takes over from another under load, and nothing is dropped."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.load import Load
from tests.e2e.processes import BINARY, ask, clean_environment, free_port

SETTINGS = {"APP_RATE_LIMIT__ENABLED": "false", "APP_SERVER__DRAIN_TIMEOUT_SECS": "20", "APP_SERVER__LAME_DUCK_SECS": "1"}


class Installed:
    """A copy of the built file, started as an operator would, that may be swapped on disk."""

    def __init__(self, directory: Path) -> None:
        self.binary = directory / "fkllmproxy"
        self.put(BINARY)
        self.port = free_port()
        self.log = directory / "log"
        env = {**clean_environment(), **SETTINGS, "APP_SERVER__PORT": str(self.port), "APP_STORE__DIRECTORY": str(directory / "state")}
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
            return int(ask(f"http://127.0.0.1:{self.port}/health").json()["pid"])
        except (OSError, KeyError):
            return None

    def wait(self, condition: object, timeout_s: float = 40.0) -> None:
        deadline = time.monotonic() + timeout_s
        assert callable(condition)
        while not condition():
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.05)


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Installed]:
    running = Installed(tmp_path)
    yield running
    asked: set[int] = set()

    def all_gone() -> bool:
        pid = running.main_pid()
        if pid is not None and pid not in asked:
            asked.add(pid)
            os.kill(pid, signal.SIGTERM)
        return pid is None

    running.wait(all_gone)
    running.first.wait(30)


def test_a_new_version_takes_over_under_load(installed: Installed) -> None:
    with Load(installed.port) as load:
        installed.wait(lambda: load.answered > 200 and load.streamed >= 20)
        for _ in range(2):
            before = installed.main_pid()
            assert before is not None
            installed.put(BINARY)
            os.kill(before, signal.SIGHUP)
            installed.wait(lambda before=before: installed.main_pid() not in (None, before))  # type: ignore[misc]  # bound on purpose
            if before == installed.first.pid:
                assert installed.first.wait(30) == 0, "the old one ends when its calls have"
        answered = load.answered
        installed.wait(lambda: load.answered > answered + 500)
    assert not load.failures
    assert load.answered >= 1000
    assert load.streamed >= 60
    assert load.slowest_s < 10


def test_a_broken_new_version_changes_nothing(installed: Installed, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nexit 3\n")
    installed.put(broken)
    with Load(installed.port, callers=4, streams=4) as load:
        os.kill(installed.first.pid, signal.SIGHUP)
        installed.wait(lambda: "did not get ready" in installed.log.read_text())
        assert installed.main_pid() == installed.first.pid
    assert not load.failures
    assert "fkproxy_handovers_failed_total 1.0" in ask(f"http://127.0.0.1:{installed.port}/metrics/prometheus").body.decode()
    installed.put(BINARY)
    os.kill(installed.first.pid, signal.SIGHUP)
    installed.wait(lambda: installed.main_pid() not in (None, installed.first.pid))


def test_a_connection_whose_request_is_still_under_way_is_answered(installed: Installed) -> None:
    body = b'{"model":"sandbox","messages":[{"role":"user","content":"x"}]}'
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
    before = installed.main_pid()
    assert before is not None
    with socket.create_connection(("127.0.0.1", installed.port)) as waiting:
        os.kill(before, signal.SIGHUP)
        installed.wait(lambda: "has taken over" in installed.log.read_text())
        waiting.settimeout(10)
        waiting.sendall(head + body)
        assert waiting.recv(4096).startswith(b"HTTP/1.1 200")
    installed.wait(lambda: installed.main_pid() not in (None, before))
