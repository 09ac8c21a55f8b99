"""Files that only root may read, and their copies."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fkproxy.settings.copies import is_older, readable


def test_a_copy_stands_in_for_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    etc, run = tmp_path / "etc", tmp_path / "run"
    original, copy = etc / "providers.toml", run / "etc" / "providers.toml"
    for path in (original, copy):
        path.parent.mkdir(parents=True)
        path.write_text("x")
    environ = {"RUNTIME_DIRECTORY": str(run)}
    assert readable(original, environ, etc) == original, "it can be read"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert readable(original, environ, etc) == copy
    assert readable(original, {}, etc) == original
    assert readable(tmp_path / "elsewhere", environ, etc) == tmp_path / "elsewhere"
    copy.unlink()
    assert readable(original, environ, etc) == original


def copied(path: Path, *, with_its_time: bool) -> Path:
    """A file of some time ago, `path`, and the copy that a unit has just made of it: as `install -p` does, or as `install`."""
    path.write_text("x")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    copy = path.with_name("copy")
    if with_its_time:
        shutil.copy2(path, copy)
    else:
        copy.write_text("x")
        # What is written next is later, although the kernel's clock for files is a coarse one.
        os.utime(copy, ns=(0, time.time_ns() - 100_000_000))
    return copy


CHANGES: list[tuple[str, Callable[[Path], object], bool, bool]] = [
    ("nothing", lambda path: None, False, False),
    ("its time of access put back", lambda path: os.utime(path, ns=(0, path.stat().st_mtime_ns)), False, False),
    ("a hard link", lambda path: os.link(path, path.with_name("backup")), False, False),
    ("its mode", lambda path: path.chmod(0o600), False, False),
    ("its name, there and back", lambda path: path.rename(path.with_name("away")).rename(path), False, False),
    ("its content", lambda path: path.write_text("y"), True, True),
    ("its size, under the same time", lambda path: (path.write_text("xy"), os.utime(path, (1_700_000_000, 1_700_000_000))), True, True),
    ("an older file unpacked", lambda path: os.utime(path, (100, 100)), True, False),
    ("a time that is still to come", lambda path: os.utime(path, (2**32, 2**32)), True, False),
    ("gone", lambda path: path.unlink(), False, False),
]
"""What was changed, how, and whether it is seen: where the copy has the time of its original, and where it has one of its own."""


@pytest.mark.parametrize("with_its_time", [True, False], ids=["install -p", "install"])
@pytest.mark.parametrize(("change", "seen", "seen_by_older_units"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])
def test_a_copy_is_out_of_date_when_the_content_changed(
    tmp_path: Path, change: Callable[[Path], object], seen: bool, seen_by_older_units: bool, with_its_time: bool
) -> None:
    path = tmp_path / "providers.toml"
    copy = copied(path, with_its_time=with_its_time)
    change(path)
    assert is_older(copy, path) == (seen if with_its_time else seen_by_older_units)


def test_the_unit_copies_times_along() -> None:
    unit = (Path(__file__).parents[2] / "packaging" / "systemd" / "fkllmproxy.service").read_text()
    assert unit.count("-exec install -p -m 400") == unit.count("-exec install") == 2
