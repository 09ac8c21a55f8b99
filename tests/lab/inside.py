"""What tests in a booted machine ask and wait for."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

from tests.lab.machine import Machine


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


def under_load(machine: Machine, seconds: float, *commands: str) -> dict[str, Any]:
    """Run commands, one after another with pauses, while the load goes on; the load's figures."""
    enter = machine._enter()
    assert enter is not None
    load = subprocess.Popen([*enter, "/usr/bin/python3", "/opt/load.py", "4000", str(seconds)], stdout=subprocess.PIPE)
    time.sleep(2.0)
    for command in commands:
        done = machine.run(command, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        time.sleep(1.5)
    out, _ = load.communicate(timeout=seconds + 90)
    figures: dict[str, Any] = json.loads(out)
    return figures
