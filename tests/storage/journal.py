"""Calls for the tests of the request log, and the ways into the store."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

from fkproxy.storage.calls_import import Importer
from fkproxy.storage.database import Database
from fkproxy.telemetry.entry import EntryEncoder
from fkproxy.telemetry.record import CallRecord

_numbers = itertools.count(1_700_000_000_000)


def lines_of(records: Iterable[CallRecord]) -> bytes:
    encode = EntryEncoder().encode
    return b"".join(map(encode, records))


def leave(directory: Path, records: Iterable[CallRecord], tail: bytes = b"") -> Path:
    """A journal file as a process that is gone left it."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / f"calls-{next(_numbers)}-1-{0:08x}.jsonl"
    path.write_bytes(lines_of(records) + tail)
    return path


async def import_all(importer: Importer) -> None:
    """Until there is nothing left to do."""
    while await importer.step():
        pass


async def bring_in(database: Database, directory: Path, records: Iterable[CallRecord]) -> None:
    leave(directory, records)
    importer = Importer(database, directory, keep_s=0)
    await import_all(importer)
    importer.close()
