"""A cursor goes out as text and comes back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fkproxy.storage.calls_values import Cursor


@given(started=st.integers(0, 2**53), number=st.integers(0, 2**62))
def test_a_cursor_is_read_as_it_was_written(started: int, number: int) -> None:
    assert Cursor.parse(str(Cursor(started, number))) == Cursor(started, number)
