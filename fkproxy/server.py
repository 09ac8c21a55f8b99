"""The worker: the listening socket, the application, Granian. Floor 4. The only importer of Granian.

One worker, because limits, breakers and seals live in its memory (docs/decisions/0003). What it is to the main process, which started
it and starts another one if it dies, is in main_process.py.

The listening socket is made here, or inherited: from systemd's socket unit, from the process that this one takes over from
(docs/decisions/0006), or from the worker before. Granian has no public way to be given one, nor to serve in the process that it is
called in without a supervisor of its own, nor to be asked twice to end; `run_worker` does all of that, and tests/e2e/test_handover.py
and test_main_process.py are what notices when it changes.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import pickle
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from granian import _signals
from granian._granian import SocketHolder, WorkerSignal
from granian.constants import HTTPModes, Interfaces, Loops, RuntimeModes
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.mp import MPServer

from fkproxy import descriptors, heap
from fkproxy.main_process import END_WITHIN_S, Main, Terms
from fkproxy.scheduling import Scheduling
from fkproxy.settings import LoadedSettings, Settings, open_to_others
from fkproxy.systemd import inherited_socket
from fkproxy.telemetry import logs

__all__ = ["CannotListen", "run_worker", "serve"]

logger = logging.getLogger("fkproxy.server")

_BACKPRESSURE = 4096
"""Connections that the worker takes at once; each open stream is one."""

_IDLE_S = 65
"""How long a connection stays open on which no request comes, or not the whole of its head; Granian has one setting for both.

Who keeps connections has to be the first to close them, or sends a request into one that is just being closed: by default nginx
(`keepalive_timeout` of an upstream) and Amazon's load balancers (their idle timeout) do so after 60 s. Read 2026-11. Not much longer: half
a head holds up a stop until then.
"""

_LOOK_EVERY_S = 0.5
"""How soon a worker notices that its main process is gone, or that other programs need its processor."""

_REACHED_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
"""Where a process that listens everywhere asks itself."""


class CannotListen(Exception):
    """The address cannot be bound, or others could reach it who must not. The message says why and what to do."""


def serve(loaded: LoadedSettings, main: Main) -> None:
    """Serve until told to stop. Warnings about the configuration go to the log. Raises `CannotListen`."""
    settings, environment = loaded.settings, loaded.environment
    server = settings.server
    inherited = _inherited(environment.variables, main.pid) if main.listener is None else None
    listener = main.listener or inherited or _listen(server.host, server.port, server.backlog)
    host, port = listener.getsockname()[:2]
    if (problem := open_to_others("the listening socket", host, settings.auth)) is not None:
        raise CannotListen(str(problem))
    # Accepted sockets have it from the listening one (Linux): without it the second piece of a stream waits 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    logs.configure(level=settings.log.level, format=settings.log.format, journal=environment.journal)
    for warning in loaded.warnings:
        logger.warning(str(warning), extra={"setting": warning.name})
    streams, allowed = settings.concurrency.max_streams, descriptors.allowed()
    if allowed < (needed := descriptors.needed(streams)):
        logger.warning("%d descriptors are too few for %d streams: allow %d (LimitNOFILE=, ulimit -n)", allowed, streams, needed)
    terms = Terms(
        host=_REACHED_AT.get(host, host),
        port=port,
        inherited=inherited.fileno() if inherited is not None else None,
        lame_duck_s=server.lame_duck_secs,
        drain_timeout_s=server.drain_timeout_secs,
        level=settings.log.level,
        format=settings.log.format,
        journal=environment.journal,
        variables=environment.variables,
    )
    main.tell(terms, listener, pickle.dumps(loaded))
    logger.info("listening", extra={"host": host, "port": port, "main_pid": main.pid})

    def load() -> Any:
        # Imported here: what cannot listen need not load it.
        from fkproxy.app import create_app

        deadlines_s = (server.lame_duck_secs, server.drain_timeout_secs)
        threading.Thread(target=_watch, args=(main, *deadlines_s, Scheduling()), name="watch", daemon=True).start()
        app = create_app(
            loaded,
            leaving=lambda: main.leaving,
            overdue=lambda: main.overdue,
            turn=main.turn,
            stop_accepting=lambda: _stop_accepting(listener.fileno()),
            handovers_failed=lambda: main.failed_handovers,
        )
        # Both signals end the worker. SIGTERM is for the whole group, and for the main process to act upon, which knows when.
        loop = asyncio.get_event_loop()
        loop.call_soon(loop.add_signal_handler, signal.SIGTERM, _not_ours)
        return app

    run_worker(settings, listener, load)


def run_worker(settings: Settings, listener: socket.socket, load: Callable[[], Any]) -> None:
    """Run Granian's worker in this very process, on a socket that is open already. `load` makes the application."""

    def loaded() -> Any:
        application = load()
        heap.keep_freed()
        # What is alive now lives for ever: keep the collector from walking it again and again.
        gc.collect()
        gc.freeze()
        # The usual 700 is what a few calls under way have in hand: it would walk them all the time and find nothing to collect.
        gc.set_threshold(10_000, 20, 20)
        return application

    backlog = settings.server.backlog
    granian = MPServer(
        "fkproxy.app:create_app",
        interface=Interfaces.ASGI,
        workers=1,
        runtime_mode=RuntimeModes.st,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=_IDLE_S * 1000, keep_alive=True),
        websockets=False,
        backlog=backlog,
        backpressure=_BACKPRESSURE,
        log_dictconfig=logs.granian_log_config(format=settings.log.format),
        log_level=LogLevels(settings.log.level),
    )
    granian._shd = SocketHolder(listener.fileno(), False, backlog)  # type: ignore[call-arg, assignment]  # its stub leaves them out
    granian._sso = listener
    _signals.set_loop_signals = _obey_once
    worker = granian._spawn_worker(0, granian._spawn_asgi_lifespan_worker, loaded)
    # What a process made by multiprocessing does in the process that it starts.
    worker.inner.run()


