"""What people type."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import pytest

from fkproxy.remote.tables import moment
from fkproxy.remote.values import amount, duration_s, lifetime_s, moment_s, pair, text_or_none


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("90", 90), ("90s", 90), ("15m", 900), ("12h", 43200), ("30d", 2592000), ("2w", 1209600)]
)
def test_durations(text: str, seconds: int) -> None:
    assert duration_s(text) == lifetime_s(text) == seconds


def test_a_lifetime_may_have_no_end() -> None:
    assert lifetime_s("never") is None


@pytest.mark.parametrize(
    ("text", "unix_s"),
    [
        ("2026-01-31T12:00:00Z", 1769860800),
        ("2026-01-31T13:00:00+01:00", 1769860800),
        ("2026-01-31T12:00", 1769860800),
        ("2026-01-31", 1769817600),
    ],
)
def test_moments_are_utc_unless_they_say_otherwise(text: str, unix_s: float) -> None:
    assert moment_s(text) == unix_s


def test_a_time_that_a_table_shows_may_be_typed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the terminal stands."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert (moment(1769860800), moment_s(moment(1769860800))) == ("2026-01-31 12:00:00Z", 1769860800)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_moment_may_be_so_long_ago() -> None:
    before_s = time.time()
    assert before_s <= moment_s("2h") + 7200 <= time.time()


@pytest.mark.parametrize(
    ("kind", "text"),
    [(duration_s, "-1"), (duration_s, "1y"), (duration_s, "1h30m"), (duration_s, ""), (duration_s, "9" * 400), (lifetime_s, "ever"),
     (lifetime_s, "9" * 400 + "d"), (moment_s, "yesterday"), (moment_s, ""), (moment_s, "9" * 400 + "w"), (pair, "x"), (pair, "=1")],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(kind: Callable[[str], Any], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        kind(text)


def test_the_rest() -> None:
    assert pair("a=b=c") == ("a", "b=c")
    assert (text_or_none(""), text_or_none("none")) == (None, "none")
    assert (amount("none"), amount(""), amount("10"), amount("1.5")) == (None, None, 10, 1.5)
    with pytest.raises(ValueError, match="no number"):
        amount("1e")
