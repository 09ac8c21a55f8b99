"""Numbers in texts."""

from __future__ import annotations

import pytest

from fkproxy.wire.numbers import whole_number


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("007", 7), ("9" * 15, 10**15 - 1)])
def test_digits_are_a_number(text: str, number: int) -> None:
    assert whole_number(text) == number


@pytest.mark.parametrize("text", ["", "-1", "+1", " 1", "1_0", "1e3", "\u00b2", "\u0663", "\uff11", "9" * 16, "9" * 5000])
def test_nothing_else_is(text: str) -> None:
    assert whole_number(text) is None
