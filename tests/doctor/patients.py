"""Situations for the doctor's tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fkproxy.doctor.finding import Finding
from fkproxy.doctor.situation import Situation
from fkproxy.settings import load

NOTHING: dict[str, str] = {}
RUNNING = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "UnitFileState": "enabled",
    "NRestarts": "0",
    "StatusText": "0.1.0, ok",
    "MainPID": "0",
}


def patient(
    *,
    settings: Mapping[str, str] = {},
    variables: Mapping[str, str] = {},
    env_file: Path | None = None,
    service: Any = RUNNING,
    socket: Any = NOTHING,
) -> Situation:
    """A service that runs as it must, but for what is said."""
    loaded = load(environ=settings)
    return Situation(env_file=env_file, variables=variables, loaded=loaded, problems=(), service=service, socket=socket)


def told(findings: Any) -> list[tuple[str, str]]:
    """(severity, message) of each."""
    found: list[Finding] = list(findings)
    assert all(finding.fix for finding in found if finding.severity in ("warning", "error")), "each says what to do"
    return [(finding.severity, finding.message) for finding in found]
