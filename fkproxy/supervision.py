"""What the main process asks and tells while its worker serves, and how the next version takes over. Floor 4.

    start      a thread asks /health on the real address until this very process answers; then READY=1, and READY to whoever waits
    watchdog   the same question every third of systemd's interval; no answer, no sign of life, unless the worker's loop goes round: then
               every connection is taken, which a restart would not mend and calls under way would not survive
    handover   SIGHUP: the file that is on disk now is started with the listening socket and the settings of now; when it is ready it
               becomes the main process, and this one finishes the calls under way. If it does not get ready, nothing changes

Both processes of a handover accept from one socket, so no connection is ever refused; /health names the process that answered.

Nothing here imports anything when it is under way: the main process may fork at any time, and its program may be gone from the disk.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fkproxy.systemd import LISTEN_VARIABLE, Notifier

__all__ = ["READY_VARIABLE", "SUPERVISOR_AGENT", "Successor", "Watch", "own_command", "wait_until_ready"]

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

_END_WITHIN_S = 10.0
"""How long a version that did not get ready may take to end."""

_NOT_PASSED_ON = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")

logger = logging.getLogger("fkproxy.supervision")


class Watch:
    """A thread that asks for /health at `address`, and tells systemd. `served`: the worker of now has answered. `turns`: how often its loop
    has gone round."""

    def __init__(
        self, *, address: tuple[str, int], variables: Mapping[str, str], watchdog_s: float | None, turns: Callable[[], int]
    ) -> None:
        self.served = False
        self.note = ""
        self._address = address
        self._variables = dict(variables)
        self._watchdog_s = watchdog_s
        self._turns = turns
        self._notifier = Notifier(variables)
        self._woken = threading.Event()
        self._ended = self._handed_over = False
        self._told_ready = False

    def start(self) -> None:
        """Begin to ask."""
        threading.Thread(target=self._run, name="watch", daemon=True).start()

    def again(self) -> None:
        """There is another worker: has it answered?"""
        self.served = False
        self._woken.set()

    def stopping(self) -> None:
        """A stop was asked for."""
        if not self._ended:
            self._ended = True
            self._woken.set()
            if not self._handed_over:
                self._notifier.stopping()

    def handed_over(self, pid: int, status: str) -> None:
        """Another process is the main one now."""
        self._handed_over = True
        self._notifier.handed_over(pid, status)

    def goes_on(self, note: str) -> None:
        """A handover failed: the status says so from now on."""
        self.note = note
        self._notifier.status(f"it goes on{note}")

    def _run(self) -> None:
        pause_s = min(self._watchdog_s or _STATUS_EVERY_S, _STATUS_EVERY_S)
        while True:
            self._woken.wait(pause_s if self.served else _ASK_EVERY_S)
            self._woken.clear()
            if self._ended:
                return
            turns = self._turns()
            health = self._ask()
            if health is not None and health.get("pid") == os.getpid():
                self.served = True
            if not self._told_ready:
                if self.served:
                    self._ready(_status(health or {}))
            elif health is not None:
                self._tell(_status(health))
            elif self.served and self._turns() != turns:
                logger.warning("the service goes on with its calls, but takes no new connection")
                self._tell("it takes no new connection")
            elif self.served:
                logger.warning("the service did not answer its own health check")

    def _tell(self, status: str) -> None:
        tell = self._notifier.alive if self._watchdog_s is not None else self._notifier.status
        tell(status + self.note)

    def _ready(self, status: str) -> None:
        self._told_ready = True
        if READY_VARIABLE not in self._variables:
            self._notifier.ready(status)
            return
        # systemd listens to the main process only, which this one becomes when its predecessor says so.
        number = self._variables[READY_VARIABLE]
        if number.isdigit():
            with contextlib.suppress(OSError):
                os.write(int(number), f"ready {status}\n".encode())
                os.close(int(number))

    def _ask(self) -> dict[str, Any] | None:
        """What /health says, whatever its status: None when nothing comes."""
        until_s = time.monotonic() + _ASK_TIMEOUT_S
        reply = b""
        try:
            # The address is one in digits: to look it up would import.
            with socket.socket(socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET) as connection:
                connection.settimeout(_ASK_TIMEOUT_S)
                connection.connect(self._address)
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


class Successor:
    """The next version, from its start until it is ready or gone. `descriptor`: readable when there is something to `look` at.

    `variables` is asked in the new process, which may import and fail. The socket of the listening `listener` is inherited. `doomed`:
    it was given up. `due_s`: when it is to be looked at in any case, in monotonic time.
    """

    def __init__(self, command: Sequence[str], variables: Callable[[], Mapping[str, str]], listener: int) -> None:
        self.descriptor, told = os.pipe()
        os.set_blocking(self.descriptor, False)
        self.exit_code: int | None = None
        self.due_s = time.monotonic() + _HANDOVER_TIMEOUT_S
        self.doomed = False
        self.pid = os.fork()
        if self.pid == 0:
            _become(command, variables, listener, told)
        os.close(told)

    def look(self) -> str | None:
        """Its status line when it has got ready, "" when it has failed, None while neither is known."""
        if self.doomed:
            return None
        try:
            data = os.read(self.descriptor, 4096)
        except BlockingIOError:
            data = None
        if data:
            return _status_told(data) or ""
        if data is not None or self.gone() or time.monotonic() >= self.due_s:
            return ""
        return None

    def gone(self) -> bool:
        """It has ended. One that is to end and takes too long is killed."""
        if self.exit_code is None:
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.exit_code = os.waitstatus_to_exitcode(status)
        if self.exit_code is None and self.doomed and time.monotonic() >= self.due_s:
            os.kill(self.pid, signal.SIGKILL)
        return self.exit_code is not None

    def give_up(self) -> None:
        """It is not to follow any more."""
        if not self.doomed and not self.gone():
            os.kill(self.pid, signal.SIGTERM)
        self.doomed, self.due_s = True, time.monotonic() + _END_WITHIN_S

    def end(self) -> None:
        """This process ends: nobody will look at it again."""
        if not self.gone():
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def close(self) -> None:
        """Let go of the pipe."""
        os.close(self.descriptor)


def _become(command: Sequence[str], variables: Callable[[], Mapping[str, str]], listener: int, told: int) -> None:
    """Be the next version: this process was just forked, with signals blocked, and does not come back."""
    try:
        given = {name: value for name, value in variables().items() if name not in _NOT_PASSED_ON}
        given |= {LISTEN_VARIABLE: str(listener), READY_VARIABLE: str(told)}
        for descriptor in (listener, told):
            os.set_inheritable(descriptor, True)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execve(command[0], [*command], given)  # noqa: S606 - our own file
    except OSError as error:
        logger.error("the next version could not be started", extra={"cause": error.strerror})
    except ImportError:
        cause = "what this one was unpacked to is gone from the disk: only a restart helps"
        logger.error("the next version could not be started", extra={"cause": cause})
    except BaseException as error:  # noqa: BLE001 - whatever it is: this process is not to go on as the one that it was forked from
        logger.error("the next version could not be started", extra={"cause": type(error).__name__})
    finally:
        os._exit(127)


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
        return _status_told(data)
    return None


def _status_told(data: bytes) -> str | None:
    """What follows the word by which a process says that it is ready; None where it says something else.

    One short line is written in one piece (pipe(7), PIPE_BUF).
    """
    return data.decode(errors="replace").removeprefix("ready").strip() if data.startswith(b"ready") else None


def own_command(arguments: Sequence[str]) -> list[str]:
    """How this program is started again: the built file itself, or the module."""
    own = Path(sys.argv[0])
    if own.name == "__main__.py":
        return [sys.executable, "-m", "fkproxy", *arguments]
    return [str(own.resolve()), *arguments]


def _status(health: Mapping[str, Any]) -> str:
    """`0.1.0, ok, upstreams 2 of 2, 3 calls and 1 stream under way`."""
    upstreams = health.get("upstreams") or ()
    up = sum(1 for upstream in upstreams if upstream.get("breaker") != "open" and upstream.get("state") != "paused")
    under_way = f"{health.get('calls_in_flight', 0)} calls ({health.get('streams_open', 0)} streams) under way"
    return f"{health.get('version')}, {health.get('status')}, upstreams {up} of {len(upstreams)}, {under_way}"
