"""Threads wait for the event loop, and for nobody else."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fkproxy.scheduling import Scheduling


@pytest.fixture
def thread() -> Iterator[int]:
    """One more thread, by its number."""
    over = threading.Event()
    made = threading.Thread(target=over.wait)
    made.start()
    yield made.native_id or 0
    over.set()
    made.join()


@pytest.fixture
def tasks(tmp_path: Path, thread: int) -> Path:
    """What the kernel tells of the threads, as it would stand if nobody else needed the processor."""
    for number in (os.getpid(), thread):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "schedstat").write_text("7000000 0 12\n")
    return tmp_path


def waits(tasks: Path, thread: int, seconds: float) -> None:
    (tasks / str(thread) / "schedstat").write_text(f"7000000 {int(seconds * 1e9)} 12\n")


def test_the_loop_is_not_interrupted_by_those_it_wakes(tasks: Path, thread: int) -> None:
    Scheduling(tasks).look()
    assert os.sched_getscheduler(thread) == os.SCHED_BATCH
    assert os.sched_getscheduler(os.getpid()) == os.SCHED_OTHER


def test_who_has_waited_for_a_stranger_is_woken_as_usual_for_a_while(tasks: Path, thread: int, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    scheduling = Scheduling(tasks)
    scheduling.look()
    waits(tasks, thread, 60.0)
    scheduling.look()
    assert os.sched_getscheduler(thread) == os.SCHED_OTHER
    now_s += 59
    scheduling.look()
    assert os.sched_getscheduler(thread) == os.SCHED_OTHER
    now_s += 2
    scheduling.look()
    assert os.sched_getscheduler(thread) == os.SCHED_BATCH


def test_who_has_waited_while_we_ran_has_waited_for_us(tasks: Path, thread: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ran_s = 1.0
    monkeypatch.setattr(time, "process_time", lambda: ran_s)
    scheduling = Scheduling(tasks)
    scheduling.look()
    ran_s = 1.4
    waits(tasks, thread, 0.4)
    scheduling.look()
    assert os.sched_getscheduler(thread) == os.SCHED_BATCH


def test_what_a_new_thread_waited_before_the_first_look_counts_for_nothing(tasks: Path, thread: int) -> None:
    waits(tasks, thread, 60.0)
    Scheduling(tasks).look()
    assert os.sched_getscheduler(thread) == os.SCHED_BATCH


def test_a_thread_that_ends_meanwhile_is_passed_over(tasks: Path, thread: int) -> None:
    ended = threading.Thread(target=lambda: None)
    ended.start()
    ended.join()
    (tasks / str(ended.native_id)).mkdir()
    (tasks / str(ended.native_id) / "schedstat").write_text("7000000 0 12\n")
    Scheduling(tasks).look()
    assert os.sched_getscheduler(thread) == os.SCHED_BATCH


def test_the_kernel_tells_it_in_the_way_that_is_read(thread: int) -> None:
    Scheduling().look()
    assert os.sched_getscheduler(thread) == os.SCHED_BATCH
    os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


def test_a_thread_that_ended_between_two_looks_at_it_is_passed_over(tasks: Path, thread: int) -> None:
    (tasks / "1").mkdir()
    scheduling = Scheduling(tasks)
    scheduling.look()
    assert os.sched_getscheduler(thread) == os.SCHED_BATCH
    waits(tasks, thread, 60.0)
    scheduling.look()
    assert os.sched_getscheduler(thread) == os.SCHED_OTHER, "it goes on looking"


@pytest.mark.parametrize("told", [None, "0 0 0\n", "", "7000000\n", "a b c\n"])
def test_where_the_kernel_does_not_tell_they_are_woken_as_usual(
    tasks: Path, thread: int, told: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    scheduling = Scheduling(tasks)
    scheduling.look()
    assert os.sched_getscheduler(thread) == os.SCHED_BATCH
    own = tasks / str(os.getpid()) / "schedstat"
    own.unlink() if told is None else own.write_text(told)
    with caplog.at_level(logging.INFO):
        scheduling.look()
        scheduling.look()
    assert os.sched_getscheduler(thread) == os.SCHED_OTHER
    assert len([record for record in caplog.records if "woken as usual" in record.getMessage()]) == 1


def test_where_it_is_not_allowed_it_is_said_once(
    tasks: Path, thread: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refused)
    scheduling = Scheduling(tasks)
    with caplog.at_level(logging.INFO):
        scheduling.look()
        scheduling.look()
    assert [record.getMessage() for record in caplog.records] == ["the threads are woken as usual: [Errno 1] Operation not permitted"]
