"""What comes back, as lines for people."""

from __future__ import annotations

from typing import Any

import pytest

from fkproxy.remote.tables import fields, item_lines, lines_of, moment, when


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        ("", "-"),
        ([], "-"),
        ({}, "-"),
        (0, "0"),
        (True, "yes"),
        (False, "no"),
        (["a", "b"], "a,b"),
        ({"active": 2, "paused": 1}, "active=2,paused=1"),
        (1234567.25, "1234567.25"),
        (0.000004, "0.000004"),
        (3.0, "3"),
        (0.0, "0"),
    ],
)
def test_cells(value: Any, shown: str) -> None:
    assert list(lines_of(fields(a="a"), [{"a": value}]))[1:] == [shown]


def test_columns_are_as_wide_as_what_is_in_them_and_look_inside() -> None:
    columns = [*fields(who="actor.kind", two_words="x"), ("WHEN", when("at_s"))]
    rows = [{"actor": {"kind": "administrator"}, "x": 1, "at_s": 0.5}, {"actor": None, "x": "long enough", "at_s": None}]
    assert list(lines_of(columns, rows)) == [
        "WHO            TWO WORDS    WHEN",
        "administrator  1            1970-01-01 00:00:00Z",
        "-              long enough  -",
    ]
    assert list(lines_of(columns, [])) == ["WHO  TWO WORDS  WHEN"]


def test_times_may_be_in_milliseconds() -> None:
    assert when("at_ms", 1e-3)({"at_ms": 1769860800123}) == moment(1769860800) == "2026-01-31 12:00:00Z"


def test_one_thing_has_its_times_in_words_and_its_parts_further_in() -> None:
    found = {
        "id": "a",
        "created_s": 1769860800.5,
        "started_ms": 1769860800000,
        "expires_s": None,
        "overlap_s": 3600,
        "duration_ms": 12.5,
        "on": False,
        "models": ["x", "y"],
        "limits": {"tokens": 5, "inner": {"a": []}},
        "secrets": [{"prefix": "p", "created_s": 1769860800}, {"prefix": "q", "of": {"b": 1}}],
    }
    assert list(item_lines(found)) == [
        "id: a",
        "created: 2026-01-31 12:00:00Z",
        "started: 2026-01-31 12:00:00Z",
        "expires_s: -",
        "overlap_s: 3600",
        "duration_ms: 12.5",
        "on: no",
        "models: x,y",
        "limits:",
        "  tokens: 5",
        "  inner:",
        "    a: -",
        "secrets:",
        "  - prefix: p",
        "    created: 2026-01-31 12:00:00Z",
        "  - prefix: q",
        "    of:",
        "      b: 1",
    ]
