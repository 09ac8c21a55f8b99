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


_LARGE, _RUN = "/var/lib/fkllmproxy", "/run"


@pytest.mark.parametrize(
    ("place", "free", "files", "severity", "words"),
    [
        (_LARGE, 10**10, (10**6, 10**6), "ok", "10.0 GB free"),
        (_LARGE, 10**10, (0, 0), "ok", "10.0 GB free"),
        (_LARGE, 10**8, (10**6, 10**6), "warning", "0.1 GB free"),
        (_LARGE, 10**7, (10**6, 10**6), "error", "0.0 GB free"),
        (_LARGE, 10**10, (10**6, 5000), "warning", "only 5000 more files"),
        (_LARGE, 10**10, (10**6, 0), "error", "only 0 more files"),
        (_RUN, 10**8, (10**6, 10**6), "ok", "0.1 GB free"),
        (_RUN, 4 * 10**6, (10**6, 10**6), "warning", "0.0 GB free"),
        (_RUN, 4096, (10**6, 10**6), "error", "0.0 GB free"),
    ],
)
def test_disk(place: str, free: int, files: tuple[int, int], severity: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        def __init__(self, path: Any) -> None:
            self.free = free

    class System:
        f_files, f_favail = files

    monkeypatch.setattr(host, "_PLACES", {place: host._PLACES[place]})
    monkeypatch.setattr(shutil, "disk_usage", Usage)
    monkeypatch.setattr(os, "statvfs", lambda path: System)
    *_, found = host.CHECKS["disk"](patient(settings={"APP_STORE__URL": "none"}))
    assert (found.severity, words in found.message) == (severity, True), found


def test_what_fills_a_disk_is_looked_for_where_that_is_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount, link = tmp_path / "mount", tmp_path / "link"
    (mount / "deep").mkdir(parents=True)
    link.symlink_to(mount / "deep")
    monkeypatch.setattr(host, "_PLACES", {str(link / "not there yet"): 2**80})
    monkeypatch.setattr(Path, "is_mount", lambda path: path == mount)
    found = list(host.CHECKS["disk"](patient(settings={"APP_STORE__URL": "none"})))
    assert [(each.severity, f"'du -xh --max-depth=2 {mount} |" in each.fix) for each in found] == [("error", True)]


def test_a_place_that_only_root_may_look_into_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exists(path: Path) -> bool:
        if path == tmp_path:
            raise PermissionError(13, "Permission denied")
        return True

    monkeypatch.setattr(host, "_PLACES", {str(tmp_path): 1, "/": 1})
    monkeypatch.setattr(Path, "exists", exists)
    found = told(host.CHECKS["disk"](patient(settings={"APP_STORE__URL": "none"})))
    assert found[0] == ("note", f"{tmp_path} can only be looked at by root")
    assert found[1][1].endswith(" GB free for /")
