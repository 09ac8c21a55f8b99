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
    assert [queue.pop() for _ in range(5)] == ["a1", "b1", "c1", "a3", "b2"]
    with pytest.raises(IndexError):
        queue.pop()


def test_a_key_whose_last_one_left_is_forgotten() -> None:
    queue: FairQueue[int] = FairQueue()
    queue.put("a", 1)
    queue.remove("a", 1)
    assert len(queue) == 0
    queue.put("b", 2)
    assert queue.pop() == 2
