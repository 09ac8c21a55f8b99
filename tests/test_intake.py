"""So many bytes of bodies at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkproxy.intake import FREE_BYTES, Hold, Intake
from fkproxy.model.errors import ConcurrencyExceeded
from tests.fakes.pipeline import Bench, Hang, ListClient
from tests.test_gateway import CHAT, DONE, ROLE, chat, completion, delta, sse

pytestmark = pytest.mark.leaps

MB = 1024 * 1024


class House:
    """An intake, and those who ask for room in it."""

    def __init__(self, most_mb: int = 10, max_wait_s: float = 5.0) -> None:
        self.intake = Intake(most_mb * MB, max_wait_s)
        self.entered: list[str] = []
        self.holds: dict[str, Hold] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, name: str, size_mb: int) -> None:
        """`name` begins with its key."""

        async def enter() -> None:
            self.holds[name] = await self.intake.enter(name[0], size_mb * MB)
            self.entered.append(name)

        self.tasks[name] = asyncio.create_task(enter())
        await self.settle()

    async def leave(self, name: str) -> None:
        self.holds[name].leave()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    def empty(self) -> bool:
        return (self.intake._held_bytes, dict(self.intake._by_key), self.intake._waiting.heads()) == (0, {}, [])


async def test_one_key_has_half_and_all_keys_the_whole() -> None:
    house = House()
    for name, size_mb in (("a1", 3), ("a2", 2), ("a3", 1), ("b1", 5), ("c1", 1)):
        await house.ask(name, size_mb)
    assert house.entered == ["a1", "a2", "b1"]
    await house.leave("a2")
    assert house.entered == ["a1", "a2", "b1", "a3", "c1"]


async def test_what_is_larger_than_the_room_gets_in_when_it_is_alone() -> None:
    house = House(1)
    await house.ask("a1", 1)
    await house.ask("b1", 64)
    await house.ask("c1", 1)
    assert house.entered == ["a1"], "and nobody passes it meanwhile"
    await house.leave("a1")
    assert house.entered == ["a1", "b1"]
    await house.leave("b1")
    assert house.entered == ["a1", "b1", "c1"]


async def test_keys_take_turns() -> None:
    house = House()
    await house.ask("x1", 5)
    await house.ask("y1", 5)
    for name in ("a1", "a2", "a3", "b1"):
        await house.ask(name, 5)
    for name in ("x1", "y1", "a1", "b1"):
        await house.leave(name)
    assert house.entered == ["x1", "y1", "a1", "b1", "a2"]


async def test_room_is_given_back_once_and_small_bodies_need_none() -> None:
    house = House()
    await house.ask("a1", 5)
    await house.ask("a2", 4)
    hold = house.holds["a1"]
    hold.shrink(MB)
    await house.settle()
    assert house.entered == ["a1", "a2"], "what is not needed after all"
    hold.shrink(4 * MB)
    assert house.intake._by_key == {"a": 5 * MB}, "nothing grows"
    hold.shrink(FREE_BYTES)
    assert house.intake._by_key == {"a": 4 * MB}
    hold.leave()
    await house.leave("a2")
    assert house.empty()


async def test_waiting_has_an_end_and_leaves_nothing() -> None:
    house = House(2, max_wait_s=0.01)
    await house.ask("a1", 1)
    with pytest.raises(ConcurrencyExceeded) as caught:
        await house.intake.enter("a", MB)
    assert caught.value.limit == MB, "the key's part"
    await house.ask("b1", 1)
    with pytest.raises(ConcurrencyExceeded) as caught:
        await house.intake.enter("c", MB)
    assert caught.value.limit == 2 * MB
    for name in ("a1", "b1"):
        await house.leave(name)
    assert house.empty()


async def test_who_leaves_while_it_waits_stands_in_nobodys_way() -> None:
    house = House()
    await house.ask("x1", 5)
    await house.ask("y1", 4)
    await house.ask("a1", 5)
    await house.ask("b1", 1)
    assert house.entered == ["x1", "y1"]
    house.tasks["a1"].cancel()
    await house.settle()
    assert house.entered == ["x1", "y1", "b1"]
    await house.ask("c1", 5)
    house.holds["x1"].leave()
    house.tasks["c1"].cancel()  # together with its turn
    for name in ("y1", "b1"):
        await house.leave(name)
    assert house.empty()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 12), st.sampled_from(["stay", "leave", "cancel"])), max_size=30))
def test_it_never_holds_more_than_it_has_and_ends_empty(steps: list[tuple[str, int, str]]) -> None:
    async def story() -> None:
        house = House()
        for number, (key, size_mb, then) in enumerate(steps):
            await house.ask(f"{key}{number}", size_mb)
            inside = [hold for hold in house.holds.values() if hold._size_bytes]
            assert house.intake._held_bytes == sum(hold._size_bytes for hold in inside)
            assert house.intake._held_bytes <= 10 * MB or len(inside) == 1
            if then == "leave" and house.entered:
                await house.leave(house.entered[number % len(house.entered)])
            elif then == "cancel":
                list(house.tasks.values())[number // 2].cancel()
                await house.settle()
        while inside := [name for name, hold in house.holds.items() if hold._size_bytes]:
            await house.leave(inside[0])
        assert house.empty(), "everybody got in, or left"

    asyncio.run(story())


# --- calls


def large(**fields: object) -> bytes:
    return chat(padding="x" * (2 * FREE_BYTES), **fields)


async def test_a_call_has_room_until_its_reply_begins() -> None:
    intake = Intake(MB, 5.0)
    bench = Bench(CHAT, intake=intake)
    bench.adapters[0].streams(sse(ROLE, delta("a")), sse(delta("b", finish="stop"), DONE))
    held: list[int] = []

    class Watcher(ListClient):
        def write(self, data: bytes) -> Awaitable[None] | None:
            held.append(intake._held_bytes)
            return super().write(data)

        async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
            held.append(intake._held_bytes)
            await super().start(status, headers)

    body = large(stream=True)
    await bench.gateway.serve(bench.call(), Watcher(body))
    assert (held[0], set(held[1:])) == (len(body), {0})


@pytest.mark.parametrize("ends", ["answered", "refused", "cancelled"])
async def test_a_call_gives_its_room_back_however_it_ends(ends: str) -> None:
    intake = Intake(MB, 5.0)
    bench = Bench(CHAT, intake=intake)
    body = large() if ends != "refused" else b"{" * (2 * FREE_BYTES)
    hang = Hang()
    bench.adapters[0].replies(hang if ends == "cancelled" else completion())
    task = asyncio.create_task(bench.gateway.serve(bench.call(), ListClient(body)))
    if ends == "cancelled":
        await hang.reached.wait()
        assert intake._held_bytes == len(body)
        task.cancel()
    await asyncio.wait([task])
    assert (intake._held_bytes, intake._by_key) == (0, {})


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic"])
async def test_a_call_for_which_there_is_no_room_is_refused_and_told_when_to_come_back(dialect: str) -> None:
    intake = Intake(MB, 0.01)
    bench = Bench(CHAT, intake=intake)
    hold = await intake.enter("another", MB)
    client = await bench.send(large(), dialect)
    assert (client.status, client.headers["retry-after"]) == (429, "1")
    assert bench.record.error_code == "concurrency_exceeded"
    assert json.loads(client.body)["error"]
    bench.adapters[0].replies(completion())
    small = await bench.send(chat())
    assert small.status == 200, "small ones are never in the way"
    hold.leave()
