"""A file tried in the service's own conditions. Floor 4.

The trial is a unit that exists for a moment: the service's own text with all its drop-ins, and at the end other commands. So user,
sandbox, environment, credentials and the place to unpack are those of the service, whatever an operator has changed in them. What
the file unpacks there is what the service finds at its next start.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from fkproxy.installation.manager import Refused, tell
from fkproxy.installation.places import SERVICE, unit_file

__all__ = ["try_out"]

_UNITS = Path("/run/systemd/system")
_KEPT_LINES = 12

_OTHERWISE = """
[Unit]
OnFailure=
[Service]
Type=oneshot
NotifyAccess=none
WatchdogSec=0
Restart=no
RemoveIPC=no
RuntimeDirectory=
RuntimeDirectory={directory}
TimeoutStartSec=150
ExecStartPre=
{copies}
ExecStart=
{commands}
ExecStartPost=
ExecReload=
ExecStop=
ExecStopPost=
StandardOutput=append:{log}
StandardError=inherit
"""


def try_out(file: Path, *commands: str) -> list[str]:
    """Run `file` with each command, one after another, and return the lines they printed. Raises `Refused` when one fails.

    systemd must know the service already.
    """
    name = f"fkllmproxy-trial-{os.getpid()}.service"
    unit, log = _UNITS / name, Path("/run") / f"{name}.log"
    otherwise = {
        "commands": "\n".join(f"ExecStart={file} {command}" for command in commands),
        "copies": "\n".join(line for line in unit_file(SERVICE).splitlines() if line.startswith("ExecStartPre=")),
        "directory": name.removesuffix(".service"),
        "log": str(log),
    }
    try:
        # Created here, so that what a failed start says of the configuration is for root only.
        log.touch(mode=0o600)
        unit.write_text(tell("cat", SERVICE) + _OTHERWISE.format(**otherwise))
        try:
            tell("start", name)
        except Refused:
            said = _said(log)
            raise Refused(f"{file} does not pass its trial:\n" + "\n".join(f"    {line}" for line in said[-_KEPT_LINES:])) from None
        return _said(log)
    finally:
        unit.unlink(missing_ok=True)
        log.unlink(missing_ok=True)
        with contextlib.suppress(Refused):
            tell("reset-failed", name)


def _said(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines() or ["it said nothing; see 'journalctl -n 20'"]
