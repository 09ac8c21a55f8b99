"""The store's tests run over both databases: ask for `url`, or for what is built on it."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fkproxy.storage import files
from fkproxy.storage.database import Database
from fkproxy.storage.engines import Deadlines
from fkproxy.storage.opening import open_at
from fkproxy.storage.schema import bring_up
from fkproxy.storage.store import Store
from tests.storage.postgres import Server

KEYS = "1:" + base64.b64encode(bytes(32)).decode()
NEWER_KEYS = f"2:{base64.b64encode(bytes([2]) * 32).decode()},{KEYS}"
PATIENT = Deadlines(connect_s=60.0, lock_s=60.0, statement_s=60.0, transaction_s=60.0)
"""No machine is so slow that these are met."""


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    server = Server()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def url(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """An empty database."""
    if kind == "postgresql":
        server: Server = request.getfixturevalue("postgres")
        return await server.fresh()
    files.prepare(tmp_path / "state" / "store.db")
    return f"sqlite:///{tmp_path}/state/store.db"


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """At this program's level."""
    database = Database(url, PATIENT)
    await bring_up(database)
    yield database
    await database.close()


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    """With a fixed key for secrets, and the clock at 1000 s."""
    store, _ = await open_at(url, secret_keys=KEYS, deadlines=PATIENT, clock=lambda: 1000.0)
    yield store
    await store.close()
