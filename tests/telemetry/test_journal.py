"""Nobody waits for the journal, it loses nothing that it need not lose, and it says what it lost."""

from __future__ import annotations

import logging
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from fkproxy.telemetry.entry import decode_entry
from fkproxy.telemetry.journal import Journal
from fkproxy.telemetry.journal_files import journal_files, lock
from fkproxy.telemetry.record import RECORD_BYTES
from tests.telemetry.records import record

QUICK_S = 0.005
WAIT_S = 30.0
"""What has not happened by then does not happen."""
NOBODY = 65534


@pytest.fixture
def directory() -> Iterator[Path]:
    """Beside the other temporary directories: one that a user without rights could reach as well."""
    with tempfile.TemporaryDirectory(prefix="fk-journal-") as name:
        Path(name).chmod(0o755)
        yield Path(name) / "calls"


def ids(directory: Path) -> list[str]:
    """Of the calls in whole lines, in their order."""
    lines = b"".join(path.read_bytes() for path in journal_files(directory)).split(b"\n")
    return [decode_entry(line).request_id for line in lines if line]


def until(condition: Callable[[], bool]) -> None:
    """The journal's thread has its own time."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


@contextmanager
def no_file_may_grow() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """Nothing can be made in it. Root may do everything everywhere, so we are not root meanwhile."""
    directory.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        directory.chmod(0o700)


def test_calls_are_written_without_anybody_asking(directory: Path) -> None:
    journal = Journal(directory, gather_s=QUICK_S)
    journal.write(record(request_id="a"))
    until(lambda: ids(directory) == ["a"])
    journal.write(record(request_id="b"))
    until(lambda: ids(directory) == ["a", "b"])
    until(lambda: journal.figures.pending_bytes == 0)
    journal.close(WAIT_S)


def test_a_line_is_in_its_file_within_half_a_second(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as the journal itself lets it wait."""
    waits: list[float] = []

    class Event(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(0.0 if timeout is None else timeout)
            return super().wait(timeout)

    monkeypatch.setattr("fkproxy.telemetry.journal.threading", SimpleNamespace(Event=Event, Thread=threading.Thread))
    journal = Journal(directory)
    for number in range(1, 4):
        waits.clear()
        journal.write(record(request_id=str(number)))
        until(lambda: len(ids(directory)) == number)  # noqa: B023 - asked within the round
        assert sum(waits) < 0.5
    journal.close(WAIT_S)


def test_closing_writes_what_is_queued_and_lets_go_of_the_file(directory: Path) -> None:
    journal = Journal(directory, gather_s=60)
    for number in range(5000):
        journal.write(record(request_id=str(number)))
    journal.close(WAIT_S)
    assert ids(directory) == [str(number) for number in range(5000)]
    with journal_files(directory)[0].open() as written:
        assert lock(written.fileno()), "nobody writes to it any more"
    journal.close(WAIT_S)


def test_what_cannot_be_written_at_the_end_is_told(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(directory, gather_s=QUICK_S)
    with no_file_may_grow():
        _write_and_wait(journal, "full")
        journal.close(WAIT_S)
    assert {name: caplog.records[-1].__dict__[name] for name in ("levelname", "lost", "reason")} == {
        "levelname": "ERROR",
        "lost": 2,
        "reason": "full",
    }


def test_who_writes_after_the_end_begins_again(directory: Path) -> None:
    journal = Journal(directory, gather_s=QUICK_S)
    journal.write(record(request_id="a"))
    journal.close(WAIT_S)
    journal.write(record(request_id="b"))
    until(lambda: ids(directory) == ["a", "b"])
    journal.write(record(request_id="c"))
    until(lambda: ids(directory) == ["a", "b", "c"])
    journal.close(WAIT_S)
    assert ids(directory) == ["a", "b", "c"]


def test_without_calls_there_is_no_file_and_no_thread(directory: Path) -> None:
    journal = Journal(directory)
    journal.close(WAIT_S)
    assert not directory.exists()
    assert journal.figures.files == 0


def test_text_that_is_not_unicode_costs_one_record_and_is_counted(directory: Path) -> None:
    journal = Journal(directory)
    journal.write(record(provider_key="\ud800"))
    journal.write(record(request_id="next"))
    journal.close(WAIT_S)
    assert ids(directory) == ["next"]
    assert journal.figures.dropped == 1


@pytest.mark.parametrize("trouble", ["full", "gone", "read_only", "at_limit"])
def test_while_nothing_can_be_written_records_wait_and_then_they_are_written(
    directory: Path, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    journal = Journal(directory, gather_s=QUICK_S, max_bytes=10_000)
    if trouble == "full":
        with no_file_may_grow():
            _write_and_wait(journal, trouble)
    elif trouble == "gone":
        directory.write_bytes(b"")
        _write_and_wait(journal, trouble)
        directory.unlink()
    elif trouble == "read_only":
        directory.mkdir()
        with read_only(directory):
            _write_and_wait(journal, trouble)
    else:
        directory.mkdir()
        other = directory / "calls-1700000000000-1-00000000.jsonl"
        other.write_bytes(b"\n" * 10_000)
        _write_and_wait(journal, trouble)
        other.unlink()
    until(lambda: journal.figures.trouble is None)
    assert ids(directory) == ["a", "b"]
    assert (journal.figures.dropped, journal.figures.pending_bytes) == (0, 0)
    # One line when it began and one when it ended, however often it was tried.
    assert [entry.levelname for entry in caplog.records] == ["ERROR", "WARNING"]
    assert caplog.records[0].__dict__["reason"] == trouble
    assert caplog.records[1].__dict__["dropped"] == 0
    journal.close(WAIT_S)


def _write_and_wait(journal: Journal, trouble: str) -> None:
    journal.write(record(request_id="a"))
    until(lambda: journal.figures.trouble == trouble)
    journal.write(record(request_id="b"))
    until(lambda: journal.figures.pending_lines == 2)
    time.sleep(20 * QUICK_S)  # nobody writes from here on, nor has just done so: it tries by itself


def test_a_directory_that_vanishes_is_made_again(directory: Path) -> None:
    journal = Journal(directory, gather_s=QUICK_S)
    journal.write(record(request_id="a"))
    until(lambda: ids(directory) == ["a"])
    journal_files(directory)[0].unlink()
    directory.rmdir()
    journal.write(record(request_id="b"))
    until(lambda: ids(directory) == ["b"])
    journal.close(WAIT_S)


def test_of_too_many_the_oldest_go_and_are_counted(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(directory, gather_s=QUICK_S, max_pending_bytes=60_000)
    with no_file_may_grow():
        for number in range(1000):
            journal.write(record(request_id=f"{number:04}"))
        until(lambda: journal.figures.trouble == "full")
        journal.write(record(request_id="last"))
        until(lambda: journal.figures.pending_bytes <= 60_000)
    until(lambda: journal.figures.trouble is None)
    journal.close(WAIT_S)
    kept, figures = ids(directory), journal.figures
    assert figures.dropped == 1001 - len(kept)
    # What is not a line yet takes up more.
    assert 60_000 // RECORD_BYTES <= len(kept) < 200
    assert kept == [*(f"{number:04}" for number in range(1001 - len(kept), 1000)), "last"]
    assert caplog.records[-1].__dict__["dropped"] == figures.dropped


WRITER = """
import os, sys, time
from pathlib import Path
from fkproxy.telemetry.journal import Journal
from tests.telemetry.records import record
name, directory = sys.argv[1:]
journal = Journal(Path(directory), max_file_bytes=50_000, gather_s=0.01)
number = 0
while True:
    for _ in range(20):
        call = record(request_id=f"{name}-{number}", notes=("x" * 100,) * 20)
        journal.write(call)
        number += 1
    while journal.figures.pending_bytes:
        time.sleep(0.001)
    os.write(1, b"%d\\n" % number)
"""


def test_a_process_that_is_killed_loses_nothing_that_does_not_wait_any_more(directory: Path) -> None:
    draw = random.Random()
    root = Path(__file__).parents[2]
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(number), str(directory)], stdout=subprocess.PIPE, cwd=root)
        for number in range(6)
    ]
    try:
        written = {}
        for number, writer in enumerate(writers):
            assert writer.stdout is not None
            first = writer.stdout.readline()
            time.sleep(draw.uniform(0, 0.3))
            writer.send_signal(signal.SIGKILL)
            written[number] = int((first + writer.communicate()[0]).split()[-1])
    finally:
        for writer in writers:
            writer.kill()
    found = ids_of_whole_lines(directory)
    assert len(set(found)) == len(found)
    assert {f"{number}-{place}" for number, count in written.items() for place in range(count)} <= set(found)
    assert min(written.values()) > 0


def ids_of_whole_lines(directory: Path) -> list[str]:
    whole = (path.read_bytes().rpartition(b"\n")[0] for path in journal_files(directory))
    return [decode_entry(line).request_id for part in whole for line in part.split(b"\n") if line]