def _watch(main: Main, lame_duck_s: float, drain_timeout_s: float, scheduling: Scheduling) -> None:
    """Leave when the main process was killed, and as it would have it: nobody else would ask the worker to, and who is started next would
    find the port taken. systemd starts nothing before the last process of the service has ended.
    """
    trim_at_s = 0.0
    while not main.gone:
        scheduling.look()
        if time.monotonic() >= trim_at_s:
            heap.give_back()
            trim_at_s = time.monotonic() + heap.GIVE_BACK_EVERY_S
        time.sleep(_LOOK_EVERY_S)
    main.leave()
    time.sleep(lame_duck_s + _LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(drain_timeout_s)
    main.end_calls()
    time.sleep(END_WITHIN_S)
    logger.warning("the worker did not end in time and is killed")
    logging.shutdown()
    os.kill(os.getpid(), signal.SIGKILL)


def _obey_once(loop: asyncio.AbstractEventLoop) -> WorkerSignal:
    """In place of Granian's own: the first SIGINT or SIGTERM ends the worker, and those that follow, for the main process may ask more than
    once, do nothing. Its `set` waits for a place in a queue of one, with the interpreter's lock held, until the word before it has been
    taken: as long as the worker does not serve yet, or has calls under way, a further one would stop everything.
    """
    end = WorkerSignal()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def obey() -> None:
        for number in numbers:
            loop.add_signal_handler(number, _not_ours)
        end.set()

    for number in numbers:
        loop.add_signal_handler(number, obey)
    return end


def _not_ours() -> None:
    """A signal that is the main process's affair, or that was obeyed already."""


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


def _inherited(variables: Mapping[str, str], pid: int) -> socket.socket | None:
    try:
        return inherited_socket(variables, pid)
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
