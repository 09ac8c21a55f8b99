"""One version takes over from another under load, and nothing is dropped."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fkproxy.supervision import READY_VARIABLE
from tests.e2e.installed import Installed, installation, manager
from tests.e2e.load import Load
from tests.e2e.processes import BINARY, ask


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Installed]:
    with installation(tmp_path) as running:
        yield running


def test_a_new_version_takes_over_under_load(installed: Installed) -> None:
    with Load(installed.port) as load:
        installed.wait(lambda: load.answered > 200 and load.streamed >= 20)
        for _ in range(2):
            before = installed.main_pid()
            assert before is not None
            installed.put(BINARY)
            os.kill(before, signal.SIGHUP)
            installed.wait(lambda before=before: installed.main_pid() not in (None, before))
            if before == installed.first.pid:
                assert installed.first.wait(50) == 0, "the old one ends when its calls have"
        answered = load.answered
        installed.wait(lambda: load.answered > max(answered + 500, 1000) and load.streamed > 60)
    assert not load.failures


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
        waiting.settimeout(60)
        waiting.sendall(head + body)
        assert waiting.recv(4096).startswith(b"HTTP/1.1 200")
    installed.wait(lambda: installed.main_pid() not in (None, before))


def test_a_copy_of_the_settings_with_a_wrong_line_changes_nothing(tmp_path: Path) -> None:
    copy, key = tmp_path / "env", "sk-0123456789abcdef"
    copy.write_text(f"APP_AUTH__MASTER_KEY={key}\n")
    with installation(tmp_path, RUNTIME_DIRECTORY=str(tmp_path), APP_AUTH__MASTER_KEY=key) as installed:
        copy.write_text(f"export APP_AUTH__MASTER_KEY={key}\n")
        os.kill(installed.first.pid, signal.SIGHUP)
        installed.wait(lambda: "did not get ready" in installed.log.read_text())
        assert "not started: /etc/fkllmproxy/env:1: expected NAME=value; leave out 'export'" in installed.log.read_text()
        assert installed.main_pid() == installed.first.pid
        assert ask(f"{installed.v1}/models").status == 401


def test_where_the_unpacked_program_was_removed_a_reload_says_what_helps(tmp_path: Path) -> None:
    with installation(tmp_path, SHIV_ROOT=str(tmp_path / "unpacked")) as installed:
        (tmp_path / "unpacked").rename(tmp_path / "removed")  # at once: what is compiled in these seconds is written beside its source
        os.kill(installed.first.pid, signal.SIGHUP)
        installed.wait(lambda: "did not get ready" in installed.log.read_text())
        assert "is gone from the disk: only a restart helps" in installed.log.read_text()
        assert ask(f"{installed.url}/health").json()["pid"] == installed.first.pid


def test_a_reload_while_another_one_is_under_way_is_not_lost(tmp_path: Path) -> None:
    copy, old, new = tmp_path / "env", "sk-old-0123456789abcdef", "sk-new-0123456789abcdef"
    copy.write_text(f"APP_AUTH__MASTER_KEY={old}\n")
    with installation(tmp_path, RUNTIME_DIRECTORY=str(tmp_path), APP_AUTH__MASTER_KEY=old) as installed:
        os.kill(installed.first.pid, signal.SIGHUP)
        installed.wait(lambda: installed.log.read_text().count('"listening"') == 2)
        copy.write_text(f"APP_AUTH__MASTER_KEY={new}\n")
        os.kill(installed.first.pid, signal.SIGHUP)
        installed.wait(lambda: ask(f"{installed.v1}/models", key=new).status == 200)
        installed.wait(lambda: all(ask(f"{installed.v1}/models", key=old).status == 401 for _ in range(20)))


@pytest.mark.parametrize("ending", [False, True])
def test_a_reload_while_a_broken_version_is_under_way_is_not_lost_and_its_outcome_is_what_is_told(tmp_path: Path, ending: bool) -> None:
    begun, end = tmp_path / "begun", tmp_path / "end"
    waits = f"[time.sleep(0.05) for _ in iter(lambda: os.path.exists('{end}'), True)]"
    fail = f"os.close(int(os.environ['{READY_VARIABLE}'])); time.sleep(600)" if ending else f"{waits}; sys.exit(3)"
    lines = (f"signal.signal(signal.SIGTERM, lambda *_: ({waits}, os._exit(3)))", f"open('{begun}', 'w').close()", fail)
    broken, good = tmp_path / "broken", tmp_path / "good"
    broken.write_text("\n".join(("#!/usr/bin/python3", "import os, signal, sys, time", *lines)))
    shutil.copy(BINARY, good)
    with manager(tmp_path / "s") as told, installation(tmp_path, NOTIFY_SOCKET=str(tmp_path / "s"), WATCHDOG_USEC="1000000") as installed:
        installed.put(broken)
        os.kill(installed.first.pid, signal.SIGHUP)
        installed.wait(lambda: any("did not get ready" in each for each in told) if ending else begun.exists())
        good.rename(installed.binary)
        os.kill(installed.first.pid, signal.SIGHUP)
        installed.wait(lambda: "another one follows it" in installed.log.read_text())
        before = len(told)
        end.touch()
        installed.wait(lambda: any("MAINPID=" in each for each in told))
        installed.wait(lambda: len(told) - before > 3)
    assert "did not get ready" in installed.log.read_text()
    assert not [each for each in told[before:] if "did not get ready" in each]
