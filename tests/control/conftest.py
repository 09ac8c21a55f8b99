"""The verbs' tests run over a real store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fkproxy.directory import Document
from fkproxy.storage import open_store
from fkproxy.storage.store import Store
from tests.control.acting import POOLS, Office, begun


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """Empty, in a file of its own."""
    store, _ = await open_store(f"sqlite:///{tmp_path}/state/store.db")
    yield store
    await store.close()


@pytest.fixture
async def office(store: Store, tmp_path: Path) -> Office:
    """With three pools."""
    await begun(store, Document(pools=POOLS))
    return Office(store, tmp_path)
