"""Where Vertex AI is."""

from __future__ import annotations

import pytest

from fkproxy.adapters.vertex import vertex_base_url


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ("us-central1", "https://us-central1-aiplatform.googleapis.com"),
        ("europe-west4", "https://europe-west4-aiplatform.googleapis.com"),
        ("global", "https://aiplatform.googleapis.com"),
        ("us", "https://aiplatform.us.rep.googleapis.com"),
        ("eu", "https://aiplatform.eu.rep.googleapis.com"),
    ],
)
def test_where_vertex_is(region: str, expected: str) -> None:
    assert vertex_base_url(region) == expected
