"""The importer leaves time for everybody else: between two slices, and after each piece."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from fkproxy.storage.calls_import import Importer
from fkproxy.storage.database import Database
from tests.storage.journal import import_all, leave
from tests.telemetry.records import record


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "calls"


async def test_other_tasks_go_on_while_rows_come_in(database: Database, directory: Path) -> None:
    """How many lines of the program this thread goes through between two turns of the event loop, without what only the first import has
    to load: some 110 for a record."""
    importer = Importer(database, directory, keep_s=0)
    leave(directory, [record(request_id=str(number)) for number in range(100)])
    await import_all(importer)
    leave(directory, [record(request_id=str(number)) for number in range(4000)])
    turns, gone = list[int](), 0

    async def watch() -> None:
        nonlocal gone
        while True:
            gone = 0
            await asyncio.sleep(0)
            turns.append(gone)

    def line(*_: Any) -> Any:
        nonlocal gone
        gone += 1
        return line

    watcher = asyncio.create_task(watch())
    sys.settrace(line)
    try:
        await import_all(importer)
    finally:
        sys.settrace(None)
    watcher.cancel()
    importer.close()
    assert max(turns) < 4000


async def first_rest_s(database: Database, directory: Path) -> float:
    """How long an importer rests after its first piece."""
    slept: list[float] = []

    class Enough(Exception):
        pass

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        raise Enough

    with pytest.raises(Enough):
        await Importer(database, directory, sleep=sleep).run()
    return slept[0]


async def test_a_lock_that_was_waited_for_is_nothing_to_rest_from(
    monkeypatch: pytest.MonkeyPatch, database: Database, directory: Path
) -> None:
    clock_s, begin = 0.0, Database.begin

    @asynccontextmanager
    async def after_a_wait(self: Database, lock: str | None = None) -> AsyncIterator[AsyncConnection]:
        nonlocal clock_s
        async with begin(self, lock=lock) as connection:
            clock_s += 100.0
            yield connection

    monkeypatch.setattr("fkproxy.storage.calls_import.time", SimpleNamespace(time=time.time, monotonic=lambda: clock_s))
    monkeypatch.setattr(Database, "begin", after_a_wait)
    leave(directory, [record()])
    assert await first_rest_s(database, directory) == 0.0


async def test_a_process_that_was_stopped_for_a_while_does_not_rest_from_it(
    monkeypatch: pytest.MonkeyPatch, database: Database, directory: Path
) -> None:
    hours = count(0, 3600)
    monkeypatch.setattr("fkproxy.storage.calls_import.time", SimpleNamespace(time=time.time, monotonic=lambda: float(next(hours))))
    leave(directory, [record()])
    assert await first_rest_s(database, directory) == 10.0
