"""A copy is whole, private and new, or it is not there."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from pathlib import Path

import pytest

from fkproxy.storage.copies import copy
from fkproxy.storage.values import BackupFailed


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a b?c.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (a)")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 1000,)] * 500)
        connection.commit()
    return path


def test_it_holds_what_was_committed_and_no_more(source: Path, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(source)) as writing:
        writing.execute("INSERT INTO t VALUES ('committed')")
        writing.commit()
        writing.execute("INSERT INTO t VALUES ('not yet')")
        copy(source, tmp_path / "copy.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as made:
        assert made.execute("SELECT count(*), max(a) FROM t").fetchone() == (501, "x" * 1000)
        assert made.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_it_is_one_private_file(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "made" / "copy.db"
    target.parent.mkdir()
    copy(source, target)
    assert list(target.parent.iterdir()) == [target]
    assert target.stat().st_mode & 0o777 == 0o600


def test_what_is_there_is_not_touched(source: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("precious")
    with pytest.raises(BackupFailed, match=r"copy\.db is there already"):
        copy(source, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "precious"


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC])
def test_what_the_system_says_is_told(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "canary")

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(BackupFailed) as told:
        copy(source, tmp_path / "copy.db")
    assert str(told.value) == f"the copy copy.db could not be made ({os.strerror(number)})"


@pytest.mark.parametrize("target", ["nowhere/copy.db", "copy.db"])
def test_one_that_fails_leaves_nothing(source: Path, tmp_path: Path, target: str) -> None:
    source.unlink()
    with pytest.raises(BackupFailed):
        copy(source, tmp_path / target)
    assert not [path for path in tmp_path.iterdir() if "copy" in path.name]
