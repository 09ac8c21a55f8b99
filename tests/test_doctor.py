"""All checks together: one that cannot go on keeps none of the others from being made."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fkproxy import doctor
from fkproxy.doctor.finding import Finding, ok
from fkproxy.doctor.situation import Situation


@pytest.mark.parametrize(
    ("failure", "found"),
    [
        (PermissionError(13, "Permission denied", "/srv/state"), ("note", "/srv/state can only be looked at by root")),
        (OSError(5, "Input/output error"), ("warning", "it could not be looked at to its end (Input/output error)")),
        (subprocess.TimeoutExpired(["timedatectl"], 5.0), ("warning", "it could not be looked at to its end (TimeoutExpired)")),
        (ValueError("Port 'secret' is no number"), ("warning", "it could not be looked at to its end (ValueError)")),
    ],
)
def test_a_check_that_cannot_go_on_is_one_finding(failure: Exception, found: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Situation) -> Iterator[Finding]:
        yield ok("clock", "ticks")
        raise failure

    monkeypatch.setattr(doctor, "_CHECKS", {"clock": broken, "memory": lambda _: [ok("memory", "plenty")]})
    ticks, failed, plenty = doctor.examine(None, {}, offline=True)[-3:]
    assert (ticks, plenty) == (ok("clock", "ticks"), ok("memory", "plenty"))
    assert (failed.check, failed.severity, failed.message) == ("clock", *found)


@pytest.mark.parametrize(("readable", "severity"), [(False, "note"), (True, "error")])
def test_settings_that_only_root_may_read_are_nothing_wrong(
    readable: bool, severity: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client's user looks where his clients go, and finds that in order."""
    env_file = tmp_path / "env"
    env_file.mkdir()
    monkeypatch.setattr(doctor, "ENV_FILE", env_file)
    monkeypatch.setattr("os.access", lambda *_: readable)
    monkeypatch.setattr(doctor, "_CHECKS", {})
    (found,) = doctor.examine(env_file, {}, offline=True)
    assert (found.check, found.severity) == ("configuration", severity)
    assert str(env_file) in found.message
