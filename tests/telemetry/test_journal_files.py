"""The journal's files: whose they are, when the next one begins, and what happens when they cannot be written."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fkproxy.telemetry.journal_files import MAX_LINE_BYTES, JournalTrouble, JournalWriter, journal_files, lock, read_lines


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state" / "calls"


def writer(directory: Path, clock: Clock, **limits: int) -> JournalWriter:
    bounds = {"max_bytes": 1_000_000, "max_file_bytes": 1000, "max_file_age_s": 300, **limits}
    return JournalWriter(directory, now=clock, **bounds)  # type: ignore[arg-type]  # the limits are numbers


@contextmanager
def no_file_may_grow() -> Iterator[None]:
    """Every write to a file fails (EFBIG), as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def files_may_have(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in journal_files(directory))


def test_files_and_directory_are_the_owners_alone(directory: Path, clock: Clock) -> None:
    writer(directory, clock).append([b"1\n"])
    (path,) = journal_files(directory)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert path.name.startswith(f"calls-1800000000000-{os.getpid()}-")


def test_a_full_file_is_followed_by_another(directory: Path, clock: Clock) -> None:
    files = writer(directory, clock, max_file_bytes=100)
    for number in range(5):
        clock.now += 1
        files.append([b"%059d\n" % number])
    assert [path.stat().st_size for path in journal_files(directory)] == [120, 120, 60]
    assert contents(directory) == b"".join(b"%059d\n" % number for number in range(5))


def test_an_old_file_is_followed_by_another(directory: Path, clock: Clock) -> None:
    files = writer(directory, clock)
    files.append([b"1\n"])
    clock.now += 299
    files.append([b"2\n"])
    clock.now += 2
    files.append([b"3\n"])
    assert [path.read_bytes() for path in journal_files(directory)] == [b"1\n2\n", b"3\n"]


def test_the_file_that_is_written_is_locked_and_the_others_are_not(directory: Path, clock: Clock) -> None:
    files = writer(directory, clock, max_file_bytes=1)
    files.append([b"1\n"])
    clock.now += 1
    files.append([b"2\n"])
    locked = []
    for path in journal_files(directory):
        handle = os.open(path, os.O_RDONLY)
        locked.append(not lock(handle))
        os.close(handle)
    assert locked == [False, True]


def test_the_bound_holds_for_the_files_of_everybody(directory: Path, clock: Clock) -> None:
    directory.mkdir(parents=True)
    other = directory / "calls-1700000000000-1-00000000.jsonl"
    other.write_bytes(b"x" * 900)
    (directory / "something else").write_bytes(b"x" * 5000)
    files = writer(directory, clock, max_bytes=1000)
    files.append([b"y" * 49 + b"\n"])
    with pytest.raises(JournalTrouble) as trouble:
        files.append([b"z" * 99 + b"\n"])
    assert (trouble.value.reason, trouble.value.written) == ("at_limit", 0)
    # The own file can be moved away now, and room is noticed at once.
    handle = os.open(journal_files(directory)[-1], os.O_RDONLY)
    assert lock(handle)
    os.close(handle)
    other.unlink()
    files.append([b"z" * 99 + b"\n"])
    assert contents(directory) == b"y" * 49 + b"\n" + b"z" * 99 + b"\n"


def test_a_full_disk_is_told_and_leaves_no_empty_files(directory: Path, clock: Clock) -> None:
    files = writer(directory, clock)
    with no_file_may_grow():
        for _ in range(3):
            with pytest.raises(JournalTrouble) as trouble:
                files.append([b"1\n", b"2\n"])
            assert (trouble.value.reason, trouble.value.written) == ("full", 0)
    assert journal_files(directory) == []
    files.append([b"1\n", b"2\n"])
    assert contents(directory) == b"1\n2\n"


def test_a_disk_that_gets_full_in_a_line_keeps_the_lines_before_it(directory: Path, clock: Clock) -> None:
    files = writer(directory, clock)
    lines = [b"%09d\n" % number for number in range(10)]
    with files_may_have(35), pytest.raises(JournalTrouble) as trouble:
        files.append(lines)
    assert (trouble.value.reason, trouble.value.written) == ("full", 3)
    files.append(lines[3:])
    assert contents(directory) == b"".join(lines)


def test_a_directory_that_was_removed_is_made_again(directory: Path, clock: Clock) -> None:
    files = writer(directory, clock)
    files.append([b"1\n"])
    journal_files(directory)[0].unlink()
    directory.rmdir()
    files.append([b"2\n"])
    assert contents(directory) == b"2\n"


def test_a_file_that_was_replaced_is_not_written_to(directory: Path, clock: Clock) -> None:
    files = writer(directory, clock)
    files.append([b"1\n"])
    (path,) = journal_files(directory)
    path.rename(directory / "taken")
    path.write_bytes(b"")
    clock.now += 1
    files.append([b"2\n"])
    assert [found.read_bytes() for found in journal_files(directory)] == [b"", b"2\n"]


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_place_where_no_directory_can_be_is_told(tmp_path: Path, clock: Clock, place: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(JournalTrouble) as trouble:
        writer(tmp_path / place, clock).append([b"1\n"])
    assert trouble.value.reason == "gone"


def test_where_there_is_no_directory_there_are_no_files(tmp_path: Path) -> None:
    assert journal_files(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("data", "offset", "found"),
    [
        (b"", 0, b""),
        (b"1\n2\n", 0, b"1\n2\n"),
        (b"1\n2\n3", 0, b"1\n2\n"),
        (b"1\n2\n3", 4, b""),
        (b"1\n" + b"2" * 50 + b"\n3\n", 0, b"1\n"),
        (b"1\n" + b"2" * 50 + b"\n3\n", 2, b"2" * 50 + b"\n3\n"),
    ],
)
def test_a_reader_gets_whole_lines_only(tmp_path: Path, data: bytes, offset: int, found: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    handle = os.open(tmp_path / "file", os.O_RDONLY)
    assert read_lines(handle, offset, 8) == found
    os.close(handle)


def test_what_is_too_long_for_a_line_is_handed_out_to_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * (MAX_LINE_BYTES + 10) + b"\n1\n")
    handle = os.open(tmp_path / "file", os.O_RDONLY)
    assert read_lines(handle, 0, 100) == b"x" * MAX_LINE_BYTES
    assert read_lines(handle, MAX_LINE_BYTES, 100) == b"x" * 10 + b"\n1\n"
    os.close(handle)
