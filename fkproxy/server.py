"""The process: a socket, a worker, signals. Floor 4. The only importer of Granian.

Granian's main process supervises one worker, which it forks: a worker that dies is replaced, and the main process can tell systemd
the truth about it. One worker, because limits, breakers and seals live in its memory (docs/decisions/0003).

The listening socket is made here, or inherited: from systemd's socket unit, or from the process that this one takes over from
(docs/decisions/0006). Granian is given its descriptor, for which it has no public way; `_Server._init_shared_socket` is that way,
and tests/e2e/test_handover.py is what notices when it changes.
"""

from __future__ import annotations

import errno
import gc
import logging
import mmap
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces, Loops, RuntimeModes
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.mp import MPServer

from fkproxy.scheduling import Scheduling
from fkproxy.settings import LoadedSettings, successor_variables
from fkproxy.supervision import Supervisor, own_command
from fkproxy.systemd import inherited_socket, watchdog_s
from fkproxy.telemetry import logs

__all__ = ["CannotListen", "serve"]

logger = logging.getLogger("fkproxy.server")

_BACKPRESSURE = 4096
"""Connections that the worker takes at once; each open stream is one."""


_LOOK_EVERY_S = 0.5
"""How soon a worker notices that its main process is gone, or that other programs need its processor."""

_LEAVING, _FAILED_HANDOVERS = range(2)
"""Places in the memory that the main process shares with its worker."""

_REACHED_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
"""Where a process that listens everywhere asks itself."""


class CannotListen(Exception):
    """The address cannot be bound. The message says why and what to do."""


def serve(loaded: LoadedSettings) -> None:
    """Serve until told to stop. Warnings about the configuration go to the log. Raises `CannotListen`."""
    settings, environment = loaded.settings, loaded.environment
    server = settings.server
    listener = _inherited(environment.variables) or _listen(server.host, server.port, server.backlog)
    # Accepted sockets have it from the listening one (Linux): without it the second piece of a stream waits 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    logs.configure(level=settings.log.level, format=settings.log.format, journal=environment.journal)
    for warning in loaded.warnings:
        logger.warning(str(warning), extra={"setting": warning.name})
    host, port = listener.getsockname()[:2]
    granian = _Server(
        "fkproxy.app:create_app",
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        workers=1,
        runtime_mode=RuntimeModes.st,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=30_000, keep_alive=True),
        websockets=False,
        backlog=server.backlog,
        backpressure=_BACKPRESSURE,
        log_dictconfig=logs.granian_log_config(level=settings.log.level, format=settings.log.format),
        log_level=LogLevels.info,
        respawn_failed_workers=True,
        workers_kill_timeout=int(server.drain_timeout_secs),
    )
    granian.listener = listener
    granian.lame_duck_s = server.lame_duck_secs
    # Two numbers that the worker, which is forked, sees change: is it to leave, and how many handovers have failed.
    shared = granian.shared = memoryview(mmap.mmap(-1, 16)).cast("Q")

    def failed() -> None:
        shared[_FAILED_HANDOVERS] += 1

    granian.supervisor = Supervisor(
        address=(_REACHED_AT.get(host, host), port),
        descriptor=listener.fileno(),
        command=own_command(sys.argv[1:]),
        variables=environment.variables,
        successor_variables=lambda: successor_variables(environment),
        watchdog_s=watchdog_s(environment.variables),
        stop=granian.leave,
        failed=failed,
    )

    main = os.getpid()

    def load() -> Any:
        # Imported here, by the worker: the main process needs none of it, and what both have, each would have to itself before long.
        from fkproxy.app import create_app

        args = (main, shared, server.lame_duck_secs, Scheduling())
        threading.Thread(target=_watch, args=args, name="watch", daemon=True).start()
        app = create_app(
            loaded,
            leaving=lambda: shared[_LEAVING] != 0,
            stop_accepting=lambda: _stop_accepting(listener.fileno()),
            handovers_failed=lambda: shared[_FAILED_HANDOVERS],
        )
        # What is alive now lives for ever: keep the collector from walking it again and again.
        gc.collect()
        gc.freeze()
        # The usual 700 is what a few calls under way have in hand: it would walk them all the time and find nothing to collect.
        gc.set_threshold(10_000, 20, 20)
        return app

    granian.serve(target_loader=load, wrap_loader=False)


