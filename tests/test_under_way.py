"""Calls under way end with their keys, and no other calls do, unless the process itself ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from fkproxy import gateway as pipeline
from fkproxy import under_way
from fkproxy.dialects import DIALECTS
from fkproxy.directory import Directory, KeyLimits, Pool
from fkproxy.model.events import Failed
from fkproxy.wire.sse import SseDecoder
from tests.fakes.keys import SPOKEN, asking, begun, call, code_of, directory, key, nothing_is_left, raw
from tests.fakes.pipeline import KEY, NOON_S, Bench, Hang, ListClient
from tests.test_gateway import ROLE, chat, completion, delta, sse

pytestmark = pytest.mark.leaps

CHAT = ("compatible", "openai_chat")
DONE = b"[DONE]"

ENDINGS: list[tuple[Directory, int, str]] = [
    (directory(key(state="revoked")), 401, "key_revoked"),
    (directory(), 401, "key_revoked"),
    (directory(key(secrets=())), 401, "key_revoked"),
    (directory(key(expires_s=1.0)), 401, "key_expired"),
    (directory(key(state="paused")), 403, "key_paused"),
    (directory(key(), pools=(Pool(name="team", state="paused"),)), 403, "pool_inactive"),
    (directory(key(), pools=()), 403, "pool_inactive"),
]


def frames(data: bytes) -> Any:
    framer = SseDecoder()
    return [*framer.feed(data), *framer.tail()]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize(("changed", "status", "code"), ENDINGS)
async def test_a_stream_ends_with_its_key(changed: Directory, status: int, code: str, own: bool, dialect: str) -> None:
    upstream = dialect if own else ("gemini" if dialect == "openai_chat" else "openai_chat")
    bench = Bench(("own", upstream), directory=directory(key()))
    hang = Hang()
    bench.adapters[0].streams(begun(upstream), hang)
    client = ListClient(asking(dialect))
    task = asyncio.create_task(bench.gateway.serve(call(bench, dialect), client))
    await hang.reached.wait()
    sent = len(client.body)
    assert sent
    bench.gateway.clientele.replace(changed)
    await task
    assert (client.status, client.finished) == (200, True)
    assert code in client.body[sent:].decode().lower()
    decoder = DIALECTS[dialect].stream_decoder()
    events = [event for frame in frames(client.body) for event in decoder.feed(frame)]
    assert isinstance(events[-1], Failed), "their own clients read it as an error"
    assert bench.adapters[0].exchanges[0].closed
    record = bench.record
    assert (record.status, record.error_code, record.client_ended, len(bench.records)) == (200, code, False, 1)
    assert [attempt.outcome for attempt in record.tries] == [code]
    assert bench.gateway.fleet.upstreams[0].standing.consecutive_failures == 0
    assert not bench.gateway.clientele.under_way.counts()


@pytest.mark.parametrize("dialect", SPOKEN)
@pytest.mark.parametrize(("changed", "status", "code"), ENDINGS)
async def test_a_call_that_has_not_begun_to_answer_is_refused(changed: Directory, status: int, code: str, dialect: str) -> None:
    bench = Bench(CHAT, directory=directory(key()))
    hang = Hang()
    bench.adapters[0].streams(head=(hang,))
    client = ListClient(asking(dialect))
    task = asyncio.create_task(bench.gateway.serve(call(bench, dialect), client))
    await hang.reached.wait()
    bench.gateway.clientele.replace(changed)
    await task
    assert (client.status, code_of(client), client.finished) == (status, code, True)
    assert bench.adapters[0].exchanges[0].closed
    assert (bench.record.status, bench.record.error_code) == (status, code)
    assert [attempt.outcome for attempt in bench.record.tries] == [code]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("own", [True, False])
async def test_a_stream_ends_with_the_process(own: bool, dialect: str) -> None:
    upstream = dialect if own else ("gemini" if dialect == "openai_chat" else "openai_chat")
    bench = Bench(("own", upstream))
    hang = Hang()
    bench.adapters[0].streams(begun(upstream), hang)
    client = ListClient(asking(dialect))
    task = asyncio.create_task(bench.gateway.serve(call(bench, dialect, KEY), client))
    await hang.reached.wait()
    assert bench.gateway.end_calls() == 1
    await task
    assert (client.status, client.finished) == (200, True)
    decoder = DIALECTS[dialect].stream_decoder()
    events = [event for frame in frames(client.body) for event in decoder.feed(frame)]
    assert isinstance(events[-1], Failed), "their own clients read it as an error"
    assert bench.adapters[0].exchanges[0].closed
    record = bench.record
    assert (record.status, record.error_code, record.client_ended, len(bench.records)) == (200, "service_unavailable", False, 1)
    assert bench.gateway.fleet.upstreams[0].standing.consecutive_failures == 0
    assert bench.gateway.end_calls() == 0


@pytest.mark.parametrize("dialect", SPOKEN)
async def test_who_has_no_answer_when_the_process_ends_may_ask_again(dialect: str) -> None:
    bench = Bench(CHAT)
    hang = Hang()
    bench.adapters[0].streams(head=(hang,))
    client = ListClient(asking(dialect))
    task = asyncio.create_task(bench.gateway.serve(call(bench, dialect, KEY), client))
    await hang.reached.wait()
    bench.gateway.end_calls()
    await task
    assert (client.status, client.headers["retry-after"], client.finished) == (503, "1", True)
    assert (bench.record.status, bench.record.error_code) == (503, "service_unavailable")


async def test_a_reply_that_is_complete_and_not_read_does_not_hold_up_the_end() -> None:
    class NotReading(ListClient):
        def __init__(self, body: bytes) -> None:
            super().__init__(body)
            self.blocked = asyncio.Event()

        async def finish(self, data: bytes = b"") -> None:
            self.blocked.set()
            await asyncio.Event().wait()

    bench = Bench(CHAT)
    bench.adapters[0].replies(completion())
    client = NotReading(chat())
    task = asyncio.create_task(bench.gateway.serve(call(bench, presented=KEY), client))
    await client.blocked.wait()
    assert bench.gateway.end_calls() == 1
    await asyncio.wait((task,))
    assert task.cancelled()
    assert (bench.record.status, bench.record.error_code, len(bench.records)) == (200, None, 1)


async def test_a_call_that_waits_for_its_turn_ends_too() -> None:
    limits = KeyLimits(max_concurrency=1)
    bench = Bench(CHAT, directory=directory(key(limits=limits)))
    hang = Hang()
    bench.adapters[0].replies(hang, completion())
    clients = [ListClient(chat()) for _ in range(3)]
    tasks = [asyncio.create_task(bench.gateway.serve(call(bench), client)) for client in clients]
    await hang.reached.wait()
    bench.gateway.clientele.replace(directory(key(state="paused", limits=limits)))
    await asyncio.gather(*tasks)
    assert [client.status for client in clients] == [403] * 3
    assert nothing_is_left(bench)


async def test_of_a_hundred_streams_those_of_the_revoked_key_end_and_no_other() -> None:
    names = ("a", "b", "c", "d")
    bench = Bench(CHAT, directory=directory(*(key(name) for name in names)))
    rest = sse(delta("b"), delta(finish="stop"), DONE)
    hangs = [Hang() for _ in range(100)]
    for hang in hangs:
        bench.adapters[0].streams(sse(ROLE, delta("a")), hang, rest)
    clients = [ListClient(chat(stream=True)) for _ in hangs]
    tasks = [
        asyncio.create_task(bench.gateway.serve(call(bench, presented=raw(names[number % 4])), client))
        for number, client in enumerate(clients)
    ]
    for hang in hangs:
        await hang.reached.wait()
    clientele = bench.gateway.clientele
    assert clientele.under_way.counts() == {f"key-{name}": 25 for name in names}
    clientele.replace(directory(key("a", state="revoked"), *(key(name, limits=KeyLimits(requests_per_minute=9)) for name in names[1:])))
    clientele.replace(directory(key("a", state="revoked"), *(key(name) for name in names[1:])))
    await asyncio.gather(*tasks[::4])
    assert [task.done() for task in tasks] == [number % 4 == 0 for number in range(100)]
    assert all(client.finished and b"key_revoked" in client.body for client in clients[::4])
    assert [record.key_id for record in bench.records] == ["key-a"] * 25
    clientele.replace(directory())
    await asyncio.gather(*tasks)
    assert all(client.body.count(b"key_revoked") == 1 for client in clients)
    assert nothing_is_left(bench)


async def test_an_expiry_that_comes_while_a_stream_runs_ends_it() -> None:
    soon_s = NOON_S + 3600
    bench = Bench(CHAT, directory=directory(key(expires_s=soon_s), key("b")))
    hangs = [Hang(), Hang()]
    for hang in hangs:
        bench.adapters[0].streams(sse(ROLE, delta("a")), hang)
    clients = [ListClient(chat(stream=True)) for _ in hangs]
    tasks = [
        asyncio.create_task(bench.gateway.serve(call(bench, presented=raw(name)), client))
        for name, client in zip("ab", clients, strict=True)
    ]
    for hang in hangs:
        await hang.reached.wait()
    clientele = bench.gateway.clientele
    for bench.now_s in (soon_s - 1, soon_s - 1800, soon_s - 0.1):
        clientele.under_way.look()
        await asyncio.sleep(0)
        assert not clients[0].finished
    bench.now_s = soon_s
    clientele.under_way.look()
    await tasks[0]
    assert b"key_expired" in clients[0].body
    assert not tasks[1].done()
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Deaf(ListClient):
    """It reads nothing after the first content."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self.stuck = asyncio.Event()

    def write(self, data: bytes) -> Awaitable[None] | None:
        super().write(data)
        return self._hang() if len(self.pieces) > 1 else None

    async def _hang(self) -> None:
        self.stuck.set()
        await asyncio.Event().wait()

    async def finish(self, data: bytes = b"") -> None:
        self.stuck.set()
        await asyncio.Event().wait()


