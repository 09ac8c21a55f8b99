"""What systemd and this process tell each other. Floor 4. The only file with sdnotify.

Without systemd nothing is told and nothing inherited, and everything else is the same.
Sources: sd_notify(3), sd_listen_fds(3), systemd.service(5), read 2026-11; the machine has systemd 252.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

import sdnotify  # type: ignore[import-untyped]  # it has no types

__all__ = ["LISTEN_VARIABLE", "Notifier", "inherited_socket", "watchdog_s"]

LISTEN_VARIABLE = "FKLLMPROXY_LISTEN_FD"
"""How a process hands its listening socket to the one that takes over: the number of the descriptor."""

_FIRST_PASSED_DESCRIPTOR = 3


class Notifier:
    """Tells the service manager. Silent where there is none."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._systemd = sdnotify.SystemdNotifier() if environ.get("NOTIFY_SOCKET") else None

    def ready(self, status: str) -> None:
        """Start-up is over: requests are answered."""
        self._tell(f"READY=1\nSTATUS={_line(status)}")

    def alive(self, status: str) -> None:
        """The watchdog may wait another interval."""
        self._tell(f"WATCHDOG=1\nSTATUS={_line(status)}")

    def status(self, status: str) -> None:
        """One line for `systemctl status`."""
        self._tell(f"STATUS={_line(status)}")

    def stopping(self) -> None:
        """A stop was asked for; calls under way are let go on."""
        self._tell("STOPPING=1\nSTATUS=finishing the calls under way")

    def handed_over(self, pid: int, status: str) -> None:
        """Another process of this service, which has just answered, is the main one now. Its own first sign of life is an interval away."""
        self._tell(f"MAINPID={pid}\nREADY=1\nWATCHDOG=1\nSTATUS={_line(status)}")

    def close(self) -> None:
        """Nothing more is told."""
        if self._systemd is not None and self._systemd.socket is not None:
            self._systemd.socket.close()

    def _tell(self, text: str) -> None:
        if self._systemd is not None:
            self._systemd.notify(text)


def _line(text: str) -> str:
    return text.replace("\n", " ")


def watchdog_s(environ: Mapping[str, str]) -> float | None:
    """Seconds between two signs of life, a third of what systemd waits; None where it does not watch."""
    interval = environ.get("WATCHDOG_USEC", "")
    return int(interval) / 3e6 if interval.isdigit() and int(interval) > 0 else None


def inherited_socket(environ: Mapping[str, str], pid: int) -> socket.socket | None:
    """The listening socket that systemd's socket unit, or the process before this one, has opened; None where there is none.

    `pid`: the main process, which is whom systemd means. Raises `ValueError` for a descriptor that is no listening TCP socket, and where
    there is more than one: whoever connects to the second would wait for ever.
    """
    number: int | None = None
    passed = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") == str(pid) and passed.isdigit() and int(passed) > 0:
        if int(passed) > 1:
            raise ValueError(f"systemd passed {passed} sockets; one ListenStream= only: put an empty 'ListenStream=' line before yours")
        number = _FIRST_PASSED_DESCRIPTOR
    if environ.get(LISTEN_VARIABLE, "").isdigit():
        number = int(environ[LISTEN_VARIABLE])
    if number is None:
        return None
    try:
        found = socket.socket(fileno=number)
        listening = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise ValueError(f"descriptor {number}, which was passed as the listening socket, is no socket") from error
    if found.family not in (socket.AF_INET, socket.AF_INET6) or not listening:
        found.detach()
        raise ValueError(f"descriptor {number}, which was passed as the listening socket, is no listening TCP socket")
    os.set_inheritable(number, False)
    return found
