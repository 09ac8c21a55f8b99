"""Lines on stdout: one JSON object each, nothing of what was said, and never a wait."""

from __future__ import annotations

import contextlib
import json
import logging
import logging.config
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from fkproxy.model.errors import UpstreamRejected
from fkproxy.telemetry import logs
from fkproxy.telemetry.output import Output
from tests.telemetry.records import record

Start = Callable[..., Callable[[], list[str]]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Configures logging into a pipe and gives a function that reads what has come out of it."""
    root, own = logging.getLogger(), [logging.getLogger(name) for name in ("fkproxy", "_granian")]
    before = (list(root.handlers), root.level, [logger.level for logger in own], sys.excepthook, logs._State.output)
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)

    def begin(*, level: str = "info", kind: str = "json", journal: bool = False) -> Callable[[], list[str]]:
        logs.configure(level=level, format=kind, journal=journal, descriptor=write_end)  # type: ignore[arg-type]  # as settings give it

        def lines() -> list[str]:
            assert logs._State.output is not None
            assert logs._State.output.flush(30)
            try:
                return os.read(read_end, 1 << 20).decode().removesuffix("\n").split("\n")
            except BlockingIOError:
                return []

        return lines

    yield begin
    logging.captureWarnings(False)
    root.handlers, sys.excepthook, logs._State.output = before[0], before[3], before[4]
    root.setLevel(before[1])  # which forgets what loggers have remembered of it
    for logger, level in zip(own, before[2], strict=True):
        logger.setLevel(level)
    os.close(read_end)
    os.close(write_end)


def test_a_line_is_an_object_with_its_extras(start: Start) -> None:
    lines = start()
    logging.getLogger("fkproxy.x").warning("circuit %s", "breaker", extra={"provider_key": "p", "from": "closed", "number": 5})
    (line,) = lines()
    value = json.loads(line)
    assert value.pop("ts").endswith("Z")
    assert value == {
        "level": "WARNING",
        "msg": "circuit breaker",
        "logger": "fkproxy.x",
        "provider_key": "p",
        "from": "closed",
        "number": 5,
    }


@pytest.mark.parametrize(("level", "expected"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
@pytest.mark.parametrize("logger", ["fkproxy.x", "_granian.serve"])
def test_the_level_is_obeyed(start: Start, monkeypatch: pytest.MonkeyPatch, logger: str, level: str, expected: int) -> None:
    # A server that another test has started keeps its lines to itself.
    monkeypatch.setattr(logging.getLogger("_granian"), "propagate", True)
    lines = start(level="error")
    logs.set_level(level)
    for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logging.getLogger(logger).log(number, "x")
    logs.AccessLog().write(record())
    assert len(lines()) == expected + (level in ("debug", "info"))


@pytest.mark.parametrize(("level", "expected"), [("debug", 2), ("info", 2), ("warning", 2), ("error", 1)])
@pytest.mark.parametrize("library", ["aiosqlite", "asyncpg", "httpcore.http11", "one.of.tomorrow"])
def test_of_a_library_warnings_are_the_least_that_is_written(start: Start, library: str, level: str, expected: int) -> None:
    lines = start(level="error")
    logs.set_level(level)
    for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logging.getLogger(library).log(number, "x")
    assert len(lines()) == expected


@pytest.mark.parametrize("kind", ["json", "pretty"])
def test_no_text_breaks_a_line(start: Start, kind: str) -> None:
    lines = start(kind=kind)
    logging.getLogger("x").error("two\nlines\r\x1b[31m \u2028 %s", "x" * 100_000, extra={"more": "a\nb"})
    found = lines()
    assert len(found) == 1
    assert len(found[0]) < 16_000
    assert not any(ord(character) < 32 for character in found[0])


def test_an_exception_is_told_without_its_words(start: Start) -> None:
    lines = start()
    try:
        try:
            raise ValueError("canary in a library's message")
        except ValueError as error:
            raise UpstreamRejected(400, "canary in the upstream's words") from error
    except UpstreamRejected:
        logging.getLogger("x").exception("a call failed", extra={"request_id": "r1"})
    (line,) = lines()
    assert "canary" not in line
    told = json.loads(line)["exception"]
    assert told[0] == "UpstreamRejected (upstream_rejected)"
    assert "ValueError" in told
    assert any("test_logs.py" in frame for frame in told)


def test_warnings_and_the_servers_own_lines_have_the_same_shape(start: Start) -> None:
    lines = start()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    configuration = {"version": 1, "disable_existing_loggers": False, **logs.granian_log_config(format="json")}
    logging.config.dictConfig(configuration)
    logging.getLogger("_granian").info("Listening")
    logging.getLogger("granian.access").info("not written")
    found = [json.loads(line) for line in lines()]
    assert [value["logger"] for value in found] == ["py.warnings", "_granian"]


def test_a_record_that_cannot_be_formatted_costs_neither_line_nor_process(start: Start) -> None:
    lines = start()
    logging.getLogger("x").error("%d", "not a number")
    (line,) = lines()
    assert json.loads(line)["level"] == "ERROR"


def test_priorities_are_marked_for_the_journal_only(start: Start) -> None:
    lines = start(journal=True, level="debug")
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        logging.getLogger("fkproxy.x").log(level, "x")
    logs.AccessLog().write(record())
    found = lines()
    assert [line[:3] for line in found] == ["<7>", "<6>", "<4>", "<3>", "<2>", "<6>"]
    assert all(json.loads(line[3:]) for line in found)


def test_an_access_line_has_what_the_runbook_promises(start: Start) -> None:
    lines = start()
    logs.AccessLog().write(record(error_code=None))
    logs.AccessLog().write(record(status=401, auth="refused", provider_key=None, model_id=None, usage=None, error_code="invalid_api_key"))
    good, refused = (json.loads(line) for line in lines())
    assert {"ts", "level", "req_id", "method", "route", "status", "dur_ms", "ua", "auth", "kind"} <= good.keys() & refused.keys()
    assert (good["kind"], good["level"], good["ts"]) == ("access", "INFO", "2027-01-15T08:00:00.500Z")
    assert (good["provider"], good["model"], good["attempts"], good["ttft_ms"]) == ("p1", "model-1", 1, 30.0)
    assert (good["tokens_in"], good["tokens_out"], good["tokens_cached"], good["tokens_reasoning"]) == (100, 20, 60, 5)
    assert (refused["auth"], refused["error_code"]) == ("refused", "invalid_api_key")


def test_what_a_client_chooses_is_bounded_and_plain(start: Start) -> None:
    lines = start()
    logs.AccessLog().write(record(user_agent="a\n\x00b" + "x" * 5000, model_requested="m\r\n" + "y" * 5000))
    (line,) = lines()
    value: dict[str, Any] = json.loads(line)
    assert value["ua"].startswith("a??b")
    assert len(value["ua"]) == 200
    assert len(value["model_requested"]) == 128


def test_pretty_lines_are_lines_too(start: Start) -> None:
    lines = start(kind="pretty")
    logs.AccessLog().write(record())
    logging.getLogger("fkproxy.x").info("hello", extra={"a": 1})
    access, other = lines()
    assert "POST /v1/chat/completions 200" in access
    assert other.endswith("hello a=1")


def test_a_reader_that_sleeps_holds_nobody_up_and_what_is_lost_is_told() -> None:
    read_end, write_end = os.pipe()
    output = Output(write_end, max_queued_bytes=100_000)
    output.notice = lambda count: b"%d lost\n" % count
    began = time.monotonic()
    for _ in range(5000):
        output.write(b"x" * 99 + b"\n")
    assert time.monotonic() - began < 30.0, "who waits for this reader waits for ever"
    assert output.dropped > 0
    os.set_blocking(read_end, False)
    data = b""
    deadline = time.monotonic() + 30
    while b"lost" not in data and time.monotonic() < deadline:
        try:
            data += os.read(read_end, 1 << 16)
        except BlockingIOError:
            output.write(b"more\n")
            time.sleep(0.01)
    assert b"lost" in data
    while not output.flush(0.01) and time.monotonic() < deadline:
        with contextlib.suppress(BlockingIOError):
            os.read(read_end, 1 << 16)
    assert output.flush(0)
    os.close(read_end)
    output.write(b"nobody reads this\n")
    assert output.flush(30)
    os.close(write_end)


def test_lines_that_are_made_later_keep_their_place_and_one_that_cannot_be_made_costs_nobody_else_his() -> None:
    read_end, write_end = os.pipe()
    output = Output(write_end, max_queued_bytes=10_000)
    output.notice = lambda count: b"%d lost\n" % count
    for number in range(5):
        output.write(b"now %d\n" % number)
        output.write_later(partial(b"later %d\n".__mod__, number), 100)
    output.write_later(partial(int, "no number"), 100)
    output.write(b"end\n")
    assert output.flush(30)
    expected = b"".join(b"now %d\nlater %d\n" % (number, number) for number in range(5))
    assert os.read(read_end, 4096) == expected + b"end\n"
    output.write_later(partial(bytes, b"too large\n"), 10_001)
    output.write(b"more\n")
    assert output.flush(30)
    assert os.read(read_end, 4096) == b"2 lost\nmore\n"
    assert output.dropped == 2
    os.close(read_end)
    os.close(write_end)


def test_lines_that_cannot_be_written_are_counted_and_told_when_there_is_room_again() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    output = Output(descriptor)
    output.notice = lambda count: b"%d lost\n" % count
    for line in (b"a\n", b"b\n", b"x" * 5000 + b"\n", b"c\n"):
        output.write(line)
    assert output.flush(30)
    output.write(b"d\n")
    assert output.flush(30)
    assert output.dropped == 5, "what tells of them is none"
    read_end, write_end = os.pipe()
    os.dup2(write_end, descriptor)
    output.write(b"more\n")
    assert output.flush(30)
    assert os.read(read_end, 4096) == b"5 lost\nmore\n"
    assert output.dropped == 5
    for each in (descriptor, read_end, write_end):
        os.close(each)


def test_lines_of_two_processes_do_not_mix() -> None:
    program = """
import os, sys
from fkproxy.telemetry.output import Output
output = Output(1)
child = os.fork()
letter = b"c" if child == 0 else b"p"
for number in range(2000):
    output.write(letter * 150 + b"\\n")
assert output.flush(30)
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60)
    lines = done.stdout.splitlines()
    assert len(lines) == 4000
    assert {bytes(set(line)) for line in lines} == {b"c", b"p"}
