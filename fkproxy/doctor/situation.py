"""What the doctor looks at. Floor 4."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from fkproxy.doctor.shell import without_clients
from fkproxy.installation import manager
from fkproxy.installation.places import ENV_FILE, SERVICE, SOCKET, is_there, service_variables
from fkproxy.settings import LoadedSettings, Problem, SettingsError, load

__all__ = ["Situation", "look"]

_PROPERTIES = (
    "ActiveState", "DynamicUser", "DropInPaths", "FragmentPath", "LoadState", "MainPID", "NRestarts", "NeedDaemonReload", "Result",
    "StatusText", "UnitFileState",
)  # fmt: skip


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """`service` and `socket` are properties as `systemctl show` names them, empty where there is no such unit or no systemd.

    `variables` is the environment of the shell that asks. `loaded` is None when the configuration has `problems`.
    """

    env_file: Path | None
    variables: Mapping[str, str]
    loaded: LoadedSettings | None
    problems: tuple[Problem, ...]
    service: Mapping[str, str]
    socket: Mapping[str, str]

    @property
    def address(self) -> tuple[str, int]:
        """(host, port) at which clients of this host find the gateway: the socket unit's, or the configured one."""
        return _address(self.loaded, self.socket)

    @property
    def key(self) -> str | None:
        """The key that the gateway wants, if it is known here."""
        configured = self.loaded.settings.auth.master_key if self.loaded is not None else None
        return configured.get_secret_value() if configured is not None else None


def look(env_file: Path | None, variables: Mapping[str, str]) -> Situation:
    """The situation as it is now. `env_file` None: the service's own, if it is there."""
    service = _properties(SERVICE, *_PROPERTIES)
    socket = _properties(SOCKET, "ActiveState", "Listen", "UnitFileState", "DropInPaths")
    if env_file is None and is_there(ENV_FILE):
        env_file = ENV_FILE
    # The service's settings, not those of the shell: only where there is no file do the shell's count.
    given = dict(variables) if env_file is None else service_variables()
    if env_file is None:
        asked, _ = _read(None, given, upstreams=False)
        given = without_clients(given, *_address(asked, socket))
    loaded, problems = _read(env_file, given)
    return Situation(env_file=env_file, variables=variables, loaded=loaded, problems=problems, service=service, socket=socket)


def _read(
    env_file: Path | None, environ: Mapping[str, str], *, upstreams: bool = True
) -> tuple[LoadedSettings | None, tuple[Problem, ...]]:
    try:
        return load(env_file=env_file, environ=environ, upstreams=upstreams), ()
    except SettingsError as error:
        return None, tuple(error.problems)


def _address(loaded: LoadedSettings | None, socket: Mapping[str, str]) -> tuple[str, int]:
    host, port = "127.0.0.1", 4000
    if loaded is not None:
        host, port = loaded.settings.server.host, loaded.settings.server.port
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return manager.listens_at(socket) or (host, port)


def _properties(unit: str, *names: str) -> Mapping[str, str]:
    if not manager.is_here():
        return {}
    try:
        return manager.show(*names, unit=unit)
    except manager.Refused:
        return {}
