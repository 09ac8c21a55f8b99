"""A token file that other processes, the vendor's tools and people use too."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from fkproxy.adapters.token_file import disk
from fkproxy.model.errors import UpstreamRefusedCredential
from tests.adapters.token_file.files import LOOK_S, NOW_S, REFUSED, Make, another_with_the_lock, granted, held, put, raw, remove, write
from tests.fakes.upstream import FakeUpstream


async def test_a_file_changed_by_others_counts_soon_but_is_not_looked_at_with_every_call(make: Make, path: Path) -> None:
    write(path)
    tokens = make()
    assert await tokens.token(NOW_S) == "access-0"
    write(path, number=7)
    assert await tokens.token(NOW_S + LOOK_S - 0.1) == "access-0"
    assert await tokens.token(NOW_S + LOOK_S) == "access-7"
    write(path, number=8)
    assert await tokens.token(NOW_S - 9999) == "access-8"


async def test_a_new_sign_in_ends_the_pause_at_once(make: Make, path: Path) -> None:
    write(path, ends_s=NOW_S)
    async with FakeUpstream(REFUSED) as upstream:
        tokens = make(upstream)
        with pytest.raises(UpstreamRefusedCredential):
            await tokens.token(NOW_S)
        write(path, number=7)
        assert await tokens.token(NOW_S + LOOK_S) == "access-7"
        assert tokens.describe(NOW_S + LOOK_S).state == "active"
        assert len(upstream.asked) == 1


async def test_a_refused_token_that_another_process_has_replaced_is_not_renewed_again(make: Make, path: Path) -> None:
    write(path)
    async with FakeUpstream(granted(1)) as upstream:
        tokens = make(upstream)
        await tokens.token(NOW_S)
        write(path, number=7)
        assert await tokens.renew("access-0", NOW_S + 0.1)
        assert await tokens.token(NOW_S + 0.1) == "access-7"
        assert not upstream.asked


async def test_a_refused_token_that_cannot_be_renewed_here_may_have_been_renewed_by_others(make: Make, path: Path) -> None:
    write(path, refresh_token=None)
    tokens = make()
    assert await tokens.token(NOW_S) == "access-0"
    assert not await tokens.renew("access-0", NOW_S + 0.1)
    write(path, number=7, refresh_token=None)
    assert await tokens.renew("access-0", NOW_S + 0.2)
    assert await tokens.token(NOW_S + 0.2) == "access-7"


async def test_a_look_that_a_renewal_overtakes_brings_nothing_back(make: Make, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path)
    read, begun, go = disk.read, threading.Event(), threading.Event()

    def slow_at_first(place: Path) -> tuple[bytes, disk.Stamp]:
        found = read(place)
        if not begun.is_set():
            begun.set()
            assert go.wait(60)
        return found

    async with FakeUpstream(granted(8), REFUSED) as upstream:
        tokens = make(upstream)
        assert await tokens.token(NOW_S) == "access-0"
        write(path, number=7, ends_s=NOW_S)
        monkeypatch.setattr(disk, "read", slow_at_first)
        overtaken = asyncio.create_task(tokens.token(NOW_S + LOOK_S))
        assert await asyncio.to_thread(begun.wait, 60)
        assert await tokens.renew("access-0", NOW_S + LOOK_S)
        assert await tokens.token(NOW_S + LOOK_S) == "access-8"
        go.set()
        assert await overtaken == "access-8"
        assert len(upstream.asked) == 1


async def test_two_gateways_with_one_file_make_one_request(make: Make, path: Path) -> None:
    write(path, ends_s=NOW_S)
    async with FakeUpstream(granted(1), REFUSED) as upstream:
        one, other = make(upstream), make(upstream)
        assert await asyncio.gather(one.token(NOW_S), other.token(NOW_S)) == ["access-1", "access-1"]
        assert len(upstream.asked) == 1


async def test_the_lock_of_another_process_is_respected_and_its_result_used(make: Make, path: Path) -> None:
    write(path, ends_s=NOW_S)
    end = await another_with_the_lock(path)
    async with FakeUpstream(REFUSED) as upstream:
        tokens = make(upstream)
        waiting = asyncio.create_task(tokens.token(NOW_S))
        await asyncio.sleep(0)
        write(path, number=7)
        await end()
        assert await waiting == "access-7"
        assert not upstream.asked


async def test_a_sign_in_during_the_request_wins(make: Make, path: Path) -> None:
    write(path, ends_s=NOW_S)

    async def sign_in() -> None:
        write(path, number=7)

    async with FakeUpstream([sign_in, *granted(1)]) as upstream:
        tokens = make(upstream)
        assert await tokens.token(NOW_S) == "access-7"
    assert held(path)["refresh_token"] == "refresh-7"


async def test_a_sign_in_during_the_request_that_left_no_token_is_renewed_in_turn(make: Make, path: Path) -> None:
    write(path, ends_s=NOW_S)

    async def sign_in() -> None:
        write(path, number=7, ends_s=NOW_S)

    async with FakeUpstream([sign_in, *granted(1)], granted(8)) as upstream:
        tokens = make(upstream)
        assert await tokens.token(NOW_S) == "access-8"
        assert [parse_qs(asked.body.decode())["refresh_token"] for asked in upstream.asked] == [["refresh-0"], ["refresh-7"]]
    assert held(path)["refresh_token"] == "refresh-8"


async def test_other_fields_edited_during_the_request_are_kept(make: Make, path: Path) -> None:
    write(path, ends_s=NOW_S)

    async def edit() -> None:
        write(path, ends_s=NOW_S, note="mine")

    async with FakeUpstream([edit, *granted(1)]) as upstream:
        assert await make(upstream).token(NOW_S) == "access-1"
    assert (held(path)["note"], held(path)["access_token"]) == ("mine", "access-1")


async def test_a_file_that_breaks_or_goes_leaves_its_tokens_in_use(make: Make, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(path)
    tokens = make()
    assert await tokens.token(NOW_S) == "access-0"
    put(path, '{"access_token": "hal')
    for after_s in (10, 20):
        assert await tokens.token(NOW_S + after_s) == "access-0"
    remove(path)
    for after_s in (30, 40):
        assert await tokens.token(NOW_S + after_s) == "access-0"
    assert [record.message for record in caplog.records] == [
        "the token file has changed and cannot be used; the tokens that it held still are"
    ] * 2
    write(path, number=7)
    assert await tokens.token(NOW_S + 50) == "access-7"


async def test_a_file_that_cannot_be_written_is_served_from_memory_and_told_once(
    make: Make, path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(path, ends_s=NOW_S)
    before = raw(path)

    def read_only(*_: object) -> disk.Stamp:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr(disk, "write", read_only)
        async with FakeUpstream(granted(1), granted(2), granted(3)) as upstream:
            tokens = make(upstream)
            assert await tokens.token(NOW_S) == "access-1"
            assert await tokens.token(NOW_S + 3600) == "access-2"
            assert [record.message for record in caplog.records] == [
                "the token file cannot be written; its new tokens are lost when the gateway stops"
            ]
            assert raw(path) == before
            os.utime(path, (1, 1))
            assert await tokens.token(NOW_S + 3700) == "access-2"
            patched.undo()
            assert await tokens.token(NOW_S + 7200) == "access-3"
            assert parse_qs(upstream.asked[2].body.decode())["refresh_token"] == ["refresh-2"]
    assert held(path)["refresh_token"] == "refresh-3"
