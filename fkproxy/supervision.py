"""The main process beside the server: is it ready, is it alive, and how the next version takes over. Floor 4.

    start      a thread asks /health on the real address until this very process answers; then READY=1, and READY to whoever waits
    watchdog   the same question every third of systemd's interval; no answer, no sign of life
    handover   SIGHUP: the file that is on disk now is started with the listening socket and the settings of now; when it is ready it
               becomes the main process,
               and this one finishes the calls under way. If it does not get ready, nothing changes

Both processes of a handover accept from one socket, so no connection is ever refused; /health names the process that answered.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fkproxy.systemd import LISTEN_VARIABLE, Notifier

__all__ = ["READY_VARIABLE", "SUPERVISOR_AGENT", "Supervisor", "own_command", "wait_until_ready"]

READY_VARIABLE = "FKLLMPROXY_READY_FD"
"""The descriptor on which a process that takes over says that it is ready."""

SUPERVISOR_AGENT = "fkllmproxy-supervisor"
"""What the main process calls itself when it asks for /health, every few seconds; the log need not tell."""

_QUESTION = f"GET /health HTTP/1.1\r\nhost: localhost\r\nuser-agent: {SUPERVISOR_AGENT}\r\nconnection: close\r\n\r\n".encode()
"""To our own server, whose answer has one form. An HTTP library would be a third of what the main process has in memory."""

_MAX_REPLY_BYTES = 4 * 1024 * 1024
_ASK_EVERY_S = 0.05
_ASK_TIMEOUT_S = 5.0
_STATUS_EVERY_S = 10.0
_HANDOVER_TIMEOUT_S = 90.0
"""A first start that has to unpack takes some seconds, also on a slow disk."""

logger = logging.getLogger("fkproxy.supervision")


class Supervisor:
    """`address`: where to ask. `stop`: ends this process in an orderly way.

    `served`: it has been seen that this process answers. `command` and `successor_variables`: how the next version is started, and in
    which environment.
    """

    def __init__(
        self,
        *,
        address: tuple[str, int],
        descriptor: int,
        command: Sequence[str],
        variables: Mapping[str, str],
        successor_variables: Callable[[], Mapping[str, str]],
        watchdog_s: float | None,
        stop: Callable[[], None],
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        self._address = address
        self._descriptor = descriptor
        self._command = tuple(command)
        self._variables = dict(variables)
        self._successor_variables = successor_variables
        self._watchdog_s = watchdog_s
        self._stop = stop
        self._failed = failed
        self._notifier = Notifier(variables)
        self._ended = threading.Event()
        self._handing_over = threading.Lock()
        self._handed_over = False
        self._note = ""
        self.served = False

    def start(self) -> None:
        """Begin to watch, in a thread."""
        threading.Thread(target=self._watch, name="supervisor", daemon=True).start()

    def stopping(self) -> None:
        """A stop was asked for."""
        self._ended.set()
        if not self._handed_over:
            self._notifier.stopping()

    def hand_over(self) -> None:
        """Start what is on disk now and let it take over, in a thread; one at a time."""
        threading.Thread(target=self._hand_over, name="handover", daemon=True).start()

    # --- readiness and watchdog

    def _watch(self) -> None:
        while not self._ended.wait(_ASK_EVERY_S):
            health = self._ask()
            if health is not None and health.get("pid") == os.getpid():
                break
        else:
            return
        self.served = True
        if READY_VARIABLE in self._variables:
            # systemd listens to the main process only, which this one becomes when its predecessor says so.
            self._tell_predecessor(_status(health))
        else:
            self._notifier.ready(_status(health))
        pause_s = min(self._watchdog_s or _STATUS_EVERY_S, _STATUS_EVERY_S)
        while not self._ended.wait(pause_s):
            health = self._ask()
            if health is None:
                logger.warning("the service did not answer its own health check")
            elif self._watchdog_s is not None:
                self._notifier.alive(_status(health) + self._note)
            else:
                self._notifier.status(_status(health) + self._note)

    def _ask(self) -> dict[str, Any] | None:
        """What /health says, whatever its status: None when nothing comes."""
        until_s = time.monotonic() + _ASK_TIMEOUT_S
        reply = b""
        try:
            with socket.create_connection(self._address, timeout=_ASK_TIMEOUT_S) as connection:
                connection.sendall(_QUESTION)
                while len(reply) < _MAX_REPLY_BYTES:
                    connection.settimeout(max(0.001, until_s - time.monotonic()))
                    data = connection.recv(65536)
                    if not data:
                        break
                    reply += data
            value = json.loads(reply.partition(b"\r\n\r\n")[2])
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) else None

    def _tell_predecessor(self, status: str) -> None:
        number = self._variables.get(READY_VARIABLE, "")
        if number.isdigit():
            with contextlib.suppress(OSError):
                os.write(int(number), f"ready {status}\n".encode())
                os.close(int(number))

    # --- handover

    def _hand_over(self) -> None:
        if not self._handing_over.acquire(blocking=False):
            logger.warning("a handover is under way already")
            return
        try:
            self._note = ""
            found = self._successor()
            if found is None:
                self._failed()
                self._note = f"; the version that was to follow did not get ready at {time.strftime('%H:%M:%SZ', time.gmtime())}"
                self._notifier.status(f"it goes on{self._note}")
                return
            child, status = found
            self._handed_over = True
            self._notifier.handed_over(child.pid, status)
            logger.info("another process has taken over; this one finishes its calls", extra={"successor": child.pid})
            self._stop()
        finally:
            self._handing_over.release()

    def _successor(self) -> tuple[subprocess.Popen[bytes], str] | None:
        """The next version, ready, and its status line; None if it did not get so."""
        read_end, write_end = os.pipe()
        skipped = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
        variables = {name: value for name, value in self._successor_variables().items() if name not in skipped}
        variables |= {LISTEN_VARIABLE: str(self._descriptor), READY_VARIABLE: str(write_end)}
        try:
            child = subprocess.Popen(self._command, env=variables, pass_fds=(self._descriptor, write_end))  # noqa: S603 - our own file
        except OSError as error:
            logger.error("the next version could not be started; this one goes on", extra={"cause": error.strerror})
            os.close(read_end)
            return None
        finally:
            os.close(write_end)
        try:
            status = wait_until_ready(read_end, child, _HANDOVER_TIMEOUT_S)
            if status is not None:
                return child, status
        finally:
            os.close(read_end)
        if child.poll() is None:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(10)
            child.kill()
        child.wait()
        logger.error("the next version did not get ready; this one goes on", extra={"exit_code": child.returncode})
        return None


def wait_until_ready(descriptor: int, child: subprocess.Popen[bytes], timeout_s: float) -> str | None:
    """The status line with which the child says that it is ready, on the pipe whose reading end this is; None if it does not in time.

    The pipe ends when the child does.
    """
    os.set_blocking(descriptor, False)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            data = os.read(descriptor, 4096)
        except BlockingIOError:
            if child.poll() is not None:
                return None
            time.sleep(_ASK_EVERY_S)
            continue
        # One short line is written in one piece (pipe(7), PIPE_BUF).
        return data.decode(errors="replace").removeprefix("ready").strip() if data.startswith(b"ready") else None
    return None


def own_command(arguments: Sequence[str]) -> list[str]:
    """How this program is started again: the built file itself, or the module."""
    own = Path(sys.argv[0])
    if own.name == "__main__.py":
        return [sys.executable, "-m", "fkproxy", *arguments]
    return [str(own.resolve()), *arguments]


def _status(health: Mapping[str, Any]) -> str:
    """`0.1.0, ok, upstreams 2 of 2, 3 calls and 1 stream under way`."""
    upstreams = health.get("upstreams") or ()
    up = sum(1 for upstream in upstreams if upstream.get("breaker") != "open")
    under_way = f"{health.get('calls_in_flight', 0)} calls ({health.get('streams_open', 0)} streams) under way"
    return f"{health.get('version')}, {health.get('status')}, upstreams {up} of {len(upstreams)}, {under_way}"
