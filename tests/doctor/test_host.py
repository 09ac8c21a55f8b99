"""Permissions, disk and memory."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from fkproxy.doctor import host
from tests.doctor.patients import patient, told


@pytest.mark.parametrize(("mode", "severity"), [(0o600, "ok"), (0o400, "ok"), (0o640, "error"), (0o604, "error"), (0o622, "error")])
def test_a_file_with_secrets_is_for_its_owner_only(mode: int, severity: str, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.touch()
    file.chmod(mode)
    assert [found[0] for found in told(host.check_secrets(patient(env_file=file)))] == [severity]


def test_a_file_of_somebody_else_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "env"
    file.touch(0o600)
    os.chown(file, 12345, 12345)
    assert told(host.check_secrets(patient(env_file=file))) == [("warning", f"{file} belongs to user 12345")]


@pytest.mark.parametrize(("free", "severity"), [(10**10, "ok"), (10**8, "warning"), (10**7, "error")])
def test_disk(free: int, severity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        def __init__(self, path: Any) -> None:
            self.free = free

    monkeypatch.setattr(shutil, "disk_usage", Usage)
    assert {found[0] for found in told(host.CHECKS["disk"](patient()))} == {severity}


def test_a_place_that_only_root_may_look_into_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exists(path: Path) -> bool:
        if path == tmp_path:
            raise PermissionError(13, "Permission denied")
        return True

    monkeypatch.setattr(host, "_PLACES", (str(tmp_path), "/"))
    monkeypatch.setattr(Path, "exists", exists)
    found = told(host.CHECKS["disk"](patient(settings={"APP_STORE__URL": "none"})))
    assert found[0] == ("note", f"{tmp_path} can only be looked at by root")
    assert found[1][1].endswith(" GB free for /")