def _watch(main: int, shared: memoryview[int], lame_duck_s: float, scheduling: Scheduling) -> None:
    """Leave when the main process was killed: nobody else would ask the worker to, and who is started next would find the port taken."""
    while os.getppid() == main:
        scheduling.look()
        time.sleep(_LOOK_EVERY_S)
    shared[_LEAVING] = 1
    time.sleep(lame_duck_s + _LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _stop_accepting(descriptor: int) -> None:
    """From now on the worker accepts nothing: the connections that come are for the next process, or refused if there is none.

    Granian stops accepting only when it stops serving, and then closes connections whose first request is still under way to it. So
    its descriptor is made another socket, to which nobody can connect. The listening socket itself lives on where somebody else
    holds it: systemd, or the process that takes over.
    """
    nobody = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    nobody.setblocking(False)
    nobody.bind("")  # unix(7), autobind: a name in the abstract namespace that is told to no one
    nobody.listen(1)
    os.dup2(nobody.fileno(), descriptor)
    nobody.close()


class _Server(MPServer):
    """Granian on a socket that is open already, with a supervisor beside it."""

    listener: socket.socket
    supervisor: Supervisor
    shared: memoryview[int]
    lame_duck_s: float

    def _init_shared_socket(self) -> None:
        holder = SocketHolder(self.listener.fileno(), False, self.backlog)  # type: ignore[call-arg]  # its stub leaves them out
        self._ssp = None
        self._shd = holder  # type: ignore[assignment]  # declared as None
        self._sfd = holder.get_fd()
        self.listener.set_inheritable(True)
        self._sso = self.listener

    def _spawn_workers(self, spawn_target: Any, target_loader: Any) -> None:
        super()._spawn_workers(spawn_target, target_loader)  # type: ignore[no-untyped-call]  # Granian has no types here
        self.supervisor.start()

    def leave(self) -> None:
        """Stop after a while in which clients are asked to let go of their connections.

        A client that writes to a connection at the moment we close it sees a reset and cannot know whether it was heard.
        """
        if self.shared[_LEAVING]:
            return
        self.shared[_LEAVING] = 1
        self.supervisor.stopping()
        self.listener.close()
        timer = threading.Timer(self.lame_duck_s, self._stop_now)
        timer.daemon = True
        timer.start()

    def _stop_now(self) -> None:
        super().signal_handler_interrupt()  # type: ignore[no-untyped-call]  # Granian has no types here

    def signal_handler_interrupt(self, *args: Any, **kwargs: Any) -> None:
        """SIGTERM, and SIGINT; a second one, or one from the keyboard, does not wait."""
        if args and args[0] == signal.SIGTERM and self.lame_duck_s and not self.shared[_LEAVING]:
            self.leave()
            return
        self.supervisor.stopping()
        super().signal_handler_interrupt(*args, **kwargs)  # type: ignore[no-untyped-call]  # nor here

    def signal_handler_reload(self, *args: Any, **kwargs: Any) -> None:
        """SIGHUP: not a new worker of the old program, as Granian has it, but whatever program is on disk now."""
        self.supervisor.hand_over()


def _inherited(variables: Mapping[str, str]) -> socket.socket | None:
    try:
        return inherited_socket(variables)
    except ValueError as error:
        raise CannotListen(str(error)) from error


def _listen(host: str, port: int, backlog: int) -> socket.socket:
    """A listening socket at the host's address."""
    try:
        family, kind, proto, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise CannotListen(
            f"APP_SERVER__HOST: {host} is not an address of this machine and cannot be resolved ({error.strerror})"
        ) from error
    listener = socket.socket(family, kind, proto)
    try:
        # For a restart while connections of the process before are still in TIME_WAIT.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        raise CannotListen(_reason(host, port, error)) from error
    return listener


def _reason(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use; find who holds it with 'ss -ltnp sport = :{port}', or set APP_SERVER__PORT to another"
    if error.errno == errno.EACCES:
        return f"port {port} needs privileges; set APP_SERVER__PORT to 1024 or more, or grant CAP_NET_BIND_SERVICE"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine; set APP_SERVER__HOST to one that is, or to 0.0.0.0"
    return f"cannot listen on {host}:{port}: {error.strerror}"
