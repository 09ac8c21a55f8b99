"""The process: a socket, a worker, signals. Floor 4. The only importer of Granian.

Granian's main process supervises one worker, which it forks: a worker that dies is replaced, and the main process can tell systemd
the truth about it. One worker, because limits, breakers and seals live in its memory (docs/decisions/0003).
"""

from __future__ import annotations

import errno
import gc
import logging
import socket
from collections.abc import Sequence
from typing import Any

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops, RuntimeModes
from granian.http import HTTP1Settings
from granian.log import LogLevels

from fkproxy.app import create_app
from fkproxy.settings import Problem, ProcessEnvironment, Settings
from fkproxy.telemetry import logs

__all__ = ["CannotListen", "serve"]

logger = logging.getLogger("fkproxy.server")

_BACKPRESSURE = 4096
"""Connections that the worker takes at once; each open stream is one."""


class CannotListen(Exception):
    """The address cannot be bound. The message says why and what to do."""


def serve(settings: Settings, environment: ProcessEnvironment, warnings: Sequence[Problem] = ()) -> None:
    """Serve until told to stop. `warnings` about the configuration go to the log. Raises `CannotListen`."""
    server = settings.server
    address = _bindable(server.host, server.port)
    logs.configure(level=settings.log.level, format=settings.log.format, journal=environment.journal)
    for warning in warnings:
        logger.warning(str(warning), extra={"setting": warning.name})
    granian = Granian(
        "fkproxy.app:create_app",
        address=address,
        port=server.port,
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

    def load() -> Any:
        app = create_app(settings, environment)
        # What is alive now lives for ever: keep the collector from walking it again and again.
        gc.collect()
        gc.freeze()
        return app

    granian.serve(target_loader=load, wrap_loader=False)


def _bindable(host: str, port: int) -> str:
    """The host's address, after trying that it can be bound."""
    try:
        family, kind, proto, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise CannotListen(
            f"APP_SERVER__HOST: {host} is not an address of this machine and cannot be resolved ({error.strerror})"
        ) from error
    with socket.socket(family, kind, proto) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
        except OSError as error:
            raise CannotListen(_reason(host, port, error)) from error
    return str(where[0])


def _reason(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use; find who holds it with 'ss -ltnp sport = :{port}', or set APP_SERVER__PORT to another"
    if error.errno == errno.EACCES:
        return f"port {port} needs privileges; set APP_SERVER__PORT to 1024 or more, or grant CAP_NET_BIND_SERVICE"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine; set APP_SERVER__HOST to one that is, or to 0.0.0.0"
    return f"cannot listen on {host}:{port}: {error.strerror}"
