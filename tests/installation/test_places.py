"""Where an installation lives, and what is carried along for it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from fkproxy.installation import places

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["packaging/env.example", "runbook.md"])
def test_a_checkout_brings_its_own_files(name: str) -> None:
    assert places.packaged(name) == (ROOT / name).read_text()


@pytest.mark.parametrize("unit", [places.SERVICE, places.SOCKET])
def test_the_units_are_those_that_are_packaged(unit: str) -> None:
    assert places.unit_file(unit) == (ROOT / "packaging" / "systemd" / unit).read_text()


def test_a_program_that_is_no_built_file_brings_nothing(tmp_path: Path) -> None:
    script = tmp_path / "fkllmproxy"
    script.write_text("#!/bin/sh\nexec /opt/fkllmproxy\n")
    assert places.packaged_in(script, "runbook.md") is None


def test_the_unit_names_the_places() -> None:
    unit = places.unit_file(places.SERVICE)
    assert f"ExecStart={places.BINARY}\n" in unit
    assert f"EnvironmentFile=-{places.ENV_FILE}\n" in unit
    assert f"Documentation=file://{places.RUNBOOK}\n" in unit


def copied(etc: Path, run: Path) -> int:
    """Do with folders of a test what the unit does before a start and a reload, and return the exit code."""
    before_start, before_reload = re.findall(r"^Exec\w+=\+/bin/sh -ec '(.*)'$", places.unit_file(places.SERVICE), re.MULTILINE)
    assert before_start == before_reload
    script = before_start.replace("$$", "$").replace("%%", "%").replace("/etc/fkllmproxy", str(etc))
    run.mkdir(exist_ok=True)
    return subprocess.run(["/bin/sh", "-ec", script], env={"PATH": os.environ["PATH"], "RUNTIME_DIRECTORY": str(run)}).returncode


@pytest.mark.parametrize("target", ["nowhere", "link", ".", "..", "env/x", "folder"])
def test_a_link_that_leads_to_no_file_is_as_if_it_were_not_there(target: str, tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    (etc / "folder").mkdir(parents=True)
    for name in ("env", "a key", ".hidden"):
        (etc / name).write_text(name)
    (etc / "other").symlink_to("a key")
    (etc / "link").symlink_to(target)
    assert copied(etc, tmp_path / "run") == 0
    found = {str(path.relative_to(tmp_path / "run")): path.read_text() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert found == {"env": "env", "etc/a key": "a key", "etc/.hidden": ".hidden", "etc/other": "a key"}


def test_a_file_that_cannot_be_copied_leaves_the_copies_before_it(tmp_path: Path) -> None:
    etc, run = tmp_path / "etc", tmp_path / "run"
    etc.mkdir()
    (etc / "env").write_text("A=1")
    assert copied(etc, run) == 0
    (etc / "env").write_text("A=2")
    # It can be opened, and not be read.
    (etc / "mem").symlink_to("/proc/self/mem")
    assert copied(etc, run) != 0
    assert (run / "env").read_text() == "A=1"
    assert {path.name for path in tmp_path.iterdir()} == {"etc", "run"}


@pytest.mark.parametrize("name", ["env", "etc", "new"])
def test_a_link_that_the_service_has_put_in_the_way_leads_nowhere(name: str, tmp_path: Path) -> None:
    etc, run, elsewhere = (tmp_path / each for each in ("etc", "run", "elsewhere"))
    for folder in (etc, run, elsewhere):
        folder.mkdir()
    for file in ("env", "a key"):
        (etc / file).write_text(file)
    (run / name).symlink_to(elsewhere)
    assert copied(etc, run) == 0
    assert not any(elsewhere.iterdir())
    assert ((run / "env").read_text(), (run / "etc" / "a key").read_text()) == ("env", "a key")


def test_files_that_are_renamed_stand_in_one_folder_and_unpack_under_one_name() -> None:
    for path in (places.NEXT, places.PREVIOUS, places.REPLACED):
        assert path.parent == places.BINARY.parent
        assert path.stem == places.BINARY.name, "shiv names what it unpacks by the stem"


def test_a_checkout_is_no_built_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.argv", [str(ROOT / "fkproxy" / "__main__.py")])
    assert places.own_file() is None
