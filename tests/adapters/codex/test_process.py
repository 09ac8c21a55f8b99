"""A child process: started, spoken with, ended, and never left over."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fkproxy.adapters.codex import process
from fkproxy.adapters.codex.process import Process, find_binary
from fkproxy.model.errors import UpstreamSpawnFailed
from tests.adapters.codex.playing import CHILD, PATH, WAIT_S, is_gone, pipes, until

HELLO = b'{"id":1,"method":"initialize","params":{"clientInfo":{"name":"t"}}}'


async def start(tmp_path: Path, nature: str = "", binary: str = str(CHILD), *args: str) -> Process:
    return await Process.start(binary, args or ("app-server",), {"PATH": PATH, "FAKE_CODEX": nature}, tmp_path)


async def said(child: Process) -> bytes:
    await child.write(HELLO)
    return await child.read_line()


async def test_it_is_spoken_with_line_by_line_and_ends_with_its_input(tmp_path: Path, tidy: None) -> None:
    child = await start(tmp_path)
    assert b'"id": 1' in await said(child)
    assert (child.running, child.ended()) == (True, "running")
    await child.stop(WAIT_S)
    assert (child.running, child.ended()) == (False, "exit code 0")
    assert await child.read_line() == b""
    with pytest.raises((OSError, TimeoutError)):
        await child.write(HELLO)
    await child.stop(0.0)


async def test_sigterm_is_not_for_it(tmp_path: Path, tidy: None) -> None:
    """A service that is stopped sends it to every process, and calls under way still need theirs."""
    child = await start(tmp_path)
    assert b"userAgent" in await said(child)  # it is itself by now, and not still on its way to that
    os.kill(child.pid, signal.SIGTERM)
    os.killpg(child.pid, signal.SIGTERM)
    assert b"userAgent" in await said(child)
    await child.stop(WAIT_S)
    assert child.ended() == "exit code 0"


async def test_one_that_does_not_end_is_ended_with_all_that_it_started(tmp_path: Path, tidy: None) -> None:
    child = await start(tmp_path, "", "/bin/sh", "-c", "trap '' HUP; sleep 600 & echo $!; while :; do sleep 1; done")
    grandchild = int(await child.read_line())
    await child.stop(0.0)
    assert child.ended() == "signal SIGKILL"
    assert is_gone(grandchild)


async def test_what_a_child_leaves_behind_when_it_ends_by_itself_is_ended(tmp_path: Path, tidy: None) -> None:
    child = await start(tmp_path, "", "/bin/sh", "-c", "sleep 600 </dev/null >/dev/null 2>&1 & echo $!; read x")
    grandchild = int(await child.read_line())
    await child.stop(WAIT_S)
    assert child.ended() == "exit code 1"
    assert is_gone(grandchild)


async def test_a_stranger_that_left_its_group_holds_no_pipe_of_ours_open(tmp_path: Path, tidy: None) -> None:
    child = await start(tmp_path, "", "/bin/sh", "-c", "setsid sh -c 'echo $$; exec sleep 600' & read x")
    stranger = int(await child.read_line())
    held = pipes()
    await child.stop(0.1)
    await until(lambda: pipes() <= held - 4)
    assert not is_gone(stranger, 0.0)
    os.kill(stranger, signal.SIGKILL)


PARENT = """
import asyncio, sys
from pathlib import Path
from typing import Any
from fkproxy.adapters.codex.process import Process

async def main():
    script = "sleep 600 & echo $!; while :; do sleep 1; done"
    child = await Process.start("/bin/sh", ("-c", script), {"PATH": sys.argv[2]}, Path(sys.argv[1]))
    print(child.pid, (await child.read_line()).decode().strip(), child._guard.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_it_dies_with_its_parent_however_that_dies(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path), PATH], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 3
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert [is_gone(pid) for pid in pids] == [True, True, True]


@pytest.mark.parametrize("times", [1, 3])
async def test_who_stops_waiting_for_its_end_leaves_nothing_of_it(tmp_path: Path, tidy: None, times: int) -> None:
    child = await start(tmp_path, "", "/bin/sh", "-c", "sleep 600 & echo $!; read x")
    grandchild = int(await child.read_line())
    stopping = asyncio.create_task(child.stop(0.05))
    for _ in range(times):
        await asyncio.sleep(0)
        stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert (child.running, child._guard.returncode) == (False, -signal.SIGKILL)
    assert is_gone(grandchild)


async def test_its_last_words_are_kept_and_have_a_bound(tmp_path: Path, tidy: None) -> None:
    child = await start(tmp_path, "dying")
    await child.stop(WAIT_S)
    assert (child.ended(), child.complaint) == ("exit code 3", b"error: the configuration\nis not to my taste\n")
    child = await start(tmp_path, "loud")
    assert b"userAgent" in await said(child)
    await until(lambda: child.stderr_bytes >= 1024 * 1024)
    assert len(child.complaint) == 2000
    await child.stop(WAIT_S)


