"""The picture in a file: the same again, or none, and never half of one."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from fkproxy.directory import ClientKey, Document, KeySecret, Pool
from fkproxy.storage import snapshot
from fkproxy.storage.values import Picture

PICTURE = Picture(
    revision=7,
    document=Document(providers=({"name": "x", "api_key": {"sealed": {"id": "1"}}},), pools=(Pool(name="team"),), settings={"A": "b"}),
    keys=(ClientKey(id="k1", pool="team", secrets=(KeySecret(prefix="fk-1", digest=b"\x00\xff"),)),),
    pepper={"sealed": {"id": "2"}},
    document_revision=3,
)


def test_it_comes_back_as_it_went(tmp_path: Path) -> None:
    path = tmp_path / "state" / "picture.snapshot"
    snapshot.write(path, PICTURE)
    assert snapshot.read(path) == PICTURE
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_newer_one_replaces_the_older_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "picture.snapshot"
    for revision in (1, 2):
        snapshot.write(path, msgspec.structs.replace(PICTURE, revision=revision))
    found = snapshot.read(path)
    assert found is not None
    assert found.revision == 2
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_had_begun_is_removed_and_what_another_one_is_writing_stays(tmp_path: Path) -> None:
    path = tmp_path / "picture.snapshot"
    killed, writing = tmp_path / f".{path.name}.0001", tmp_path / f".{path.name}.0002"
    for stray in (killed, writing):
        stray.write_bytes(b"half")
    os.utime(killed, (1, 1))
    snapshot.write(path, PICTURE)
    assert sorted(tmp_path.iterdir()) == [writing, path]


def test_none_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert snapshot.read(tmp_path / "picture.snapshot") is None
    assert not caplog.records


@pytest.mark.parametrize("percent", [0, 1, 20, 21, 50, 80, 99])
def test_half_of_one_is_none_and_is_told(tmp_path: Path, percent: int, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "picture.snapshot"
    snapshot.write(path, PICTURE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * percent // 100])
    assert snapshot.read(path) is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "damaged" in caplog.text


@pytest.mark.parametrize("place", range(0, 400, 13))
def test_a_turned_bit_is_seen(tmp_path: Path, place: int) -> None:
    path = tmp_path / "picture.snapshot"
    snapshot.write(path, PICTURE)
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 1
    path.write_bytes(data)
    assert snapshot.read(path) is None


def test_one_that_another_version_wrote_is_none_and_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "picture.snapshot"
    snapshot.write(path, Picture(revision=1, document=Document(pools=(Pool(name=5),))))  # type: ignore[arg-type]  # on purpose
    assert snapshot.read(path) is None
    assert "another version" in caplog.text


def test_a_directory_of_that_name_is_none_and_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "picture.snapshot").mkdir()
    assert snapshot.read(tmp_path / "picture.snapshot") is None
    assert "cannot be read" in caplog.text


def test_a_failed_write_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "picture.snapshot"
    snapshot.write(path, PICTURE)

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space"):
        snapshot.write(path, msgspec.structs.replace(PICTURE, revision=8))
    assert snapshot.read(path) == PICTURE
    assert list(tmp_path.iterdir()) == [path]


def test_it_loads_no_library_but_the_language_of_values() -> None:
    heavy = "{'sqlalchemy', 'alembic', 'cryptography', 'asyncpg', 'aiosqlite', 'sqlite3'}"
    code = f"import sys, fkproxy.storage, fkproxy.storage.values, fkproxy.storage.snapshot; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
