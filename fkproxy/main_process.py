"""The main process: it starts the worker, keeps the listening socket, and is what systemd knows. Floor 4.

    main process   signals, a new worker for one that died, readiness and watchdog, the handover to another version (supervision.py)
    worker         all the rest: settings, the socket, the application, Granian (server.py)

The worker is forked before anything else is loaded, so the main process stays small: what it had in memory, the host would have to
have twice for as long as the service runs. What it has to know it hears from the worker: `Terms`, the listening socket, and the
settings as bytes that it only keeps. With these the next worker goes on as the first one began, whatever is on disk by then.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import pickle
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, NoReturn

from fkproxy.supervision import READY_VARIABLE, Supervisor, own_command
from fkproxy.systemd import watchdog_s

__all__ = ["Main", "Terms", "run"]

logger = logging.getLogger("fkproxy.main_process")

_LEAVING, _FAILED_HANDOVERS = range(2)
"""Places in the memory that the main process shares with its worker."""

_CRASH_LOOP_S = 5.5
"""A worker that came after another one has to live so long, or there is none after it."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_TOLD = ("NOTIFY_SOCKET", "WATCHDOG_USEC", READY_VARIABLE)
"""What of the environment the main process has to know."""


class Terms(NamedTuple):
    """What the worker tells the main process. `host`, `port`: where /health is asked for; `inherited`: the descriptor listened on."""

    host: str
    port: int
    inherited: int | None
    lame_duck_s: float
    drain_timeout_s: float
    level: str
    format: Literal["json", "pretty"]
    journal: bool
    variables: Mapping[str, str]


class Main:
    """What a worker has of its main process, and of the worker before it: `listener` and `kept`, where there was one."""

    def __init__(self, shared: memoryview[int], channel: socket.socket, listener: socket.socket | None, kept: bytes) -> None:
        self.pid = os.getpid()
        self.listener = listener
        self.kept = kept
        self._shared = shared
        self._channel = channel

    @property
    def leaving(self) -> bool:
        """A stop was asked for, or another process has taken over: no new connections."""
        return self._shared[_LEAVING] != 0

    @property
    def failed_handovers(self) -> int:
        """How many versions that were to follow did not get ready."""
        return self._shared[_FAILED_HANDOVERS]

    @property
    def gone(self) -> bool:
        """It was killed: nobody else would ask the worker to end."""
        return os.getppid() != self.pid

    def leave(self) -> None:
        """For a worker that is alone."""
        self._shared[_LEAVING] = 1

    def tell(self, terms: Terms, listener: socket.socket, kept: bytes) -> None:
        """Say once what the main process must know. `kept` is what the next worker is given."""
        told = terms._replace(variables={name: value for name, value in terms.variables.items() if name in _TOLD})
        head = json.dumps(told).encode()
        with self._channel:
            socket.send_fds(self._channel, [len(head).to_bytes(8, "big")], [listener.fileno()])
            self._channel.sendall(head + kept)


def run(work: Callable[[Main], int]) -> int:
    """Have a worker do `work` until it is told to stop, and return the exit code; of a worker that told nothing its own."""
    return _MainProcess(work).run()