async def test_a_client_that_does_not_read_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_LAST_WORD_S", 0.01)
    bench = Bench(CHAT, directory=directory(key()))
    bench.adapters[0].streams(sse(ROLE, delta("a")), sse(delta("b")), sse(delta("c")))
    client = Deaf(chat(stream=True))
    task = asyncio.create_task(bench.gateway.serve(call(bench), client))
    await client.stuck.wait()
    bench.gateway.clientele.replace(directory())
    async with asyncio.timeout(1):
        await task
    assert bench.adapters[0].exchanges[0].closed
    assert bench.record.error_code == "key_revoked"
    assert nothing_is_left(bench)


async def test_a_client_that_hangs_up_while_it_is_told_leaves_one_record(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(CHAT, directory=directory(key()))
    bench.adapters[0].streams(sse(ROLE, delta("a")), sse(delta("b")), sse(delta("c")))
    client = Deaf(chat(stream=True))
    task = asyncio.create_task(bench.gateway.serve(call(bench), client))
    await client.stuck.wait()
    bench.gateway.clientele.replace(directory())
    for _ in range(3):
        await asyncio.sleep(0)
    client.gone = True
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [(record.error_code, record.client_ended) for record in bench.records] == [("key_revoked", True)]
    assert nothing_is_left(bench)


@pytest.mark.parametrize(("body", "code"), [(chat(), None), (b"{", "invalid_request")])
async def test_a_reply_whose_last_words_are_on_their_way_is_not_disturbed(body: bytes, code: str | None) -> None:
    bench = Bench(CHAT, directory=directory(key()))
    bench.adapters[0].replies(completion())
    client = Deaf(body)
    task = asyncio.create_task(bench.gateway.serve(call(bench), client))
    await client.stuck.wait()
    bench.gateway.clientele.replace(directory())
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert bench.record.error_code == code


async def test_calls_without_a_key_of_a_pool_are_not_remembered() -> None:
    bench = Bench(CHAT, require_key=True)
    hang = Hang()
    bench.adapters[0].replies(hang, completion())
    task = asyncio.create_task(bench.gateway.serve(call(bench, presented=KEY.encode()), ListClient(chat())))
    await hang.reached.wait()
    assert not bench.gateway.clientele.under_way.counts()
    bench.gateway.clientele.replace(directory(key()))
    await asyncio.sleep(0)
    assert not task.done(), "the master key's call began when it was a client's"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_whether_a_key_has_expired_is_looked_at_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_way, "_LOOK_EVERY_S", 0.0)
    bench = Bench(CHAT, directory=directory(key(expires_s=NOON_S + 1)))
    hang = Hang()
    bench.adapters[0].replies(hang, completion())
    client = ListClient(chat())
    watching = asyncio.create_task(bench.gateway.clientele.under_way.watch())
    task = asyncio.create_task(bench.gateway.serve(call(bench), client))
    await hang.reached.wait()
    bench.now_s += 1
    async with asyncio.timeout(5):
        await task
    assert (client.status, code_of(client)) == (401, "key_expired")
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
