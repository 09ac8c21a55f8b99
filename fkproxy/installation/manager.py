"""The service manager, through `systemctl`. Floor 4."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from fkproxy.installation.places import SERVICE, SOCKET

__all__ = ["Refused", "is_here", "listens_at", "require", "show", "socket_address", "started_s", "tell"]

_TIMEOUT_S = 180.0


class Refused(Exception):
    """What was asked for would break something, or cannot be done. Says why, and what to do; nothing was changed unless it says so."""


def is_here() -> bool:
    """Whether this machine runs systemd (sd_booted(3))."""
    return Path("/run/systemd/system").is_dir() and shutil.which("systemctl") is not None


def require() -> None:
    """Raise `Refused` unless services can be managed here, by us."""
    if not is_here():
        raise Refused("this machine does not run systemd; start the file itself, under whatever supervises processes here")
    if os.geteuid() != 0:
        raise Refused("this changes the system: run it as root")


def tell(*arguments: str) -> str:
    """Run one systemctl command and return what it printed. Raises `Refused` with its own words when it fails."""
    try:
        done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, timeout=_TIMEOUT_S)  # noqa: S603, S607 - fixed words
    except subprocess.TimeoutExpired as error:
        raise Refused(f"'systemctl {' '.join(arguments)}' did not end within {_TIMEOUT_S:g} s") from error
    if done.returncode:
        raise Refused(f"'systemctl {' '.join(arguments)}' failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def show(*names: str, unit: str = SERVICE) -> dict[str, str]:
    """Properties of a unit; "" for one it does not have. Raises `Refused`."""
    lines = tell("show", unit, *(f"--property={name}" for name in names)).splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    return {name: found.get(name, "") for name in names}


def socket_address() -> tuple[str, int] | None:
    """See `listens_at`; None where there is no systemd, or no such unit."""
    try:
        return listens_at(show("ActiveState", "Listen", unit=SOCKET)) if is_here() else None
    except Refused:
        return None


def listens_at(socket: Mapping[str, str]) -> tuple[str, int] | None:
    """(host, port) at which clients of this host find the service, by the properties of its socket unit; None where that is not up."""
    named, _, number = socket.get("Listen", "").partition(" ")[0].rpartition(":")
    if socket.get("ActiveState") != "active" or not number.isdigit():
        return None
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host := named.strip("[]"), host), int(number)  # noqa: S104 - compared, not bound


def started_s(pid: int) -> float:
    """When a process was started, by CLOCK_BOOTTIME and at most; 0.0 for one that is gone. Source: proc(5), the 22nd field of stat."""
    try:
        # The second field, in brackets, is a name with any bytes.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[19]) + 1) / os.sysconf("SC_CLK_TCK")
