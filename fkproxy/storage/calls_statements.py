"""The statements that bring calls into the store, as each database's driver takes them. Floor 2.

They are text and not expressions: compiling and executing an expression for hundreds of rows costs more than the insert itself.
"""

from __future__ import annotations

import re
from itertools import chain, count

from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection

from fkproxy.storage.calls_rows import Batch
from fkproxy.storage.calls_tables import CALL_COLUMNS, calls, usage_hourly
from fkproxy.storage.database import Kind

__all__ = ["Statements"]

_ROWS_AT_ONCE: dict[Kind, int] = {"sqlite": 200, "postgresql": 50}
"""Rows of one INSERT. It costs a fifth less than one statement for each, and its values are within what can be bound (32,766).

SQLite's run in a thread; PostgreSQL's values are encoded on the event loop, 50 rows in half a millisecond.
"""


class Statements:
    """`insert` writes what a batch holds, `advance` says up to where a file is read, `forget` that a file is gone."""

    def __init__(self, kind: Kind) -> None:
        self._kind: Kind = kind
        values = f"({', '.join('?' * len(CALL_COLUMNS))})"
        into = f"INSERT INTO {calls.name} ({', '.join(CALL_COLUMNS)}) VALUES "  # noqa: S608 - names of our own
        self._rows_at_once = _ROWS_AT_ONCE[kind]
        self._insert_one = self._bound(into + values)
        self._insert_many = self._bound(into + ", ".join([values] * self._rows_at_once))
        self._add_usage = self._bound(_adding(usage_hourly))
        self._begin_file = self._bound(
            "INSERT INTO journal_positions (file, read_bytes, updated_s) VALUES (?, ?, ?) ON CONFLICT (file) "
            "DO UPDATE SET read_bytes = excluded.read_bytes, updated_s = excluded.updated_s WHERE journal_positions.read_bytes = 0"
        )
        self._advance_file = self._bound("UPDATE journal_positions SET read_bytes = ?, updated_s = ? WHERE file = ? AND read_bytes = ?")
        self._forget_file = self._bound("DELETE FROM journal_positions WHERE file = ?")

    async def insert(self, connection: AsyncConnection, batch: Batch) -> None:
        """Rows, and what they add to the sums."""
        rows, step = batch.rows, self._rows_at_once
        whole = len(rows) - len(rows) % step
        for first in range(0, whole, step):
            await connection.exec_driver_sql(self._insert_many, tuple(chain.from_iterable(rows[first : first + step])))
        if rows[whole:]:
            await connection.exec_driver_sql(self._insert_one, rows[whole:])
        usage = batch.usage()
        for first in range(0, len(usage), step):
            await connection.exec_driver_sql(self._add_usage, usage[first : first + step])

    async def advance(self, connection: AsyncConnection, file: str, before: int, after: int, now_s: float) -> bool:
        """Move a file's position; False where it is not at `before`."""
        if before == 0:
            done = await connection.exec_driver_sql(self._begin_file, (file, after, now_s))
        else:
            done = await connection.exec_driver_sql(self._advance_file, (after, now_s, file, before))
        return done.rowcount == 1

    async def forget(self, connection: AsyncConnection, file: str) -> None:
        """Drop a file's position."""
        await connection.exec_driver_sql(self._forget_file, (file,))

    def _bound(self, statement: str) -> str:
        """With the placeholders of the driver: `?`, or `$1` and on."""
        numbers = count(1)
        return statement if self._kind == "sqlite" else re.sub(r"\?", lambda _: f"${next(numbers)}", statement)


def _adding(table: Table) -> str:
    """An INSERT that adds to the row that is there."""
    key = [column.name for column in table.primary_key]
    sums = [column.name for column in table.columns if column.name not in key]
    adding = ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in sums)
    values = ", ".join("?" * len(key + sums))
    into = f"INSERT INTO {table.name} ({', '.join(key + sums)}) VALUES ({values})"  # noqa: S608 - names of our own
    return f"{into} ON CONFLICT ({', '.join(key)}) DO UPDATE SET {adding}"
