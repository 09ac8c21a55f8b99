"""Times as others write them, read and written back in the same manner."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkproxy.wire.times import read_time, rfc3339, write_time

AT_S = 1_800_000_000.0
"""2027-01-15T08:00:00Z."""

SAME_MOMENT: list[Any] = [
    1_800_000_000,
    1_800_000_000.0,
    "1800000000",
    1_800_000_000_000,
    "1800000000000",
    1_800_000_000_000.0,
    "2027-01-15T08:00:00Z",
    "2027-01-15T08:00:00.000Z",
    "2027-01-15T08:00:00.000000Z",
    "2027-01-15T08:00:00+00:00",
    "2027-01-15T16:00:00+08:00",
    "2027-01-15T16:00:00.000+08:00",
    "2027-01-15T08:00:00",
]


def test_our_own_times_are_in_utc() -> None:
    assert rfc3339(AT_S) == rfc3339(AT_S + 0.9) == "2027-01-15T08:00:00Z"
    assert rfc3339(AT_S + 0.25, "milliseconds") == "2027-01-15T08:00:00.250Z"


@pytest.mark.parametrize("value", SAME_MOMENT)
def test_a_time_is_read_and_written_in_its_own_manner(value: Any) -> None:
    assert read_time(value) == AT_S
    written = write_time(AT_S, value)
    assert (written, type(written)) == (value, type(value))


@pytest.mark.parametrize("value", SAME_MOMENT)
@given(later_s=st.integers(min_value=0, max_value=10**9))
def test_any_later_time_survives_every_manner(value: Any, later_s: int) -> None:
    assert read_time(write_time(AT_S + later_s, value)) == AT_S + later_s


def test_more_digits_than_a_microsecond_are_cut() -> None:
    assert read_time("2027-01-15T08:00:00.500000999Z") == AT_S + 0.5
    assert write_time(AT_S, "2020-01-01T00:00:00.123456789Z") == "2027-01-15T08:00:00.000000Z"


def test_a_date_is_its_midnight() -> None:
    assert read_time("2027-01-15") == AT_S - 8 * 3600


@pytest.mark.parametrize("never", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_the_ends_of_the_calendar_are_no_times(never: str) -> None:
    assert read_time(never) is None
    assert write_time(AT_S, never) == "2027-01-15T08:00:00Z"
    assert write_time(1e15, "2027-01-15T16:00:00+14:00").startswith("9999-")


@pytest.mark.parametrize("value", [None, True, False, "", "never", 1e300, 10**400, math.nan, math.inf, "1" * 30, "2027-13-45", [], {}])
def test_what_is_no_time_is_none_and_is_replaced_by_rfc_3339(value: Any) -> None:
    assert read_time(value) is None
    assert write_time(AT_S, value) == "2027-01-15T08:00:00Z"


@pytest.mark.parametrize(
    ("value", "written"), [(0, 1_800_000_000), (-1, 1_800_000_000), (3600, 1_800_000_000), (0.0, AT_S), ("0", "1800000000")]
)
def test_a_number_too_small_for_a_time_is_replaced_by_unix_seconds(value: Any, written: Any) -> None:
    assert read_time(value) is None
    found = write_time(AT_S, value)
    assert (found, type(found)) == (written, type(value))
