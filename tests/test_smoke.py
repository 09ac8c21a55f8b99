"""A round trip against something that is not what it should be. Against the built file: tests/e2e."""

from __future__ import annotations

import pytest

from fkproxy import smoke
from tests.doctor.test_service import answering


@pytest.mark.parametrize(
    ("body", "failed"),
    [
        (b"<html>", "health"),
        (b'{"upstreams": [{}]}', "health"),
        (b'{"upstreams": 1}', "health"),
        (b"{}", "models"),
        (b'{"data": [1]}', "models"),
    ],
)
def test_an_answer_in_another_shape_is_a_failed_step(body: bytes, failed: str) -> None:
    with answering(200, body) as port:
        *_, last = smoke.run(f"http://127.0.0.1:{port}", None, None)
    assert (last.name, last.ok) == (failed, False)
    assert "is this the right address?" in last.detail
