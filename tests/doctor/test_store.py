"""What the gateway remembers, as a doctor finds it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fkproxy.doctor import store
from fkproxy.storage import open_store
from fkproxy.storage.inspection import Inspection
from fkproxy.storage.tables import LEVEL
from tests.doctor.patients import patient, told


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Of a service that ran."""

    async def make() -> None:
        opened, _ = await open_store(f"sqlite://{tmp_path}/fkllmproxy.db")
        await opened.close()

    asyncio.run(make())
    (tmp_path / "in-force.json").touch()
    (tmp_path / "journal").mkdir()
    return tmp_path


def examined(directory: Path, **settings: str) -> list[tuple[str, str]]:
    return told(store.check(patient(settings={"APP_STORE__DIRECTORY": str(directory), **settings})))


def wrong(directory: Path, **settings: str) -> list[tuple[str, str]]:
    """What is not as it must be."""
    return [found for found in examined(directory, **settings) if found[0] in ("warning", "error")]


def test_a_store_that_is_well(directory: Path) -> None:
    before = sorted(path.name for path in directory.rglob("*"))
    found = examined(directory)
    assert [severity for severity, _ in found] == ["ok"] * 5
    assert any(f"schema level {LEVEL}" in message for _, message in found)
    assert sorted(path.name for path in directory.rglob("*")) == before, "looking changes nothing"


def test_what_root_put_there_and_the_service_cannot_write(directory: Path) -> None:
    os.chown(directory, 12345, 12345)
    found = wrong(directory)
    assert [severity for severity, _ in found] == ["error"]
    assert found[0][1].startswith("the service cannot write fkllmproxy.db, fkllmproxy.db.lock, in-force.json and 2 more")


def test_the_key_for_secrets_is_there_and_for_its_owner_only(directory: Path) -> None:
    (directory / "secrets.key").chmod(0o644)
    assert [message for _, message in wrong(directory)] == [f"{directory}/secrets.key can be read or written by other users (mode 644)"]
    (directory / "secrets.key").unlink()
    assert wrong(directory) == [("error", f"{directory}/secrets.key is not there")]
    assert wrong(directory, APP_STORE__SECRET_KEYS="1:" + "A" * 43 + "=") == []


def test_a_database_that_is_lost_damaged_or_none(directory: Path) -> None:
    file = directory / "fkllmproxy.db"
    whole = file.read_bytes()
    file.write_bytes(whole[:-20_000] + b"\xff" * 16_000 + whole[-4_000:])
    assert [severity for severity, _ in wrong(directory)] == ["error"]
    assert "is damaged: " in wrong(directory)[0][1]
    file.write_bytes(b"no database at all" * 1000)
    assert "cannot be read as a database" in wrong(directory)[0][1]
    file.write_bytes(b"")
    assert wrong(directory) == [("error", "the database is empty, and in-force.json says that there was a store in it")]
    file.unlink()
    assert wrong(directory) == [("error", f"{file} is not there, and in-force.json says that there was one")]
    (directory / "in-force.json").unlink()
    assert wrong(directory) == [], "one that never ran has none"


def test_a_first_start_that_is_under_way_is_no_loss(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = directory / "in-force.json"
    snapshot.unlink()

    def look(*_: object) -> Inspection:
        snapshot.touch()
        return Inspection()

    monkeypatch.setattr(store, "inspect", look)
    assert wrong(directory) == []


@pytest.mark.parametrize(
    ("level", "oldest_reader", "severity"), [(LEVEL - 1, 1, "note"), (LEVEL + 1, LEVEL, "ok"), (LEVEL + 2, LEVEL + 1, "error")]
)
def test_the_schema_of_another_version(level: int, oldest_reader: int, severity: str, directory: Path) -> None:
    with closing(sqlite3.connect(directory / "fkllmproxy.db")) as other:
        other.execute("UPDATE meta SET schema_level = ?, oldest_reader = ?", (level, oldest_reader))
        other.commit()
    found = store.check(patient(settings={"APP_STORE__DIRECTORY": str(directory)}))
    (said,) = [each for each in found if f"schema level {level}" in each.message]
    assert said.severity == severity
    assert "copy" not in said.fix, "of a server's database nobody makes one"


def test_a_database_that_takes_too_long_to_look_through(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite3.connect(directory / "fkllmproxy.db")) as filling:
        filling.execute(
            "CREATE TABLE filler AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) SELECT i FROM n"
        )
    monkeypatch.setattr(store, "_LOOK_S", 0.0)
    assert any(severity == "note" and "too large" in message for severity, message in examined(directory))


def test_records_that_wait(directory: Path) -> None:
    (directory / "journal" / "calls-1.jsonl").write_bytes(b"x" * 200_000)
    assert wrong(directory, APP_STORE__JOURNAL_MAX_SIZE="1048576")[0][1].startswith("journal files hold 0.2 MB")
    assert wrong(directory) == []


def test_a_server_that_cannot_be_reached(directory: Path) -> None:
    found = wrong(directory, APP_STORE__URL="postgresql://user:secret@127.0.0.1:1/gateway")
    assert [severity for severity, _ in found] == ["error"]
    assert "PostgreSQL database gateway on 127.0.0.1" in found[0][1]
    assert "secret@" not in str(found)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"APP_STORE__URL": "none"}, "nothing is remembered"),
        ({"APP_STORE__DIRECTORY": "/nonexistent/x"}, "/nonexistent/x is not there yet"),
    ],
)
def test_nothing_to_look_at(settings: dict[str, str], message: str) -> None:
    ((severity, said),) = told(store.check(patient(settings=settings)))
    assert severity == "note"
    assert message in said
