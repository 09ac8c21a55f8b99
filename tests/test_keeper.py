"""The store is opened when it can be, watched while it works, waited for while it does not; calls never notice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from fkproxy.directory import ClientKey, Document
from fkproxy.keeper import Chore, Keeper
from fkproxy.storage.values import Picture, StoreUnavailable


class FakeStore:
    """Answers with `picture`, or fails with `fault`."""

    def __init__(self) -> None:
        self.now = Picture(revision=1, document=Document())
        self.fault: StoreUnavailable | None = None
        self.closed = False
        self.pictures = 0

    async def revision(self) -> int:
        if self.fault is not None:
            raise self.fault
        return self.now.revision

    async def picture(self) -> Picture:
        self.pictures += 1
        return self.now

    async def close(self) -> None:
        self.closed = True


class Scene:
    """A keeper whose sleeps end when the scene says so."""

    def __init__(self, *, revision: int | None = None, refusals: int = 0, chores: Sequence[Chore] = ()) -> None:
        self.store = FakeStore()
        self.taken: list[int] = []
        self.kept: list[int] = []
        self.slept: list[float] = []
        self.unwritable: StoreUnavailable | None = None
        self.time_s = 1000.0
        self._refusals = refusals
        self._ticks = asyncio.Semaphore(0)
        self.keeper = Keeper(
            open_store=self.open,
            take=self.take,
            keep=self.keep,
            chores=lambda store: chores,
            revision=revision,
            now_s=lambda: self.time_s,
            sleep=self.sleep,
        )

    async def open(self) -> FakeStore:
        if self._refusals:
            self._refusals -= 1
            raise StoreUnavailable("unreachable", "the database server cannot be reached")
        return self.store

    async def take(self, picture: Picture) -> None:
        self.taken.append(picture.revision)

    async def keep(self, picture: Picture) -> None:
        if self.unwritable is not None:
            raise self.unwritable
        self.kept.append(picture.revision)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await self._ticks.acquire()

    async def __aenter__(self) -> Scene:
        self._task = asyncio.create_task(self.keeper.run())
        await self.settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def tick(self) -> None:
        self._ticks.release()
        await self.settle()


async def test_what_the_store_says_is_put_in_force_and_its_copy_kept() -> None:
    async with Scene() as scene:
        assert (scene.taken, scene.kept, scene.keeper.status.state) == ([1], [1], "open")
        assert scene.keeper.opened.is_set()


async def test_a_process_that_began_from_the_copy_takes_what_is_there_under_the_same_number() -> None:
    async with Scene(revision=1) as scene:
        await scene.tick()
        assert (scene.taken, scene.kept, scene.store.pictures) == ([1], [1], 1)


async def test_a_change_of_another_process_is_seen_at_the_next_look() -> None:
    async with Scene() as scene:
        scene.store.now = Picture(revision=2, document=Document(), keys=(ClientKey(id="k", pool="p"),))
        await scene.tick()
        assert scene.taken == [1, 2]


async def test_a_change_of_this_process_is_seen_at_once() -> None:
    async with Scene() as scene:
        scene.store.now = Picture(revision=2, document=Document())
        await scene.keeper.look()
        assert (scene.taken, scene.keeper.status.revision) == ([1, 2], 2)


async def test_while_it_cannot_be_opened_it_is_tried_again_more_and_more_rarely() -> None:
    async with Scene(refusals=8) as scene:
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            _ = scene.keeper.store
        assert (scene.keeper.status.state, scene.keeper.opened.is_set()) == ("unreachable", False)
        for _ in range(8):
            await scene.tick()
        assert scene.slept[:8] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
        assert scene.keeper.status.state == "open"


async def test_a_store_that_goes_away_is_told_and_comes_back_by_itself() -> None:
    async with Scene() as scene:
        scene.store.fault = StoreUnavailable("locked", "the database is locked")
        scene.time_s = 1005.0
        await scene.tick()
        status = scene.keeper.status
        assert (status.state, status.since_s, status.message, status.revision) == ("locked", 1005.0, "the database is locked", 1)
        scene.store.fault = None
        await scene.tick()
        assert (scene.keeper.status.state, scene.keeper.status.message) == ("open", "")


async def test_a_store_that_comes_back_may_have_another_change_under_the_number_of_the_last_one() -> None:
    async with Scene() as scene:
        scene.store.fault = StoreUnavailable("unreachable", "the database server cannot be reached")
        await scene.tick()
        scene.store.fault = None
        await scene.tick()
        await scene.tick()
        assert (scene.taken, scene.kept) == ([1, 1], [1, 1])


async def test_chores_are_done_at_once_and_then_every_so_often_whatever_becomes_of_them() -> None:
    done: list[str] = []

    async def fails() -> None:
        done.append("fails")
        raise StoreUnavailable("full", "no space is left for the database")

    async def works() -> None:
        done.append("works")

    async with Scene(chores=[Chore("one", 5.0, fails), Chore("two", 7.0, works)]) as scene:
        assert sorted(done) == ["fails", "works"]
        for _ in range(3):
            await scene.tick()
        assert sorted(done) == ["fails", "fails", "works", "works"]
        assert {5.0, 7.0} < set(scene.slept)


async def test_a_store_that_can_be_read_and_not_written_to_cannot_be_used() -> None:
    faults = [StoreUnavailable("full", "no space is left for the database")] * 2

    async def fails_twice() -> None:
        if faults:
            raise faults.pop()

    async with Scene(chores=[Chore("one", 1.0, fails_twice)]) as scene:
        status = scene.keeper.status
        assert (status.state, status.since_s, status.message) == ("full", 1000.0, "no space is left for the database")
        scene.time_s = 1001.0
        for _ in range(2):
            await scene.tick()
        assert (scene.keeper.status.state, scene.keeper.status.since_s) == ("full", 1000.0)
        for _ in range(2):
            await scene.tick()
        assert scene.keeper.status.state == "open"


async def test_a_copy_that_cannot_be_written_is_told_and_tried_again_whether_the_store_is_there_or_not() -> None:
    async with Scene() as scene:
        scene.unwritable = StoreUnavailable("full", "in-force.json cannot be written")
        scene.store.now = Picture(revision=2, document=Document())
        await scene.keeper.look()
        assert (scene.taken, scene.kept, scene.keeper.status.revision) == ([1, 2], [1], 2)
        assert (scene.keeper.status.state, scene.keeper.status.message) == ("full", "in-force.json cannot be written")
        await scene.tick()
        assert scene.keeper.status.state == "full"
        scene.unwritable, scene.store.fault = None, StoreUnavailable("unreachable", "the database server cannot be reached")
        await scene.tick()
        assert (scene.kept, scene.keeper.status.state) == ([1, 2], "unreachable")
        scene.store.fault = None
        await scene.tick()
        assert (scene.kept, scene.keeper.status.state, scene.store.pictures) == ([1, 2, 2], "open", 3)


async def test_it_is_closed_at_the_end() -> None:
    async with Scene() as scene:
        pass
    assert scene.store.closed


async def test_what_waits_in_memory_is_written_before_it_is_closed() -> None:
    done: list[tuple[str, bool]] = []

    def chore(name: str, *, at_end: bool = True, fails: bool = False) -> Chore:
        async def do() -> None:
            done.append((name, scene.store.closed))
            if fails:
                raise StoreUnavailable("full", "no space is left for the database")

        return Chore(name, 5.0, do, at_end)

    async with Scene(chores=[chore("one", fails=True), chore("two", at_end=False), chore("three")]) as scene:
        done.clear()
    assert done == [("one", False), ("three", False)]
    assert scene.store.closed


async def test_nothing_is_written_to_a_store_that_was_never_in_force() -> None:
    scene = Scene(chores=[Chore("one", 5.0, asyncio.Event().wait, at_end=True)])
    scene.store.fault = StoreUnavailable("locked", "the database is locked")
    async with scene:
        pass
    assert scene.store.closed


async def test_a_mistake_of_ours_is_told_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    done: list[str] = []
    mistakes = [ZeroDivisionError("hunter2")]

    async def mistaken() -> None:
        if mistakes:
            raise mistakes.pop()
        done.append("mistaken")

    async def works() -> None:
        done.append("works")

    async with Scene(chores=[Chore("one", 5.0, mistaken), Chore("two", 7.0, works)]) as scene:
        status = scene.keeper.status
        assert (status.state, status.message) == ("broken", "one cannot be kept: internal error")
        assert [record.exc_info is not None for record in caplog.records if record.levelname == "ERROR"] == [True]
        for _ in range(3):
            await scene.tick()
        assert (scene.keeper.status.state, sorted(done)) == ("open", ["mistaken", "works", "works"])


async def test_what_cannot_be_taken_because_of_a_mistake_is_tried_again() -> None:
    async with Scene() as scene:
        scene.store.now = Picture(revision=2, document=Document())
        take, scene.keeper._take = scene.keeper._take, None  # type: ignore[assignment]  # cannot be called
        await scene.tick()
        assert (scene.keeper.status.state, scene.taken) == ("broken", [1])
        scene.keeper._take = take
        await scene.tick()
        assert (scene.keeper.status.state, scene.taken) == ("open", [1, 2])


async def test_chores_wait_until_something_is_in_force() -> None:
    seen: list[list[int]] = []
    scene = Scene(chores=[])

    async def looks() -> None:
        seen.append(list(scene.taken))

    scene.keeper._chores = lambda store: [Chore("one", 5.0, looks)]
    scene.store.fault = StoreUnavailable("locked", "the database is locked")
    async with scene:
        assert seen == []
        scene.store.fault = None
        await scene.tick()
        assert seen == [[1]]
