"""Children: started when they are needed, replaced when they are worn, restarted when they break, and never left over."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from fkproxy.adapters.codex import Crew, Limits
from fkproxy.adapters.codex import crew as module
from fkproxy.adapters.codex.app_server import AppServer
from fkproxy.adapters.codex.crew import resident_bytes
from fkproxy.model.errors import UpstreamOverloaded, UpstreamSpawnFailed, UpstreamUnavailable
from tests.adapters.codex.playing import Clock, crew, is_gone, until

Make = Callable[..., Crew]


@pytest.fixture
async def make(tmp_path: Path, tidy: None, clock: Clock) -> AsyncIterator[Make]:
    """Crews of stand-ins that are closed at the end."""
    made: list[Crew] = []

    def one(nature: str = "", **limits: Any) -> Crew:
        made.append(crew(tmp_path / "home", nature, clock=clock, **limits))
        return made[-1]

    yield one
    for children in made:
        await children.aclose()


def pids(children: Crew) -> list[int]:
    return [server.process.pid for server in children.servers]


async def gone(children: Crew, before: list[int]) -> None:
    """Children with these ids are neither ours nor there."""
    await until(lambda: not set(before) & set(pids(children)) and all(is_gone(pid, 0.0) for pid in before))


# --- places


async def test_nothing_is_started_before_somebody_takes_a_place(make: Make) -> None:
    children = make()
    assert not children.command.home.exists()
    server = await children.take()
    assert (server.version, server.turns, len(children.servers)) == ("0.169.0", 1, 1)
    assert oct(children.command.home.stat().st_mode & 0o777) == "0o700"
    children.give_back(server)
    assert (server.turns, server.served) == (0, 1)


async def test_all_who_come_at_once_share_the_first_child(make: Make) -> None:
    children = make(processes=1)
    servers = await asyncio.gather(*(children.take() for _ in range(8)))
    assert {server.process.pid for server in servers} == {pids(children)[0]}
    assert servers[0].turns == 8


async def test_a_busy_child_gets_company_and_the_one_with_room_is_taken(make: Make) -> None:
    children = make(processes=2, turns=2)
    first = await children.take()
    assert await children.take() is first
    await until(lambda: len(children.servers) == 2)
    second = await children.take()
    assert second is not first
    assert await children.take() is second
    with pytest.raises(UpstreamOverloaded) as caught:
        await children.take()
    assert caught.value.retry_after_s == 1.0
    children.give_back(first)
    assert await children.take() is first


async def test_a_child_that_has_just_been_started_and_is_full_is_not_waited_for_as_one_that_is_being_started(make: Make) -> None:
    children = make(processes=2, turns=2)
    first = await children.take()
    assert await children.take() is first
    while len(children.servers) < 2:  # noqa: ASYNC110 - at the first moment, which no event of the crew tells
        await asyncio.sleep(0)
    # The loop has had no time yet for what it does when the start is over.
    second = await children.take()
    assert await children.take() is second is not first
    with pytest.raises(UpstreamOverloaded):
        await children.take()


async def test_who_finds_all_places_taken_waits_for_the_child_that_is_being_started(make: Make) -> None:
    children = make(processes=2, turns=1)
    first = await children.take()
    second = await children.take()
    assert first is not second
    assert len(children.servers) == 2


async def test_one_who_goes_away_while_a_child_starts_spoils_it_for_nobody(make: Make) -> None:
    children = make()
    hasty, patient = asyncio.create_task(children.take()), asyncio.create_task(children.take())
    await asyncio.sleep(0)
    hasty.cancel()
    server = await patient
    assert (server.turns, len(children.servers)) == (1, 1)


# --- children that do not start


@pytest.mark.parametrize(
    ("nature", "why"),
    [
        ("dying", "the child ended: exit code 3; it said: error: the configuration; is not to my taste"),
        ("mute", "no handshake within 0.3 s: "),
        ("odd", "the child's answer is not what its protocol says: "),
        ("rambling", "the child broke its protocol: ValueError: "),
    ],
)
async def test_a_child_that_does_not_start_is_told_with_its_own_words(
    make: Make, caplog: pytest.LogCaptureFixture, nature: str, why: str
) -> None:
    children = make(nature, start_s=0.3 if nature == "mute" else 20.0)
    with pytest.raises(UpstreamSpawnFailed) as caught:
        await children.take()
    assert caught.value.why.startswith(why)
    assert (caught.value.status, caught.value.code, str(caught.value)) == (
        500,
        "spawn_error",
        "the upstream's program could not be started",
    )
    (record,) = [record for record in caplog.records if record.name == "fkproxy.codex"]
    assert record.__dict__["reason"] == caught.value.why
    assert children.servers == []


# --- children that break


async def test_a_child_that_ends_by_itself_is_replaced_at_once(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    children = make()
    server = await children.take()
    before = pids(children)
    os.kill(before[0], 9)
    await until(lambda: children.servers and pids(children) != before)
    assert isinstance(server.lost, UpstreamUnavailable)
    assert children.restarts == 1
    children.give_back(server)
    assert (await children.take()).process.pid != before[0]
    (record,) = [record for record in caplog.records if record.message == "child ended"]
    assert (record.levelno, record.__dict__["pid"], record.__dict__["retry_after_s"]) == (logging.ERROR, before[0], 0.0)
    assert is_gone(before[0])


async def test_a_call_that_was_served_makes_up_for_what_broke(make: Make) -> None:
    children = make()
    for _ in range(2):
        server = await children.take()
        os.kill(server.process.pid, 9)
        await until(lambda: server.lost is not None)  # noqa: B023 - done within the round
        children.give_back(server)
        children._not_before = 0.0
    assert children._failures == 2
    children.give_back(await children.take())
    assert children._failures == 0


async def test_a_hanging_child_is_ended_and_the_others_are_told(make: Make) -> None:
    children = make("deaf", processes=1)
    first, second = await children.take(), await children.take()
    assert first is second
    before = pids(children)
    other = asyncio.create_task(second.request("model/list", {}))
    with pytest.raises(Exception, match=r"child"):
        await first.request("model/list", {}, 0.1)
    with pytest.raises(Exception, match=r"child"):
        await other
    await gone(children, before)


# --- children that are worn


async def test_an_idle_child_is_ended_and_none_takes_its_place(make: Make, clock: Clock) -> None:
    children = make(idle_s=60.0)
    server = await children.take()
    before = pids(children)
    clock.ahead_s += 100.0
    children._look_after(server)
    assert not server.leaving
    children.give_back(server)
    clock.ahead_s += 59.0
    children._look_after(server)
    assert not server.leaving
    clock.ahead_s += 2.0
    children._look_after(server)
    assert server.leaving
    await gone(children, before)
    assert (children.servers, children._starting, children.restarts) == ([], None, 0)
    assert (await children.take()).process.pid != before[0]


@pytest.mark.parametrize(
    ("limits", "wear"),
    [
        ({"age_s": 1000.0}, lambda server, clock: setattr(clock, "ahead_s", 1001.0)),
        ({"calls": 3}, lambda server, clock: setattr(server, "served", 3)),
        ({"memory_bytes": 1 << 40}, lambda server, clock: None),
    ],
)
async def test_a_worn_child_is_replaced_when_its_calls_are_over(make: Make, clock: Clock, limits: Any, wear: Any) -> None:
    children = make(**limits, idle_s=1e9)
    server = await children.take()
    if "memory_bytes" in limits:
        children.limits = Limits(memory_bytes=resident_bytes(server.process.pid) * 3 // 4)
    before = pids(children)
    wear(server, clock)
    children._look_after(server)
    assert server.leaving
    await until(lambda: len(children.servers) == 2)
    another = await children.take()
    assert another is not server
    # A call that has just begun has no thread yet.
    children._look_after(server)
    assert server in children.servers
    server.threads["t"] = Deaf()
    children.give_back(server)
    children._look_after(server)
    assert server in children.servers
    server.threads.clear()
    children._look_after(server)
    await gone(children, before)
    assert children.servers == [another]
    await until(lambda: server.lost is not None)
    assert children.restarts == 0


@pytest.mark.parametrize("name", ["auth.json", "config.toml"])
async def test_who_signs_in_or_changes_its_settings_means_the_next_call(make: Make, name: str) -> None:
    children = make(processes=1, turns=1)
    file = children.command.home / name
    for change in (lambda: file.write_text("one"), lambda: file.write_text("another"), file.unlink):
        server = await children.take()
        change()
        another = await children.take()
        assert another is not server
        assert (server.leaving, server.lost, children.restarts) == (True, None, 0)
        children.give_back(server)
        children.give_back(another)
        assert await children.take() is another
        children.give_back(another)


class Deaf:
    """See `app_server.Thread`."""

    def heard(self, *told: Any) -> None:
        """Nothing."""

    def lost(self, error: Exception) -> None:
        """Nothing."""


async def test_children_that_are_replaced_because_they_are_worn_were_not_restarted_too_often(make: Make) -> None:
    children = make(calls=1, idle_s=1e9)
    for _ in range(15):
        server = await children.take()
        children.give_back(server)
        children._look_after(server)
        await gone(children, [server.process.pid])


async def test_calls_of_a_worn_child_have_a_bound(make: Make, clock: Clock) -> None:
    children = make(age_s=1000.0)
    server = await children.take()
    before = pids(children)
    clock.ahead_s += 1001.0
    children._look_after(server)
    clock.ahead_s += 899.0
    children._look_after(server)
    assert server in children.servers
    clock.ahead_s += 2.0
    children._look_after(server)
    await gone(children, before)


async def test_a_child_without_a_limit_of_age_grows_old(make: Make, clock: Clock) -> None:
    children = make(age_s=0.0, idle_s=1e9)
    server = await children.take()
    clock.ahead_s += 1e8
    children._look_after(server)
    assert not server.leaving


async def test_a_child_that_is_far_too_large_is_ended_whatever_it_does(make: Make) -> None:
    children = make()
    server = await children.take()
    before = pids(children)
    children.limits = Limits(memory_bytes=resident_bytes(server.process.pid) // 2 - 100_000)
    children._look_after(server)
    assert "memory" in str(server.lost)
    assert children.restarts == 1
    await gone(children, before)


async def test_children_are_looked_after_without_being_told(make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 0.01)
    children = make(idle_s=60.0)
    children.give_back(await children.take())
    before = pids(children)
    clock.ahead_s += 61.0
    await gone(children, before)


def test_memory_is_that_of_all_descendants_whichever_thread_made_them() -> None:
    script = (
        "import subprocess, sys, threading\n"
        "def more():\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'x = bytes(60_000_000).replace(b\"\\\\0\", b\"a\"); print(); input()'],"
        " stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "    child.stdout.readline(); print(flush=True); sys.stdin.readline(); child.communicate(b'x')\n"
        "thread = threading.Thread(target=more); thread.start(); thread.join()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        assert resident_bytes(parent.pid) > 60_000_000
        parent.communicate(b"\n")
    assert resident_bytes(parent.pid) == 0


# --- ends


async def test_a_crew_that_is_retired_serves_what_it_has_begun(make: Make) -> None:
    children = make()
    server = await children.take()
    server.threads["t"] = Deaf()
    before = pids(children)
    children.retire()
    with pytest.raises(UpstreamOverloaded):
        await children.take()
    children._look_after(server)
    await server.request("account/read", {})
    server.threads.clear()
    children.give_back(server)
    children._look_after(server)
    await gone(children, before)
    assert children.servers == []


async def test_a_crew_that_is_retired_leaves_no_task(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 0.01)
    children = make()
    children.give_back(await children.take())
    children.retire()
    await until(lambda: len(asyncio.all_tasks()) == 1)
    assert children.servers == []


async def test_a_child_that_comes_up_after_its_crew_was_retired_goes_again(make: Make) -> None:
    children = make()
    taking = asyncio.create_task(children.take())
    await asyncio.sleep(0)
    children.retire()
    server = await taking
    children.give_back(server)
    before = pids(children)
    children._look_after(server)
    await gone(children, before)


@pytest.mark.parametrize("nature", ["", "stubborn", "deaf", "loud"])
async def test_a_crew_that_is_closed_leaves_nothing(make: Make, nature: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GRACE_S", 2.0 if not nature else 0.05)
    children = make(nature, processes=2, turns=1)
    servers: list[AppServer] = list(await asyncio.gather(children.take(), children.take()))
    before = pids(children)
    assert len(before) == 2
    await children.aclose()
    assert all(is_gone(pid, 0.0) for pid in before)
    assert all(server.lost is not None for server in servers)
    with pytest.raises(UpstreamOverloaded):
        await children.take()
    await children.aclose()


async def test_a_crew_can_be_closed_while_a_child_starts(make: Make) -> None:
    children = make("mute")
    taking = asyncio.create_task(children.take())
    await until(lambda: children._starting is not None)
    await children.aclose()
    with pytest.raises(asyncio.CancelledError):
        await taking


async def test_a_crew_that_is_closed_while_a_child_breaks_waits_for_its_end(make: Make) -> None:
    children = make()
    server = await children.take()
    pid = server.process.pid
    server.fail(UpstreamUnavailable("broken"))
    await children.aclose()
    assert is_gone(pid, 0.0)


@pytest.mark.parametrize("times", [1, 2, 9])
async def test_who_stops_waiting_for_the_end_of_a_crew_leaves_nothing(make: Make, times: int) -> None:
    children = make()
    server = await children.take()
    closing = asyncio.create_task(children.aclose())
    for _ in range(times):
        await asyncio.sleep(0)
        closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert is_gone(server.process.pid, 0.0)
    assert list(children.command.directory.iterdir()) == []


async def test_a_crew_that_is_being_closed_starts_nothing(make: Make) -> None:
    children = make(processes=2, turns=1)
    server = await children.take()
    children.give_back(server)
    closing = asyncio.create_task(children.aclose())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    # Both half full, and behind the times.
    assert await children.take() is server
    (children.command.home / "auth.json").write_text("{}")
    with pytest.raises(UpstreamOverloaded):
        await children.take()
    await closing
    assert (children._starting, children.servers) == (None, [])


async def test_what_a_killed_gateway_left_behind_is_removed(make: Make) -> None:
    children = make()
    directory = children.command.directory
    (directory / "999999999-x").mkdir(parents=True)
    (directory / "999999999-x" / "file").write_text("x")
    (directory / f"{os.getpid()}-x").mkdir()
    (directory / "notes").mkdir()
    server = await children.take()
    assert {path.name for path in directory.iterdir()} == {f"{os.getpid()}-x", server.directory.name, "notes"}


async def test_its_memory_is_told_with_its_end(make: Make, caplog: pytest.LogCaptureFixture, clock: Clock) -> None:
    caplog.set_level(logging.INFO, "fkproxy.codex")
    children = make(idle_s=60.0)
    server = await children.take()
    children.give_back(server)
    clock.ahead_s += 61.0
    children._look_after(server)
    started, ended = caplog.records
    assert (started.message, started.__dict__["version"]) == ("child started", "0.169.0")
    assert (ended.message, ended.__dict__["reason"], ended.__dict__["calls"]) == ("child is ended", "idle", 1)
    assert ended.__dict__["resident_bytes"] > 1_000_000
    assert started.__dict__["pid"] == ended.__dict__["pid"] == server.process.pid


async def test_one_that_owes_an_answer_is_passed_over(make: Make, clock: Clock) -> None:
    children = make(processes=2)
    first = await children.take()
    first._asked_at[0] = clock() - 2.1
    assert first.silent_s() > 2.0
    second = await children.take()
    assert second is not first
    assert await children.take() is second
    del first._asked_at[0]
    assert first.silent_s() == 0.0
    assert await children.take() is first
