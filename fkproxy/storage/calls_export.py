"""Calls as a file: CSV for spreadsheets, JSON lines for programs. Floor 2.

Page by page, each a transaction of its own, newest first: an export of millions holds one page in memory and no lock on anything.
"""

from __future__ import annotations

import csv
import io
import operator
from collections.abc import AsyncIterator, Iterable

import msgspec

from fkproxy.storage.calls_search import rows_after
from fkproxy.storage.calls_values import CallFilter, CallRow, Cursor, ExportFormat
from fkproxy.storage.database import Database
from fkproxy.wire.times import rfc3339

__all__ = ["export"]

_PAGE = 250
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet take a cell for a formula (https://owasp.org/www-community/attacks/CSV_Injection)."""
_CSV_FIELDS = tuple(field for field in CallRow.__struct_fields__ if field not in ("id", "started_ms", "detail"))

_fields_of = operator.attrgetter(*_CSV_FIELDS)
_encode = msgspec.json.Encoder().encode


async def export(database: Database, which: CallFilter, kind: ExportFormat) -> AsyncIterator[bytes]:
    """The calls that fit, as pieces of a file. Raises StoreUnavailable, also between two pieces.

    CSV has a head line, `time` as ISO 8601 in UTC in front, and no `detail`; JSON lines have `time` and all of a `CallRow`. The head line
    comes with the first calls: a store that cannot be read gives no piece at all.
    """
    piece = _csv([("time", *_CSV_FIELDS)]) if kind == "csv" else b""
    cursor: Cursor | None = None
    while True:
        rows = await rows_after(database, which, cursor, _PAGE)
        piece += _csv(map(_cells, rows)) if kind == "csv" else b"".join(map(_json_line, rows))
        if piece:
            yield piece
        if len(rows) < _PAGE:
            return
        piece = b""
        cursor = Cursor(rows[-1].started_ms, rows[-1].id)


def _time(row: CallRow) -> str:
    return rfc3339(row.started_ms / 1000, "milliseconds")


def _json_line(row: CallRow) -> bytes:
    return b'{"time":"%s",%s\n' % (_time(row).encode(), _encode(row)[1:])


def _csv(lines: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(lines)
    return text.getvalue().encode()


def _cells(row: CallRow) -> list[object]:
    return [_time(row), *map(_harmless, _fields_of(row))]


def _harmless(value: object) -> object:
    """Text that begins like a formula gets an apostrophe in front; None is an empty cell."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
