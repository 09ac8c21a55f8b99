"""What may be written into a field."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import pytest

from fkproxy.control import checks
from fkproxy.control.refusals import Fault, Invalid


@pytest.mark.parametrize(("value", "kept"), [("", ""), (" a ", "a"), ("Ä – 日本", "Ä – 日本"), ("x" * 100, "x" * 100)])
def test_labels(value: str, kept: str) -> None:
    faults: list[Fault] = []
    assert (checks.label("f", value, faults), faults) == (kept, [])


@pytest.mark.parametrize("value", ["\x00", "a\u2028b", "a\x7f", "\x1b[31m", "x" * 101])
def test_what_is_no_label(value: str) -> None:
    faults: list[Fault] = []
    checks.label("f", value, faults)
    assert [fault.field for fault in faults] == ["f"]


@pytest.mark.parametrize("value", ["none", "auto", "-1", "0", "8192", " HIGH ", "xhigh"])
def test_words_for_thinking(value: str) -> None:
    faults: list[Fault] = []
    assert (checks.thinking("f", value, faults), faults) == (value.strip().lower(), [])


def test_patterns_are_kept_once_and_in_order() -> None:
    faults: list[Fault] = []
    assert (checks.patterns("f", ["b*", "a", "b*"], faults), faults) == (("b*", "a"), [])


@pytest.mark.parametrize(
    ("value", "good"),
    [
        (None, True),
        (0, True),
        (2**53, True),
        (-1, False),
        (2**53 + 1, False),
        (10**400, False),
        (math.inf, False),
        (math.nan, False),
    ],
)
def test_amounts(value: float | None, good: bool) -> None:
    faults: list[Fault] = []
    checks.amount("f", value, faults)
    assert (faults == []) == good


@pytest.mark.parametrize(
    ("value", "good"),
    [(None, True), (10.5, True), (1e11, True), (10.0, False), (1.9e12, False), (math.nan, False), (math.inf, False)],
)
def test_times_to_come(value: float | None, good: bool) -> None:
    faults: list[Fault] = []
    checks.future("f", value, 10.0, faults)
    assert (faults == []) == good


def test_messages_never_quote_the_value() -> None:
    faults: list[Fault] = []
    canary = "canary value"
    checks.slug("f", canary, faults)
    checks.model_name("f", canary, faults)
    checks.patterns("f", [canary], faults)
    checks.thinking("f", canary, faults)
    checks.strategy("f", canary, faults)
    checks.label("f", f"{canary}\n", faults)
    assert len(faults) == 6
    assert "canary" not in str(faults)


@pytest.mark.parametrize(
    ("given", "within"),
    [
        ({"a": [1, {"b": []}]}, True),
        ([{}] * 100_000, True),
        ([{}] * 100_001, False),
        ({"a": [[{"b": [0] * 60_000}], {str(each): 0 for each in range(40_000)}]}, False),
        ("x" * 200_000, True),
    ],
)
def test_values_are_counted_at_any_depth(given: Any, within: bool) -> None:
    with nullcontext() if within else pytest.raises(Invalid, match="more than 100000 values"):
        checks.bounded(given)
