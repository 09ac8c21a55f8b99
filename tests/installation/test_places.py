"""Where an installation lives, and what is carried along for it."""

from __future__ import annotations

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


def test_the_unit_names_the_places() -> None:
    unit = places.unit_file(places.SERVICE)
    assert f"ExecStart={places.BINARY}\n" in unit
    assert f"EnvironmentFile=-{places.ENV_FILE}\n" in unit
    assert f"Documentation=file://{places.RUNBOOK}\n" in unit


def test_files_that_are_renamed_stand_in_one_folder_and_unpack_under_one_name() -> None:
    for path in (places.NEXT, places.PREVIOUS, places.REPLACED):
        assert path.parent == places.BINARY.parent
        assert path.stem == places.BINARY.name, "shiv names what it unpacks by the stem"


def test_a_checkout_is_no_built_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.argv", [str(ROOT / "fkproxy" / "__main__.py")])
    assert places.own_file() is None
