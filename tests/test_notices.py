"""Lines of the main process are those of everybody else."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest

from fkproxy.notices import Notices
from fkproxy.telemetry.logs import JsonFormatter, PrettyFormatter


def record(level: int = logging.ERROR, **extra: object) -> logging.LogRecord:
    return logging.getLogger("fkproxy.main_process").makeRecord(
        "fkproxy.main_process", level, __file__, 1, "it is %s", ("so",), None, extra=extra
    )


@pytest.mark.parametrize("extra", [{}, {"exit_code": -9, "cause": "naïve"}, {"exit_code": None}])
def test_they_have_the_same_form(tmp_path: Path, extra: dict[str, object]) -> None:
    for kind, formatter in (("json", JsonFormatter()), ("pretty", PrettyFormatter())):
        with (tmp_path / "log").open("w+b") as file:
            Notices(format=kind, journal=False, descriptor=file.fileno()).emit(record(**extra))  # type: ignore[arg-type]  # one of the two
            Notices(format=kind, journal=True, descriptor=file.fileno()).emit(record(logging.INFO, **extra))  # type: ignore[arg-type]  # one of the two
            file.seek(0)
            first, second = file.read().decode().splitlines()
        expected = formatter.format(record(**extra))
        if kind == "json":
            told = json.loads(first)
            assert list(told) == list(json.loads(expected))
            assert {**told, "ts": ""} == {**json.loads(expected), "ts": ""}
            assert len(told["ts"]) == len(json.loads(expected)["ts"])
        else:
            assert first.split(" ", 1)[1] == expected.split(" ", 1)[1]
        assert second.startswith("<6>")


def test_whoever_does_not_read_is_not_waited_for() -> None:
    reading, writing = os.pipe()
    notices = Notices(format="json", journal=False, descriptor=writing)
    for _ in range(1000):
        notices.emit(record(text="x" * 200))
    os.close(reading)
    notices.emit(record())
    os.close(writing)
    notices.emit(record())
