"""Who waits takes turns by key."""

from __future__ import annotations

import pytest

from fkproxy.limits.fair_queue import FairQueue


def test_keys_take_turns_and_each_keeps_its_order() -> None:
    queue: FairQueue[str] = FairQueue()
    for item in ("a1", "a2", "a3", "b1", "c1", "b2"):
        queue.put(item[0], item)
    queue.remove("a", "a2")
    queue.remove("a", "never")
    queue.remove("z", "a1")
    assert len(queue) == 5
    assert "a" in queue
    assert "z" not in queue
    assert [queue.pop() for _ in range(5)] == ["a1", "b1", "c1", "a3", "b2"]
    with pytest.raises(IndexError):
        queue.pop()


def test_who_cannot_be_next_is_passed_over_and_keeps_the_turn() -> None:
    queue: FairQueue[str] = FairQueue()
    for item in ("a1", "a2", "b1", "b2", "c1"):
        queue.put(item[0], item)
    assert queue.heads() == [("a", "a1"), ("b", "b1"), ("c", "c1")]
    assert (queue.pop_of("b"), queue.pop_of("c")) == ("b1", "c1")
    assert queue.heads() == [("a", "a1"), ("b", "b2")]
    assert [queue.pop() for _ in range(3)] == ["a1", "b2", "a2"]
    with pytest.raises(KeyError):
        queue.pop_of("c")


def test_a_key_whose_last_one_left_is_forgotten() -> None:
    queue: FairQueue[int] = FairQueue()
    queue.put("a", 1)
    queue.remove("a", 1)
    assert len(queue) == 0
    queue.put("b", 2)
    assert queue.pop() == 2
