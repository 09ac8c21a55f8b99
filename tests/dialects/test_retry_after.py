"""How long an upstream asks to wait, whichever vendor it is of."""

from __future__ import annotations

import pytest

from fkproxy.dialects import DIALECTS

DATE = {"date": "Sat, 21 Nov 2026 04:00:00 GMT"}


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "7"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "99999999999"}, None),
        ({"retry-after": "1" * 301}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Sat, 21 Nov 2026 04:01:00 GMT"}, None),
        ({"retry-after": "Sat, 21 Nov 2026 04:01:00 GMT", **DATE}, 60.0),
        ({"retry-after": "Sat, 21 Nov 2026 03:59:00 GMT", **DATE}, 0.0),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT", **DATE}, None),
        ({"retry-after": "Sat, 21 Nov 2026 04:01:00 GMT", "date": "today"}, None),
        ({"retry-after": "Sat, 21 Nov 2026 04:01:00 -0000", **DATE}, None),
    ],
)
def test_how_long_to_wait(name: str, headers: dict[str, str], expected: float | None) -> None:
    assert DIALECTS[name].decode_error(429, headers, b"").retry_after_s == expected
