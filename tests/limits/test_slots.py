"""Concurrency slots."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkproxy.limits.slots import Slots


def test_the_total_limit_holds_over_all_keys_and_a_release_makes_room() -> None:
    slots = Slots(2)
    assert [slots.acquire(key) for key in "abc"] == [True, True, False]
    slots.release("a")
    assert slots.acquire("c")


def test_the_limit_per_key_leaves_other_keys_alone() -> None:
    slots = Slots(0, limit_per_key=1)
    assert [slots.acquire(key) for key in "aab"] == [True, False, True]


def test_zero_is_unlimited() -> None:
    slots = Slots(0)
    assert all(slots.acquire("a") for _ in range(1000))


def test_a_second_release_does_not_lift_the_limit() -> None:
    slots = Slots(1)
    slots.acquire("a")
    slots.release("a")
    slots.release("a")
    slots.release("never held")
    assert (slots.total, slots.acquire("a"), slots.acquire("b")) == (0, True, False)


@pytest.mark.parametrize("limits", [(-1, 0), (0, -1)])
def test_negative_limits_are_refused(limits: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="must be 0"):
        Slots(*limits)


@given(st.integers(0, 4), st.integers(0, 3), st.lists(st.tuples(st.booleans(), st.sampled_from("abc"))))
def test_counts_agree_with_a_plain_count_after_any_sequence(limit: int, per_key: int, steps: list[tuple[bool, str]]) -> None:
    slots, model = Slots(limit, per_key), Counter[str]()
    for acquire, key in steps:
        if acquire:
            expected = (not limit or model.total() < limit) and (not per_key or model[key] < per_key)
            assert slots.acquire(key) == expected
            model[key] += expected
        else:
            slots.release(key)
            model[key] -= model[key] > 0
        assert slots.total == model.total()
        assert slots.keys == len(+model)
        assert [slots.held(each) for each in "abc"] == [model[each] for each in "abc"]
