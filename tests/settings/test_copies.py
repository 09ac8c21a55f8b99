"""Files that only root may read, and their copies."""

from __future__ import annotations

import os
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


def test_a_copy_that_is_out_of_date(tmp_path: Path) -> None:
    original, copy = tmp_path / "a", tmp_path / "b"
    for path, seconds in ((original, 100), (copy, 200)):
        path.write_text("x")
        os.utime(path, (seconds, seconds))
    assert not is_older(copy, original)
    os.utime(original, (300, 300))
    assert is_older(copy, original)
    original.unlink()
    assert not is_older(copy, original)
