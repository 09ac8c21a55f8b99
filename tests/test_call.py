"""A call's body: one that does not come, one that breaks off, and how long it is kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable

import pytest

from fkproxy.adapters.base import Timeouts
from fkproxy.call import ClientGone, Headers
from tests.fakes.pipeline import Bench, ListClient
from tests.test_gateway import CHAT, DONE, GEMINI, ROLE, USAGE, chat, completion, delta, gemini, sse


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_told_so_in_case_it_listens() -> None:
    bench = Bench(CHAT)

    class Leaver(ListClient):
        async def read_body(self, limit_bytes: int) -> bytes:
            self.gone = True
            raise ClientGone

    client = Leaver(b"")
    await bench.gateway.serve(bench.call(), client)
    assert client.status == 400
    assert (bench.record.status, bench.record.client_ended, bench.record.attempts) == (499, True, 0)


@pytest.mark.parametrize("upstream", [CHAT, GEMINI])
async def test_a_stream_does_not_keep_what_was_asked(upstream: tuple[str, str]) -> None:
    bench = Bench(upstream)
    if upstream is CHAT:
        bench.adapters[0].streams(sse(ROLE, delta("a")), sse(delta("b", finish="stop"), USAGE, DONE))
    else:
        bench.adapters[0].streams(sse(gemini({"text": "a"}, finish=None)), sse(gemini({"text": "b"})))
    kept: list[tuple[bytes, object]] = []

    class Watcher(ListClient):
        def write(self, data: bytes) -> Awaitable[None] | None:
            kept.append((call.body, call.request))
            return super().write(data)

    body, call = chat(stream=True), bench.call()
    client = Watcher(body)
    await bench.gateway.serve(call, client)
    assert client.status == 200
    assert kept[-1] == (b"", None)
    assert bench.record.request_bytes == len(body)


async def test_a_body_that_does_not_come_in_time_is_refused_and_the_client_told() -> None:
    bench = Bench(CHAT, timeouts=Timeouts(first_byte_s=0.02))

    class Dawdler(ListClient):
        async def read_body(self, limit_bytes: int) -> bytes:
            await asyncio.sleep(10)
            return b""

    client = Dawdler(b"")
    await bench.gateway.serve(bench.call(), client)
    assert (client.status, json.loads(client.body)["error"]["code"]) == (408, "request_timeout")
    assert (bench.record.status, bench.record.error_code, bench.record.attempts) == (408, "request_timeout", 0)


async def test_a_call_that_hangs_behind_its_deadline_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fkproxy.gateway._EXPIRE_AFTER_S", 0.05)
    bench = Bench(CHAT, timeouts=Timeouts(first_byte_s=0.1, total_s=0.1))

    class Sleeper(ListClient):
        async def finish(self, data: bytes = b"") -> None:
            await asyncio.sleep(10)

    calls = [bench.call() for _ in range(3)]
    for _ in calls:
        bench.adapters[0].replies(completion())
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*(bench.gateway.serve(call, Sleeper(chat())) for call in calls))
    assert 0.15 <= asyncio.get_running_loop().time() - began < 5.0
    assert [record.error_code for record in bench.records] == ["timeout"] * 3
    assert bench.gateway.in_flight == 0
    bench.adapters[0].replies(completion())
    client = ListClient(chat())
    await bench.gateway.serve(bench.call(), client)
    assert client.status == 200, "one that comes later is not"


async def test_the_time_for_the_body_is_no_limit_for_what_comes_after_it() -> None:
    bench = Bench(CHAT, timeouts=Timeouts(first_byte_s=0.02))

    class Reader(ListClient):
        async def start(self, status: int, headers: Headers) -> None:
            await asyncio.sleep(0.1)
            await super().start(status, headers)

    bench.adapters[0].replies(completion())
    client = Reader(chat())
    await bench.gateway.serve(bench.call(), client)
    assert (client.status, bench.record.status) == (200, 200)
