"""A database file, looked at from outside."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from fkproxy import __version__
from fkproxy.storage import open_store
from fkproxy.storage.inspection import Inspection, inspect
from fkproxy.storage.tables import LEVEL, OLDEST_READER
from fkproxy.storage.values import StoreUnavailable

WELL = Inspection(level=LEVEL, oldest_reader=OLDEST_READER, written_by=__version__)


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """Of a store that was closed."""
    store, _ = await open_store(f"sqlite:///{tmp_path}/store.db")
    await store.close()
    return tmp_path / "store.db"


def test_looking_leaves_no_trace(file: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in file.parent.iterdir()}
    assert inspect(file) == WELL
    assert {path.name: path.stat().st_mtime_ns for path in file.parent.iterdir()} == before


async def test_one_that_is_in_use_is_looked_at_as_it_is_now(file: Path) -> None:
    with sqlite3.connect(file) as using:
        using.execute("UPDATE meta SET written_by = 'a later one'")
        using.commit()
        assert file.with_name("store.db-wal").exists()
        assert inspect(file).written_by == "a later one"
    using.close()


def test_an_empty_file_is_a_store_that_was_not_made_yet(tmp_path: Path) -> None:
    (tmp_path / "store.db").touch()
    assert inspect(tmp_path / "store.db") == Inspection()


def test_damage_is_found_and_told(file: Path) -> None:
    size = file.stat().st_size
    with file.open("r+b") as out:
        out.seek(size - 20_000)
        out.write(b"\xff" * 16_000)
    assert inspect(file).faults


def test_there_may_be_no_time_for_it(file: Path) -> None:
    with sqlite3.connect(file) as filling:
        filling.execute(
            "CREATE TABLE filler AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) SELECT i FROM n"
        )
    filling.close()
    assert inspect(file, within_s=0.0) == Inspection(level=LEVEL, oldest_reader=OLDEST_READER, written_by=__version__, faults=None)
    assert inspect(file, within_s=60.0) == WELL


@pytest.mark.parametrize(("content", "reason"), [(None, "gone"), (b"this is no database" * 100, "broken")])
def test_what_cannot_be_read_is_told(content: bytes | None, reason: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "store.db").write_bytes(content)
    with pytest.raises(StoreUnavailable) as refused:
        inspect(tmp_path / "store.db")
    assert refused.value.reason == reason
