"""Whatever befalls the store, no call fails, /health says so, and afterwards the log is complete.

`FKLLMPROXY_LOCK_SECS` (4) is how long another process holds the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.load import Load
from tests.e2e.plane import Admin, Key, until
from tests.e2e.processes import KEY, Service, ask, service
from tests.storage.postgres import Server

LOCK_S = float(os.environ.get("FKLLMPROXY_LOCK_SECS", "4"))
BACK_S = 90.0
"""The importer asks a store that was away for long every half minute."""

OBEDIENT = (
    ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
)
"""In front of a command: root whom the modes of files bind as everybody."""

SETTINGS = {"APP_AUTH__MASTER_KEY": KEY, "APP_RATE_LIMIT__ENABLED": "false", "APP_LOG__LEVEL": "warning"}


class Scene:
    """A service under load, and what the log must hold in the end."""

    def __init__(self, running: Service, state: Path) -> None:
        self.running = running
        self.state = state
        self.database = state / "fkllmproxy.db"
        self.admin = Admin.of(running)
        self.key: Key = self.admin.key(self.admin.pool("p"))

    def states(self) -> str:
        return str(self.admin.store()["state"])

    def refuses_changes(self, reason: str) -> None:
        told = self.admin.answer("PATCH", "/pools/p", {"label": f"{time.monotonic_ns()}"})
        assert (told.status, told.json()["error"]["code"], told.json()["error"]["reason"]) == (503, "store_unavailable", reason)


@contextlib.contextmanager
def under_load(scene: Scene) -> Iterator[Load]:
    """Calls all the time; then every one of them must stand in the log, once."""
    headers = {"authorization": f"Bearer {scene.key.secret}"}
    with Load(scene.running.port, callers=3, streams=6, headers=headers) as load:
        until(lambda: load.answered > 50)
        yield load
        answered = load.answered
        until(lambda: load.answered > answered + 50)
    assert not load.failures
    expected = load.answered + load.streamed
    found = until(
        lambda: scene.admin.get("/usage?group_by=key")["rows"], lambda rows: rows and rows[0]["calls"] >= expected, timeout_s=BACK_S
    )
    assert [(row["group"], row["calls"], row["failed"]) for row in found] == [(scene.key.id, expected, 0)]
    assert scene.admin.metric("fkproxy_journal_dropped_total") == 0
    assert scene.admin.get("/audit/verify")["ok"]


def hold(scene: Scene, load: Load, state: str) -> None:
    """It is told, calls go on, changes are refused."""
    until(scene.states, lambda found: found == state)
    answered = load.answered
    scene.refuses_changes(state)
    assert scene.admin.metric("fkproxy_store_up") == 0
    until(lambda: load.answered > answered + 100)
    assert ask(f"{scene.running.url}/health").json()["status"] == "ok"


def recovered(scene: Scene) -> None:
    until(scene.states, lambda found: found == "open", timeout_s=BACK_S)
    scene.admin.patch("/pools/p", {"label": "well again"})
    assert scene.admin.metric("fkproxy_store_up") == 1


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    state = tmp_path / "state"
    with service(tmp_path, **SETTINGS, APP_STORE__DIRECTORY=str(state)) as running:
        yield Scene(running, state)


def test_another_process_locks_the_database(scene: Scene) -> None:
    with under_load(scene) as load:
        with contextlib.closing(sqlite3.connect(scene.database, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            began = time.monotonic()
            hold(scene, load, "locked")
            time.sleep(max(0.0, LOCK_S - (time.monotonic() - began)))
            other.execute("ROLLBACK")
        recovered(scene)


def test_the_database_is_taken_away_and_put_back(scene: Scene, tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.mkdir()
    with under_load(scene) as load:
        for path in scene.state.glob("fkllmproxy.db*"):
            path.rename(away / path.name)
        hold(scene, load, "gone")
        for path in away.iterdir():
            path.rename(scene.state / path.name)
        recovered(scene)


def test_the_disk_is_full(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("a file system of one's own needs root")
    state = tmp_path / "state"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(state)], check=True)
    try:
        with service(tmp_path, **SETTINGS, APP_STORE__DIRECTORY=str(state)) as running:
            scene = Scene(running, state)
            with under_load(scene) as load:
                ballast = state / "ballast"
                with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as out:
                    while True:
                        out.write(bytes(4096))
                hold(scene, load, "full")
                ballast.unlink()
                recovered(scene)
    finally:
        subprocess.run(["umount", str(state)], check=True)


def test_the_database_can_only_be_read(tmp_path: Path) -> None:
    state = tmp_path / "state"
    settings = {**SETTINGS, "APP_STORE__DIRECTORY": str(state)}
    with service(tmp_path, **settings) as running:
        made = Scene(running, state)
    made.database.chmod(0o400)
    with service(tmp_path, OBEDIENT, APP_SERVER__PORT=str(running.port), **settings) as running:
        made.running = running
        with under_load(made) as load:
            hold(made, load, "read_only")
            made.database.chmod(0o600)
            # Its WAL has the mode that the database had when it was made, and goes with the last connection.
            for path in state.glob("fkllmproxy.db-*"):
                with contextlib.suppress(FileNotFoundError):
                    path.chmod(0o600)
            recovered(made)


def test_the_database_server_is_stopped_and_started(tmp_path: Path) -> None:
    server = Server()
    try:
        server.start()
        url = asyncio.run(server.fresh())
        state = tmp_path / "state"
        with service(tmp_path, **SETTINGS, APP_STORE__DIRECTORY=str(state), APP_STORE__URL=url) as running:
            scene = Scene(running, state)
            with under_load(scene) as load:
                # It is set up not to sync what it commits (see `OPTIONS`): without this a crash may take the tables with it.
                asyncio.run(server.execute("CHECKPOINT"))
                server.stop(orderly=False)
                hold(scene, load, "unreachable")
                server.start()
                recovered(scene)
    finally:
        server.remove()
