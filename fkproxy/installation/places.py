"""Where an installation lives, and what the build carries along for it. Floor 4."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import fkproxy

__all__ = [
    "BINARY",
    "ENV_FILE",
    "NEXT",
    "PREVIOUS",
    "REPLACED",
    "RUNBOOK",
    "SERVICE",
    "SOCKET",
    "STATE",
    "UNITS",
    "is_there",
    "own_file",
    "packaged",
    "packaged_in",
    "service_variables",
    "unit_file",
]

SERVICE = "fkllmproxy.service"
SOCKET = "fkllmproxy.socket"
UNITS = Path("/etc/systemd/system")
ENV_FILE = Path("/etc/fkllmproxy/env")
RUNBOOK = Path("/usr/local/share/doc/fkllmproxy/runbook.md")
BINARY = Path("/usr/local/bin/fkllmproxy")
PREVIOUS = BINARY.with_name("fkllmproxy.previous")
"""What `rollback` goes back to."""
NEXT = BINARY.with_name("fkllmproxy.new")
"""A file that is about to become `BINARY`; in the same folder, so that it can be renamed."""
REPLACED = BINARY.with_name("fkllmproxy.replaced")
"""What `BINARY` was, until it is known that the next one works."""

STATE = Path("/var/lib/fkllmproxy")
"""Where the service remembers."""
_CREDENTIALS = Path("/run/credentials") / SERVICE

_CARRIED = Path(fkproxy.__file__).parent / "packaged"
_IN_A_BUILT_FILE = "site-packages/fkproxy/packaged"
_CHECKOUT = Path(fkproxy.__file__).parent.parent
"""In a checkout the same files stand where they are kept."""


def packaged(name: str) -> str:
    """The text of `packaging/systemd/fkllmproxy.service`, `packaging/env.example` or `runbook.md`, as this version has it."""
    carried = _CARRIED / name
    return (carried if carried.is_file() else _CHECKOUT / name).read_text()


def packaged_in(file: Path, name: str) -> str | None:
    """The same, as the version in a built file has it; None where it carries none, or is another kind of program."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.read(f"{_IN_A_BUILT_FILE}/{name}").decode()
    except (KeyError, zipfile.BadZipFile):
        return None


def unit_file(name: str) -> str:
    """The text of a unit, as this version has it."""
    return packaged(f"packaging/systemd/{name}")


def service_variables() -> dict[str, str]:
    """What systemd gives the service beside its environment file, for commands that ask or act for it."""
    given = {"STATE_DIRECTORY": str(STATE)}
    if _CREDENTIALS.is_dir():
        given["CREDENTIALS_DIRECTORY"] = str(_CREDENTIALS)
    return given


def is_there(path: Path) -> bool:
    """Also where it stands in a folder that only root may look into."""
    try:
        return path.exists()
    except PermissionError:
        return True


def own_file() -> Path | None:
    """The built file that runs; None in a checkout."""
    own = Path(sys.argv[0]).resolve()
    return own if own.is_file() and zipfile.is_zipfile(own) else None
