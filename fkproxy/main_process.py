"""The main process: it starts the worker, keeps the listening socket, and is what systemd knows. Floor 4.

    main process   signals, a new worker for one that died, readiness and watchdog, the handover to another version (supervision.py)
    worker         all the rest: settings, the socket, the application, Granian (server.py)

The worker is forked before anything else is loaded, so the main process stays small: what it had in memory, the host would have to
have twice for as long as the service runs. What it has to know it hears from the worker: `Terms`, the listening socket, and the
settings as bytes that it only keeps. With these the next worker goes on as the first one began, whatever is on disk by then; the
providers file alone, which may have been reloaded since, it reads again.

All that it does it does in one loop of one thread, beside which there is one that only asks for /health. Signals are noted, and acted
upon between two looks. It imports nothing later: it may fork at any time, and its program may be gone from the disk.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import mmap
import os
import pickle
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, NoReturn

from fkproxy.notices import Notices
from fkproxy.supervision import READY_VARIABLE, Successor, Watch, own_command
from fkproxy.systemd import watchdog_s

__all__ = ["END_WITHIN_S", "Main", "Terms", "have_standard_streams", "run"]

logger = logging.getLogger("fkproxy.main_process")

_LEAVING, _FAILED_HANDOVERS, _TURNS, _OVERDUE = range(4)
"""Places in the memory that the main process shares with its worker."""

_CRASH_LOOP_S = 5.5
"""A worker that came after another one has to live so long, or there is none after it."""

_TELL_WITHIN_S = 90.0
"""How long a worker may take to read its settings and to listen."""

END_WITHIN_S = 10.0
"""How long a worker may take to end when the time for its calls is over."""

_LOOK_EVERY_S = 0.25
"""Where the end of a process is waited for that no signal tells for sure."""

_AGAIN_AFTER_S = 1.0
"""When a worker that has not served anybody is asked again to end."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
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

    def turn(self) -> None:
        """The worker's loop goes round."""
        self._shared[_TURNS] += 1

    @property
    def gone(self) -> bool:
        """It was killed: nobody else would ask the worker to end."""
        return os.getppid() != self.pid

    @property
    def overdue(self) -> bool:
        """The time for calls under way is over."""
        return self._shared[_OVERDUE] != 0

    def leave(self) -> None:
        """For a worker that is alone."""
        self._shared[_LEAVING] = 1

    def end_calls(self) -> None:
        """For a worker that is alone."""
        self._shared[_OVERDUE] = 1

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
    """`_worker`: its pid, None where there is none. `_code`: how the last one ended, negative for a signal."""

    def __init__(self, work: Callable[[Main], int]) -> None:
        self._work = work
        self._shared = memoryview(mmap.mmap(-1, 32)).cast("Q")
        self._seen: dict[int, int] = dict.fromkeys(_SIGNALS, 0)
        self._worker: int | None = None
        self._code: int | None = None
        self._channel: socket.socket | None = None
        self._heard = b""
        self._descriptors: list[int] = []
        self._terms: Terms | None = None
        self._listener: socket.socket | None = None
        self._kept = b""
        self._watch: Watch | None = None
        self._successor: Successor | None = None
        self._handed_over = self._hand_over_again = self._terminated = False
        self._stopped_by = 0
        self._followed_s: float | None = None
        self._tell_by_s = self._stop_at_s = self._again_at_s = self._overdue_at_s = self._kill_at_s = float("inf")

    def run(self) -> int:
        woken, wake = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, self._note)
        while True:
            self._obey()
            if self._worker is None:
                code = self._code_of_service()
                if code is not None:
                    break
                self._start_worker()
            self._wait(woken)
            self._hear()
            self._reap()
            self._follow()
            self._mind_deadlines()
        if self._successor is not None and not self._handed_over:
            self._successor.end()
        return code

    def _note(self, number: int, _: object) -> None:
        self._seen[number] += 1

    def _obey(self) -> None:
        seen, self._seen = self._seen, dict.fromkeys(_SIGNALS, 0)
        if seen[signal.SIGHUP]:
            self._hand_over()
        if seen[signal.SIGTERM]:
            self._terminate()
        if seen[signal.SIGINT]:
            # From a keyboard: it does not wait, and a second time not for calls under way either.
            if self._stopped_by:
                self._signal(signal.SIGKILL)
            self._stop(signal.SIGINT)

    def _wait(self, woken: int) -> None:
        """Until there is something to do."""
        watched = [woken]
        if self._channel is not None:
            watched.append(self._channel.fileno())
        due_s = min(self._tell_by_s, self._stop_at_s, self._again_at_s, self._overdue_at_s, self._kill_at_s)
        if self._successor is not None and not self._handed_over:
            if not self._successor.doomed:
                watched.append(self._successor.descriptor)
            due_s = min(due_s, self._successor.due_s, time.monotonic() + _LOOK_EVERY_S)
        if any(self._seen.values()):
            return
        timeout_s = None if due_s == float("inf") else max(0.0, due_s - time.monotonic())
        select.select(watched, (), (), timeout_s)
        with contextlib.suppress(BlockingIOError):
            while os.read(woken, 4096):
                pass

    # --- the worker

    def _start_worker(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        main = Main(self._shared, theirs, self._listener, self._kept)
        # A signal that came between the fork and the worker's own handlers would be taken for one to the main process.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        worker = os.fork()
        if worker == 0:
            ours.close()
            _be_worker(self._work, main)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        theirs.close()
        self._worker, self._channel, self._heard = worker, ours, b""
        self._tell_by_s = time.monotonic() + _TELL_WITHIN_S

    def _hear(self) -> None:
        """Take what the worker tells, to its end. One that ends before has told its reason to whoever started it."""
        channel = self._channel
        if channel is None:
            return
        try:
            while True:
                data, descriptors, _, _ = socket.recv_fds(channel, 65536, 1)
                self._descriptors += descriptors
                if not data:
                    break
                self._heard += data
        except BlockingIOError:
            return
        except ConnectionError:
            pass
        channel.close()
        self._channel, self._tell_by_s = None, float("inf")
        self._learn()

    def _learn(self) -> None:
        descriptors, self._descriptors = self._descriptors, []
        size, told = int.from_bytes(self._heard[:8], "big"), self._heard[8:]
        self._heard = b""
        if not descriptors or len(told) < size or self._terms is not None:
            for descriptor in descriptors:
                os.close(descriptor)
            return
        terms = self._terms = Terms(*json.loads(told[:size]))
        self._kept = told[size:]
        self._listener = socket.socket(fileno=descriptors[0])
        if terms.inherited is not None:
            os.close(terms.inherited)
        handler = Notices(format=terms.format, journal=terms.journal)
        logging.basicConfig(level=terms.level.upper(), handlers=[handler])
        self._watch = Watch(
            address=(terms.host, terms.port),
            variables=terms.variables,
            watchdog_s=watchdog_s(terms.variables),
            turns=lambda: self._shared[_TURNS],
        )
        self._watch.start()

    def _reap(self) -> None:
        if self._worker is None:
            return
        pid, status = os.waitpid(self._worker, os.WNOHANG)
        if pid:
            self._hear()
            self._worker, self._code = None, os.waitstatus_to_exitcode(status)
            self._tell_by_s = float("inf")

    def _code_of_service(self) -> int | None:
        """With what the service ends now that there is no worker; None where there is to be another one."""
        if self._stopped_by:
            return 130 if self._stopped_by == signal.SIGINT and self._terms is None else 0
        code = self._code
        if code is None:
            return None
        if self._terms is None or self._watch is None:
            return code if code >= 0 else 1
        logger.error("the worker ended unexpectedly", extra={"exit_code": code})
        if self._shared[_LEAVING]:
            return 0 if self._terminated else 1
        now_s = time.monotonic()
        if self._followed_s is not None and (now_s - self._followed_s < _CRASH_LOOP_S or not self._watch.served):
            logger.critical("one worker after the other ends: the service gives up")
            return 1
        self._followed_s = now_s
        self._watch.again()
        return None

    # --- the end

    def _terminate(self) -> None:
        """SIGTERM. One that has handed over is leaving already: systemd's word to the whole group does not hurry it, a second one does."""
        if self._successor is not None and not self._handed_over:
            self._successor.give_up()
        if self._terminated or self._watch is None or not self._watch.served:
            self._stop(signal.SIGTERM)
        else:
            self._terminated = True
            self._leave()

    def _leave(self) -> None:
        """Stop after a while in which clients are asked to let go of their connections.

        A client that writes to a connection at the moment we close it sees a reset and cannot know whether it was heard.
        """
        if self._shared[_LEAVING] or self._terms is None or self._watch is None or self._listener is None:
            return
        if not self._watch.served:
            # The worker may not have taken the socket yet, and nobody has a connection.
            self._stop(signal.SIGTERM)
            return
        self._shared[_LEAVING] = 1
        self._watch.stopping()
        self._listener.close()
        self._stop_at_s = time.monotonic() + self._terms.lame_duck_s

    def _stop(self, number: int) -> None:
        self._stop_at_s = float("inf")
        if self._stopped_by:
            return
        self._stopped_by = number
        if self._watch is not None:
            self._watch.stopping()
        if self._terms is None or self._channel is not None:
            # It has not come to anything that could be lost.
            self._signal(signal.SIGKILL)
            return
        # Whom systemd sends SIGTERM are all processes of the group, each at once; this comes from here alone.
        self._signal(signal.SIGINT)
        now_s = time.monotonic()
        self._overdue_at_s = now_s + self._terms.drain_timeout_s
        if self._watch is not None and not self._watch.served:
            # Between two runs of its loop nobody hears it.
            self._again_at_s = now_s + _AGAIN_AFTER_S

    def _mind_deadlines(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._stop_at_s:
            self._stop(signal.SIGTERM)
        if now_s >= self._again_at_s:
            self._again_at_s = now_s + _AGAIN_AFTER_S
            self._signal(signal.SIGINT)
        if now_s >= self._overdue_at_s:
            self._overdue_at_s = float("inf")
            self._shared[_OVERDUE] = 1
            self._kill_at_s = now_s + END_WITHIN_S
        if now_s >= self._kill_at_s:
            self._kill_at_s = float("inf")
            self._signal(signal.SIGKILL)
            logger.warning("the worker did not end in time and is killed")
        if now_s >= self._tell_by_s:
            self._tell_by_s = float("inf")
            self._signal(signal.SIGKILL)
            logger.error("the worker hangs before it serves and is killed")

    def _signal(self, number: int) -> None:
        if self._worker is not None:
            os.kill(self._worker, number)

    # --- the handover

    def _hand_over(self) -> None:
        """SIGHUP: start whatever program is on disk now; where one is under way already, which may not have seen it, after that one."""
        if self._successor is not None and self._handed_over:
            # Whoever asks has not heard of it yet.
            os.kill(self._successor.pid, signal.SIGHUP)
            return
        if self._listener is None or self._shared[_LEAVING] or self._stopped_by:
            return
        if self._watch is not None:
            self._watch.note = ""
        if self._successor is not None:
            self._hand_over_again = True
            logger.info("a handover is under way already; another one follows it")
            return
        self._hand_over_again = False
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._successor = Successor(own_command(sys.argv[1:]), self._variables_of_successor, self._listener.fileno())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def _variables_of_successor(self) -> Mapping[str, str]:
        # In the new process, which may load what this one has not.
        from fkproxy.settings import LoadedSettings, SettingsError, successor_variables

        loaded: LoadedSettings = pickle.loads(self._kept)  # noqa: S301 - our own worker wrote it
        try:
            return successor_variables(loaded.environment)
        except SettingsError as error:
            for problem in error.problems:
                logger.critical("not started: %s", problem)
            raise

    def _follow(self) -> None:
        """See how far the successor is."""
        successor, watch = self._successor, self._watch
        if successor is None or watch is None or self._handed_over:
            return
        status = successor.look()
        if status:
            successor.close()
            self._handed_over = True
            watch.handed_over(successor.pid, status)
            self._leave()
            logger.info("another process has taken over; this one finishes its calls", extra={"successor": successor.pid})
            if self._hand_over_again:
                self._hand_over()
        elif status == "":
            successor.give_up()
            self._shared[_FAILED_HANDOVERS] += 1
            if not (self._hand_over_again or self._seen[signal.SIGHUP]):
                # Whoever has asked again would take it for the outcome of that.
                watch.goes_on(f"; the version that was to follow did not get ready at {time.strftime('%H:%M:%SZ', time.gmtime())}")
            logger.error("the next version did not get ready; this one goes on", extra={"exit_code": successor.exit_code})
        if not self._handed_over and status != "" and successor.doomed and successor.gone():
            successor.close()
            self._successor = None
            if self._hand_over_again:
                self._hand_over()


def _be_worker(work: Callable[[Main], int], main: Main) -> NoReturn:
    """What is left of this process, which was just forked, is the worker. It ends without unwinding what it has of the main process."""
    code: Any = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # Not ignored, for programs that the worker starts would inherit that.
        signal.signal(signal.SIGHUP, _not_ours)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        code = work(main)
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:
        code = 130
    except BaseException:  # noqa: BLE001 - told as the interpreter would
        sys.excepthook(*sys.exc_info())
    finally:
        try:
            logging.shutdown()
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
        finally:
            os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _not_ours(_number: int, _frame: object) -> None:
    """A hangup is the main process's affair."""


def have_standard_streams() -> None:
    """Where one of them was closed, a socket would get its number, and log lines with it; and commands would have nothing to print to."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # As stderr does: a name that the locale has no letters for is no reason to end.
        sys.stdout.reconfigure(errors="backslashreplace")
