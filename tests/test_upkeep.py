"""The store, looked after on its own host."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from fkproxy import __version__, cli
from fkproxy.storage import open_store
from fkproxy.storage.tables import LEVEL
from tests.remote.conftest import Said

Run = Callable[..., Said]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """`fkllmproxy <arguments>` with a store in a directory of its own."""
    for name in [name for name in os.environ if name.startswith("APP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("APP_STORE__DIRECTORY", str(tmp_path))

    def typed(*arguments: str) -> Said:
        code = cli.main(list(arguments))
        return Said(code, *capfd.readouterr())

    return typed


def test_a_migration_is_told_done_and_told_again(run: Run, tmp_path: Path) -> None:
    before = run("migrate", "--check")
    assert (before.code, before.out) == (1, "there is no store yet: the service makes one at its first start\n")
    assert list(tmp_path.iterdir()) == [], "it only looks"
    made = run("migrate")
    assert (made.code, made.out.splitlines()[0]) == (0, "a new store was made")
    assert f"level {LEVEL}, written by version {__version__}; this program has level {LEVEL}" in made.out
    assert run("migrate", "--check").out.splitlines()[0] == "nothing to migrate"
    with closing(sqlite3.connect(tmp_path / "fkllmproxy.db")) as older:
        older.execute(f"UPDATE meta SET schema_level = {LEVEL + 3}, oldest_reader = {LEVEL + 2}, written_by = '9.0.0'")
        older.commit()
    for command in (["migrate"], ["migrate", "--check"]):
        refused = run(*command)
        assert (refused.code, refused.out) == (1, "")
        assert "use version 9.0.0 or a newer one" in refused.err


def test_a_database_that_is_missing_is_not_made_anew(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in-force.json").touch()
    refused = run("migrate")
    assert refused.code == 1
    assert "says that there was one: put it back" in refused.err
    assert [path.name for path in tmp_path.iterdir()] == ["in-force.json"]


def test_a_store_and_a_copy_are_verified(run: Run, tmp_path: Path) -> None:
    run("migrate")
    well = run("store", "verify")
    assert (well.code, len(well.out.splitlines())) == (0, 3)
    (tmp_path / "copy.db").write_bytes((tmp_path / "fkllmproxy.db").read_bytes())
    assert run("store", "verify", str(tmp_path / "copy.db")).out == well.out.replace("fkllmproxy.db", "copy.db")
    (tmp_path / "secrets.key").write_text("1:" + "A" * 43 + "=\n")
    other = run("store", "verify")
    assert (other.code, other.out) == (1, "")
    assert "not with the one given" in other.err
    (tmp_path / "fkllmproxy.db").write_bytes(b"no database at all")
    assert run("store", "verify").code == 1


def test_secrets_are_sealed_with_another_key_and_the_old_one_stays(run: Run, tmp_path: Path) -> None:
    run("migrate")
    before = (tmp_path / "secrets.key").read_text()
    turned = run("store", "rotate-key", "--json").json()
    assert (turned["ok"], turned["lines"][0]) == (True, "sealed with version 2 now: 1 place")
    after = (tmp_path / "secrets.key").read_text()
    assert after.startswith("2:")
    assert after.endswith(before)
    assert (tmp_path / "secrets.key").stat().st_mode & 0o777 == 0o600

    async def newest() -> str:
        store, _ = await open_store(f"sqlite://{tmp_path}/fkllmproxy.db")
        try:
            return (await store.audit(limit=1))[0].action
        finally:
            await store.close()

    assert asyncio.run(newest()) == "secret.rotate"


def test_where_there_is_no_store_there_is_nothing_to_do(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_STORE__URL", "none")
    refused = run("migrate")
    assert (refused.code, refused.err) == (
        1,
        "fkllmproxy: there is no store: APP_STORE__URL is none, or there is no directory to keep it in\n",
    )


def test_what_is_done_is_told_as_json_as_well(run: Run) -> None:
    assert json.loads(run("migrate", "--json").out)["lines"][0] == "a new store was made"
