"""Children that cannot be started: it is told why, and tried again after a pause."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from fkproxy.adapters.codex import Command, Crew, Limits
from fkproxy.model.errors import UpstreamOverloaded, UpstreamSpawnFailed
from fkproxy.upstream import Lease
from tests.adapters.codex.playing import WAIT_S, Clock, crew
from tests.fakes.pipeline import Bench
from tests.test_attempts import ONE


def failing(tmp_path: Path, clock: Clock) -> Crew:
    """A crew whose program ends at once."""
    return Crew(Command("/bin/false", (), {"PATH": "/bin"}, tmp_path / "home", tmp_path / "home"), Limits(), "1", now=clock)


async def test_a_program_that_is_not_there_is_told(tmp_path: Path, tidy: None, clock: Clock) -> None:
    home = tmp_path / "home"
    children = Crew(Command("/no/such/codex", (), {"PATH": "/bin"}, home, home), Limits(), "1", now=clock)
    with pytest.raises(UpstreamSpawnFailed, match="could not be started"):
        await children.take()
    await children.aclose()


async def test_a_home_that_cannot_be_made_is_told(tmp_path: Path, tidy: None, clock: Clock) -> None:
    (tmp_path / "file").write_text("")
    home = tmp_path / "file" / "home"
    children = Crew(Command("/bin/false", (), {"PATH": "/bin"}, home, home), Limits(), "1", now=clock)
    with pytest.raises(UpstreamSpawnFailed) as caught:
        await children.take()
    assert caught.value.why == f"{home}: Not a directory"
    await children.aclose()


async def test_the_pause_between_two_tries_doubles_and_ends(tmp_path: Path, tidy: None, clock: Clock) -> None:
    children = failing(tmp_path, clock)
    pauses: list[float] = []
    for _ in range(8):
        with pytest.raises(UpstreamSpawnFailed):
            await children.take()
        pauses.append(children._pause_s)
        if pauses[-1]:
            with pytest.raises(UpstreamOverloaded) as caught:
                await children.take()
            assert caught.value.retry_after_s is not None
            assert 0 < caught.value.retry_after_s <= pauses[-1]
        clock.ahead_s += pauses[-1]
    assert pauses == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0]
    await children.aclose()


async def test_who_comes_within_the_pause_keeps_nobody_out_for_longer(tmp_path: Path, tidy: None, clock: Clock) -> None:
    children = failing(tmp_path, clock)
    for _ in range(2):
        with pytest.raises(UpstreamSpawnFailed):
            await children.take()
    bench = Bench(ONE)
    now, upstream = bench.clock.now_s, bench.gateway.fleet.upstreams[0]
    for _ in range(20):
        with pytest.raises(UpstreamOverloaded) as caught:
            await children.take()
        lease = upstream.lease("m", now, force=True)
        assert isinstance(lease, Lease)
        lease.failed(caught.value, now)
        lease.close(now)
    assert upstream.breaker.state(now) == "closed"
    await children.aclose()


async def test_who_breaks_all_the_time_is_tried_now_and_then_and_never_given_up(tmp_path: Path, tidy: None, clock: Clock) -> None:
    children = failing(tmp_path, clock)
    for _ in range(10):
        with pytest.raises(UpstreamSpawnFailed):
            await children.take()
        children._not_before = 0.0
    with pytest.raises(UpstreamOverloaded, match="too often") as caught:
        await children.take()
    assert caught.value.retry_after_s is not None
    assert 20.0 < caught.value.retry_after_s <= 30.0
    with pytest.raises(UpstreamOverloaded):
        await children.take()
    clock.ahead_s += 30.0
    with pytest.raises(UpstreamSpawnFailed):
        await children.take()
    await children.aclose()


async def test_what_it_tells_first_and_its_handshake_have_one_deadline(
    tmp_path: Path, tidy: None, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_s = 1000.0
    children = crew(tmp_path / "home", "mute", clock=clock, start_s=start_s)
    loop, start = asyncio.get_running_loop(), Command.start
    time, ahead_s = loop.time, 0.0

    async def slow(*args: Any) -> Any:
        nonlocal ahead_s
        started = await start(*args)
        ahead_s = start_s
        return started

    monkeypatch.setattr(loop, "time", lambda: time() + ahead_s)
    monkeypatch.setattr(Command, "start", slow)
    async with asyncio.timeout(start_s + WAIT_S):
        with pytest.raises(UpstreamSpawnFailed) as caught:
            await children.take()
    assert caught.value.why.startswith("no handshake within 1000 s")
    await children.aclose()