async def test_what_it_says_on_stderr_when_it_is_ready_is_dropped(tmp_path: Path, tidy: None) -> None:
    child = await start(tmp_path, "", "/bin/sh", "-c", "read x; echo secret >&2; read x")
    child.settled = True
    await child.write(b"")
    await until(lambda: child.stderr_bytes == 7)
    assert child.complaint == b""
    await child.stop(WAIT_S)


async def test_a_child_that_does_not_read_is_noticed(tmp_path: Path, tidy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_WRITE_S", 0.05)
    child = await start(tmp_path, "", "/bin/sleep", "600")
    with pytest.raises(TimeoutError):
        await child.write(b"x" * 4_000_000)
    with pytest.raises(TimeoutError):
        await child.write(b"x")
    await child.stop(0.0)


async def test_a_line_has_a_bound(tmp_path: Path, tidy: None) -> None:
    child = await start(tmp_path, "", "/bin/sh", "-c", "head -c 70000000 /dev/zero; read x")
    with pytest.raises(ValueError, match="67108864 bytes"):
        await child.read_line()
    await child.stop(0.0)


async def test_the_last_line_needs_its_end(tmp_path: Path, tidy: None) -> None:
    child = await start(tmp_path, "", "/bin/sh", "-c", "printf 'whole\\nhalf'")
    assert [await child.read_line(), await child.read_line()] == [b"whole\n", b""]
    await child.stop(WAIT_S)


async def test_lines_of_several_writers_do_not_mix(tmp_path: Path, tidy: None) -> None:
    child = await start(tmp_path, "", "/bin/cat", "-")
    lines = [bytes([65 + number]) * 100_000 for number in range(8)]
    async with asyncio.TaskGroup() as group:
        for line in lines:
            group.create_task(child.write(line))
        echoed = [await child.read_line() for _ in lines]
    assert sorted(echoed) == [line + b"\n" for line in lines]
    await child.stop(WAIT_S)


async def test_its_directory_and_environment_are_those_that_were_said(tmp_path: Path, tidy: None) -> None:
    child = await start(tmp_path, "", "/bin/sh", "-c", "pwd; env | cut -d= -f1 | sort | tr '\\n' ' '; echo")
    assert (await child.read_line()).strip() == str(tmp_path).encode()
    assert set((await child.read_line()).split()) <= {b"PATH", b"FAKE_CODEX", b"PWD", b"SHLVL", b"_", b"OLDPWD"}
    await child.stop(WAIT_S)


@pytest.mark.parametrize(
    ("name", "why"),
    [("{}/nothing", "no such file"), ("nothing-of-that-name", "not found in PATH"), ("{}", "permission denied")],
)
def test_a_program_that_is_not_there_is_told(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(UpstreamSpawnFailed) as caught:
        find_binary(name.format(tmp_path), PATH)
    assert why in caught.value.why
    assert str(tmp_path) not in str(caught.value)


def test_a_program_is_found_in_the_path() -> None:
    assert Path(find_binary("sh", PATH)).is_absolute()
    assert find_binary(str(CHILD), None) == str(CHILD)


async def test_one_who_does_not_wait_for_its_start_leaves_none(tmp_path: Path, tidy: None) -> None:
    for rounds in range(6):
        starting = asyncio.create_task(start(tmp_path))
        for _ in range(rounds):
            await asyncio.sleep(0)
        starting.cancel()
        await asyncio.wait((starting,))
        assert starting.cancelled()


async def test_a_child_without_a_guard_is_none(tmp_path: Path, tidy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    spawn = asyncio.create_subprocess_exec
    pids: list[int] = []

    async def once(*args: Any, **more: Any) -> asyncio.subprocess.Process:
        if pids:
            raise FileNotFoundError
        child = await spawn(*args, **more)
        pids.append(child.pid)
        return child

    monkeypatch.setattr(asyncio, "create_subprocess_exec", once)
    with pytest.raises(UpstreamSpawnFailed) as caught:
        await start(tmp_path)
    assert "guard" in caught.value.why
    assert is_gone(pids[0], 0.0)


async def test_a_program_that_cannot_be_started_is_told(tmp_path: Path, tidy: None) -> None:
    with pytest.raises(UpstreamSpawnFailed) as caught:
        await start(tmp_path / "nowhere")
    assert caught.value.why == "No such file or directory"
    closed = tmp_path / "codex"
    closed.write_text("#!/bin/sh\n")
    child = await start(tmp_path, "", str(closed))
    await child.stop(WAIT_S)
    assert child.ended() == "it cannot be executed"
    child = await start(tmp_path, "", str(tmp_path / "gone"))
    await child.stop(WAIT_S)
    assert child.ended() == "it was not found"
    assert b"gone" in child.complaint