class _MainProcess:
    def __init__(self, work: Callable[[Main], int]) -> None:
        self._work = work
        self._shared = memoryview(mmap.mmap(-1, 16)).cast("Q")
        self._worker: int | None = None
        self._terms: Terms | None = None
        self._listener: socket.socket | None = None
        self._kept = b""
        self._supervisor: Supervisor | None = None
        self._terminated = False
        self._stopped_by = 0

    def run(self) -> int:
        for number in _SIGNALS:
            signal.signal(number, self._asked)
        followed_s: float | None = None
        while True:
            code = self._one_worker()
            if self._stopped_by == signal.SIGINT and self._terms is None:
                return 130
            if self._stopped_by:
                return 0
            if self._terms is None:
                return code if code >= 0 else 1
            logger.error("the worker ended unexpectedly", extra={"exit_code": code})
            if self._shared[_LEAVING]:
                return 1
            if followed_s is not None and time.monotonic() - followed_s < _CRASH_LOOP_S:
                logger.critical("one worker after the other ends: the service gives up")
                return 1
            followed_s = time.monotonic()

    def _one_worker(self) -> int:
        """Start a worker, hear what it tells, and wait for its end: its exit code, negative for the signal that ended it."""
        ours, theirs = socket.socketpair()
        main = Main(self._shared, theirs, self._listener, self._kept)
        # A signal that came between the fork and the worker's own handlers would be taken for one to the main process.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        worker = os.fork()
        if worker == 0:
            ours.close()
            _be_worker(self._work, main)
        self._worker = worker
        theirs.close()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        with ours:
            self._hear(ours)
        # First who it is and then its end: as long as nobody has asked for that, the number is nobody else's.
        os.waitid(os.P_PID, worker, os.WEXITED | os.WNOWAIT)
        self._worker = None
        return os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])

    def _hear(self, channel: socket.socket) -> None:
        """Take what the worker tells. One that ends before has told its reason to whoever started it."""
        size, descriptors, _, _ = socket.recv_fds(channel, 8, 1)
        with channel.makefile("rb") as file:
            told = file.read()
        length = int.from_bytes(size, "big")
        head = told[:length]
        if not descriptors or len(head) < length:
            return
        if self._terms is not None:
            os.close(descriptors[0])
            return
        terms = self._terms = Terms(*json.loads(head))
        self._kept = told[length:]
        self._listener = socket.socket(fileno=descriptors[0])
        if terms.inherited is not None:
            os.close(terms.inherited)
        logging.basicConfig(level=logging.INFO, handlers=[_FirstLine(terms)])
        self._supervisor = Supervisor(
            address=(terms.host, terms.port),
            descriptor=self._listener.fileno(),
            command=own_command(sys.argv[1:]),
            variables=terms.variables,
            successor_variables=self._successor_variables,
            watchdog_s=watchdog_s(terms.variables),
            stop=self._leave,
            failed=self._failed,
        )
        self._supervisor.start()

    # --- the end

    def _asked(self, number: int, _: object) -> None:
        if number == signal.SIGHUP:
            # Whatever program is on disk now.
            if self._supervisor is not None:
                self._supervisor.hand_over()
        elif number == signal.SIGTERM and not self._terminated and self._supervisor is not None and self._supervisor.served:
            # One that has handed over is leaving already: systemd's word to the whole group does not hurry it.
            self._terminated = True
            self._leave()
        else:
            # From the keyboard, a second time, or before anybody was served: it does not wait.
            self._stop(number)

    def _leave(self) -> None:
        """Stop after a while in which clients are asked to let go of their connections.

        A client that writes to a connection at the moment we close it sees a reset and cannot know whether it was heard.
        """
        if self._shared[_LEAVING] or self._terms is None or self._supervisor is None or self._listener is None:
            return
        self._shared[_LEAVING] = 1
        self._supervisor.stopping()
        self._listener.close()
        _after(self._terms.lame_duck_s, self._stop)

    def _stop(self, number: int = signal.SIGTERM) -> None:
        if self._stopped_by:
            return
        self._stopped_by = number
        if self._supervisor is not None:
            self._supervisor.stopping()
        # Whom systemd sends SIGTERM are all processes of the group, each at once; this comes from here alone.
        self._signal(signal.SIGINT)
        if self._terms is not None:
            _after(self._terms.drain_timeout_s, self._kill)

    def _kill(self) -> None:
        if self._worker is not None:
            logger.warning("the worker did not end in time and is killed")
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        worker = self._worker
        if worker is not None:
            os.kill(worker, number)

    # --- the handover

    def _failed(self) -> None:
        self._shared[_FAILED_HANDOVERS] += 1

    def _successor_variables(self) -> Mapping[str, str]:
        # Imported here: it takes more memory than all the rest of this process, which needs it only now, and not for long.
        from fkproxy.settings import LoadedSettings, successor_variables

        loaded: LoadedSettings = pickle.loads(self._kept)  # noqa: S301 - our own worker wrote it
        return successor_variables(loaded.environment)


class _FirstLine(logging.Handler):
    """Sets the log up when there is something to say: that takes more memory than all the rest of the main process."""

    def __init__(self, terms: Terms) -> None:
        super().__init__()
        self._terms = terms

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`."""
        from fkproxy.telemetry import logs

        logs.configure(level=self._terms.level, format=self._terms.format, journal=self._terms.journal)
        named = logging.getLogger(record.name)
        if named.isEnabledFor(record.levelno):
            named.handle(record)


def _be_worker(work: Callable[[Main], int], main: Main) -> NoReturn:
    """What is left of this process, which was just forked, is the worker. It ends without unwinding what it has of the main process."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Not ignored, for programs that the worker starts would inherit that.
    signal.signal(signal.SIGHUP, _not_ours)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    code: Any = 1
    try:
        code = work(main)
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - told as the interpreter would
        sys.excepthook(*sys.exc_info())
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _not_ours(_number: int, _frame: object) -> None:
    """A hangup is the main process's affair."""


def _after(seconds: float, act: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, act)
    timer.daemon = True
    timer.start()
