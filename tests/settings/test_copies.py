"""Files that only root may read, and their copies."""

from __future__ import annotations

import os
import time
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


def changed_after(path: Path, other: Path) -> None:
    """Change `path` until its time is another one: the kernel's clock for files is a coarse one."""
    path.touch()
    while path.stat().st_ctime_ns <= other.stat().st_ctime_ns:
        path.write_text("x")


def test_a_copy_that_is_out_of_date(tmp_path: Path) -> None:
    original, copy = tmp_path / "a", tmp_path / "b"
    original.write_text("x")
    copy.write_text("x")
    assert not is_older(copy, original)
    changed_after(original, copy)
    os.utime(original, (100, 100))
    assert is_older(copy, original), "whatever time it claims to be of"
    changed_after(copy, original)
    assert not is_older(copy, original)
    original.unlink()
    assert not is_older(copy, original)


def test_no_time_in_the_future_makes_every_copy_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, copy = tmp_path / "a", tmp_path / "b"
    original.write_text("x")
    os.utime(original, (2**32, 2**32))
    changed_after(copy, original)
    assert not is_older(copy, original)
    changed_after(original, copy)
    monkeypatch.setattr(time, "time_ns", lambda: copy.stat().st_ctime_ns)
    assert not is_older(copy, original), "by the clock of now it was not changed yet"
