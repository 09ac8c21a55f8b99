"""What keys have used, with what waits in the journal: a process that begins asks for it, before anything is imported. Floor 2.

    what is in the store  +  lines behind the positions  −  lines of this process that somebody has imported already

Positions and sums are those of one moment, and a file stays for a while after its last line was imported, so each line is counted once,
whoever imports meanwhile. Files are read as the importer does: in pieces, with a rest after each.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from fkproxy.storage.calls_import import PIECE_BYTES, SLICE_LINES
from fkproxy.storage.calls_rows import NANO, Batch
from fkproxy.storage.calls_tables import journal_positions, usage_hourly
from fkproxy.storage.calls_usage import hours_of, spent_within
from fkproxy.storage.calls_values import Begins, Spent
from fkproxy.storage.database import Database
from fkproxy.telemetry.journal_files import journal_files, read_lines

__all__ = ["spent_by_others"]

_NOTHING = Spent(0, 0, 0.0, 0.0)
_HOUR, _KEY, _INPUT, _OUTPUT, _COST = (
    usage_hourly.columns.keys().index(name) for name in ("hour", "key_id", "tokens_input", "tokens_output", "cost_nanousd")
)

Sleep = Callable[[float], Awaitable[object]]


async def spent_by_others(
    database: Database, directory: Path, begins: Begins, own: str, *, sleep: Sleep = asyncio.sleep
) -> dict[str, Spent]:
    """By the key's id: what every process has used but the one whose files' names end with `own`.

    Raises StoreUnavailable, and OSError where a file cannot be read.
    """
    async with database.read() as connection:
        found = await connection.execute(journal_positions.select())
        positions: Mapping[str, int] = {row.file: row.read_bytes for row in found}
        spent = await spent_within(connection, begins)
    for path in await asyncio.to_thread(journal_files, directory):
        offset, ours = positions.get(path.name, 0), path.name.endswith(own)
        start, end, sign = (0, offset, -1) if ours else (offset, None, 1)
        while data := await asyncio.to_thread(_piece, path, start, end):
            began = time.monotonic()
            start += len(data)
            lines = data.split(b"\n")[:-1]
            for first in range(0, len(lines), SLICE_LINES):
                _add(spent, lines[first : first + SLICE_LINES], begins, sign)
                await asyncio.sleep(0)
            await sleep(time.monotonic() - began)
    return spent


def _piece(path: Path, start: int, end: int | None) -> bytes:
    """Whole lines from `start` on, up to `end`; none where the file is gone, which is imported then."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    try:
        most = PIECE_BYTES if end is None else min(PIECE_BYTES, end - start)
        return read_lines(handle, start, most) if most > 0 else b""
    finally:
        os.close(handle)


def _add(spent: dict[str, Spent], lines: list[bytes], begins: Begins, sign: int) -> None:
    """By the hour, as it will be added up when it is in the store."""
    batch = Batch()
    batch.add(lines)
    day, week, month = hours_of(begins)
    for row in batch.usage():
        key_id, hour = str(row[_KEY]), _number(row[_HOUR])
        if not key_id:
            continue
        tokens, usd = sign * (_number(row[_INPUT]) + _number(row[_OUTPUT])), sign * _number(row[_COST]) / NANO
        before = spent.get(key_id, _NOTHING)
        spent[key_id] = Spent(
            before.tokens_day + (tokens if hour in day else 0),
            before.tokens_week + (tokens if hour in week else 0),
            before.cost_day_usd + (usd if hour in day else 0.0),
            before.cost_month_usd + (usd if hour in month else 0.0),
        )


def _number(value: object) -> int:
    assert isinstance(value, int)
    return value
