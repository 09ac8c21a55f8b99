"""What tests in a booted machine ask and wait for."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

from tests.lab.machine import Machine

CALLS, STREAMS = 500, 20
"""Until which a load goes on, again and again."""


def said(machine: Machine, command: str) -> str:
    """What a command that must succeed prints."""
    done = machine.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return str(done.stdout).strip()


def refused(machine: Machine, command: str, exit_code: int = 1) -> str:
    """What a command that must fail prints on stderr."""
    done = machine.run(command, capture_output=True, text=True)
    assert done.returncode == exit_code, f"{command}: {done.returncode} {done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr
    return str(done.stderr).strip()


def health(machine: Machine) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(said(machine, "curl -sf http://127.0.0.1:4000/health"))
    return value


def main_pid(machine: Machine) -> int:
    return int(said(machine, "systemctl show -P MainPID fkllmproxy"))


def until(condition: Any, timeout_s: float = 180.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def under_load(machine: Machine, *commands: str) -> dict[str, Any]:
    """Run commands, one after another, while the load goes on, before and after each for many calls and streams; the load's figures."""
    enter = machine._enter()
    assert enter is not None
    load = subprocess.Popen([*enter, "/usr/bin/python3", "/opt/load.py", "4000"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert load.stdin is not None
    assert load.stdout is not None

    def goes_on() -> None:
        print(CALLS, STREAMS, file=load.stdin, flush=True)
        assert load.stdout is not None
        assert load.stdout.readline() == "going on\n"

    goes_on()
    for command in commands:
        done = machine.run(command, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        goes_on()
    out, _ = load.communicate(timeout=180)
    figures: dict[str, Any] = json.loads(out)
    return figures
