"""Log lines of the main process, made with the standard library alone. Floor 4.

They are those of `telemetry/logs.py`, which takes more memory than all the rest of the main process, and an import when it may not
import: while it forks, and when its program is no longer on the disk. They are few.
"""

from __future__ import annotations

import json
import logging
import os
import select
from datetime import UTC, datetime
from typing import Literal

__all__ = ["Notices"]

_PRIORITY = {logging.DEBUG: "<7>", logging.INFO: "<6>", logging.WARNING: "<4>", logging.ERROR: "<3>", logging.CRITICAL: "<2>"}
"""sd-daemon(3)"""
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_PIPE_BUF = 4096
"""What can be written to a pipe that takes anything at all (pipe(7))."""


class Notices(logging.Handler):
    """Writes to `descriptor`, or not at all: nobody waits for whoever reads."""

    def __init__(self, *, format: Literal["json", "pretty"], journal: bool, descriptor: int = 1) -> None:  # noqa: A002 - the setting's name
        super().__init__()
        self._pretty = format == "pretty"
        self._journal = journal
        self._descriptor = descriptor

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`. Never raises."""
        try:
            line = self._line(record).encode("utf-8", "replace")[:_PIPE_BUF]
            if select.select((), (self._descriptor,), (), 0)[1]:
                os.write(self._descriptor, line)
        except (OSError, ValueError, TypeError):
            return

    def _line(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
        extras = {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        if self._pretty:
            told = " ".join(f"{name}={value}" for name, value in extras.items())
            text = f"{at} {record.levelname:<8} {record.getMessage()} {told}".rstrip()
        else:
            fields = {"ts": at, "level": record.levelname, "msg": record.getMessage(), "logger": record.name, **extras}
            text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"), default=str)
        return f"{_PRIORITY.get(record.levelno, '<6>') if self._journal else ''}{text}\n"
