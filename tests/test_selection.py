"""Who is next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from fkproxy.selection import Selector

NAMES = ["a", "b", "c"]


def chosen(selector: Selector, strategy: Any, able: Sequence[int] = (0, 1, 2), conversation: bytes | None = None, **given: Any) -> str:
    weights: Sequence[int] = given.get("weights", (1, 1, 1))
    busy: Sequence[int] = given.get("busy", (0, 0, 0))
    position = selector.choose(
        "place",
        strategy,
        given.get("names", NAMES),
        range(len(given.get("names", NAMES))),
        able.__contains__,
        weight=weights.__getitem__,
        busy=busy.__getitem__,
        conversation=conversation,
        now=given.get("now", 0.0),
    )
    assert position in able
    return str(given.get("names", NAMES)[position])


def test_ordered_takes_the_first_that_can() -> None:
    selector = Selector()
    assert [chosen(selector, "ordered", able) for able in ((0, 1, 2), (1, 2), (2,), (0, 1, 2))] == ["a", "b", "c", "a"]


def test_round_robin_is_fair_also_while_one_is_out() -> None:
    selector = Selector()
    assert [chosen(selector, "round_robin") for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]
    assert Counter(chosen(selector, "round_robin", (0, 2)) for _ in range(10)) == {"a": 5, "c": 5}


def test_weighted_is_in_proportion_and_evenly_spread() -> None:
    selector = Selector()
    turns = [chosen(selector, "weighted", weights=(5, 1, 1)) for _ in range(7)]
    assert turns == ["a", "a", "b", "a", "c", "a", "a"]
    assert Counter(chosen(selector, "weighted", (1, 2), weights=(5, 1, 1)) for _ in range(10)) == {"b": 5, "c": 5}


def test_fill_first_stays_where_it_is_until_it_cannot() -> None:
    selector = Selector()
    assert [chosen(selector, "fill_first", able) for able in ((0, 1, 2), (0, 1, 2), (1, 2), (0, 1, 2), (0, 1), (0,))] == list("aabbba")


def test_turns_go_on_through_a_change_of_the_others() -> None:
    for strategy, expected in (("fill_first", "c"), ("round_robin", "new")):
        selector = Selector()
        assert chosen(selector, strategy, (2,)) == "c"
        assert chosen(selector, strategy, (0, 1), names=["new", "c"]) == expected
        assert chosen(selector, strategy, (0, 1), names=["new", "c"]) == "c"


def test_least_busy_counts_calls_for_the_weight() -> None:
    assert chosen(Selector(), "least_busy", busy=(3, 2, 9)) == "b"
    assert chosen(Selector(), "least_busy", busy=(3, 2, 9), weights=(2, 1, 10)) == "c"


def test_sticky_keeps_a_conversation_and_spreads_many() -> None:
    selector = Selector()
    first = {key: chosen(selector, "sticky", conversation=key) for key in (b"%d" % number for number in range(300))}
    assert {key: chosen(selector, "sticky", conversation=key) for key in first} == first
    assert min(Counter(first.values()).values()) > 60
    heavy = Counter(chosen(Selector(), "sticky", conversation=b"%d" % number, weights=(8, 1, 1)) for number in range(500))
    assert heavy["a"] > 300


def test_sticky_moves_when_its_place_is_out_and_stays_where_it_moved() -> None:
    selector = Selector(ttl_s=10.0)
    home = chosen(selector, "sticky", conversation=b"k")
    rest = [position for position, name in enumerate(NAMES) if name != home]
    moved = chosen(selector, "sticky", rest, b"k")
    assert moved != home
    assert chosen(selector, "sticky", conversation=b"k", now=9.0) == moved, "its cache is warm there"
    assert chosen(selector, "sticky", conversation=b"k", now=18.0) == moved, "every call keeps it"
    assert chosen(selector, "sticky", conversation=b"k", now=40.0) == home, "forgotten; the hash says where it was at first"


def test_sticky_holds_through_a_change_of_the_others() -> None:
    selector = Selector()
    places = {key: chosen(selector, "sticky", conversation=key) for key in (b"%d" % number for number in range(60))}
    fewer = ["new", "c", "a"]
    for key, place in places.items():
        assert chosen(selector, "sticky", conversation=key, names=fewer) == place or place not in fewer


def test_without_a_conversation_sticky_takes_turns() -> None:
    selector = Selector()
    assert [chosen(selector, "sticky") for _ in range(4)] == ["a", "b", "c", "a"]


def test_conversations_are_bounded_and_can_be_bound() -> None:
    selector = Selector(max_entries=5)
    for number in range(100):
        chosen(selector, "sticky", conversation=b"%d" % number)
    assert len(selector._conversations) == 5
    for name in NAMES:
        selector.bind("place", b"reply", name, 0.0)
        assert chosen(selector, "sticky", conversation=b"reply") == name
    for conversation in (b"1", b"reply", b"2", b"3", b"4", b"5"):
        selector.bind("place", conversation, "a", 0.0)
    assert ("place", b"reply") in selector._conversations, "what was asked for last is forgotten last"


@pytest.mark.parametrize("strategy", ["ordered", "round_robin", "weighted", "fill_first", "least_busy", "sticky"])
def test_every_strategy_takes_the_only_one_there_is(strategy: str) -> None:
    assert chosen(Selector(), strategy, (1,), b"k") == "b"


@pytest.mark.parametrize("strategy", ["ordered", "round_robin", "fill_first", "least_busy", "sticky"])
def test_of_hundreds_that_can_one_is_asked(strategy: Any) -> None:
    selector, names = Selector(), [str(position) for position in range(200)]
    asked: list[int] = []

    def able(position: int) -> bool:
        asked.append(position)
        return True

    for _ in range(3):
        position = selector.choose(
            "place",
            strategy,
            names,
            range(200),
            able,
            weight=lambda _: 1,
            busy=lambda _: 0,
            conversation=b"conversation" if strategy == "sticky" else None,
            now=0.0,
        )
        assert position in range(200)
        assert asked.pop() == position
        assert not asked


def test_none_is_chosen_where_none_can() -> None:
    for strategy in ("ordered", "round_robin", "fill_first", "least_busy", "weighted", "sticky"):
        choose = Selector().choose
        arguments: dict[str, Any] = {"weight": lambda _: 1, "busy": lambda _: 0, "conversation": b"c", "now": 0.0}
        assert choose("place", strategy, NAMES, range(3), lambda _: False, **arguments) is None
