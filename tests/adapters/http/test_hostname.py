"""Names that a resolver takes, of an upstream's host and of a proxy's."""

from __future__ import annotations

import pytest

from fkproxy.adapters.http import HttpClient
from fkproxy.adapters.http.hostname import host_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("llm.example", "llm.example"),
        ("llm.example.", "llm.example."),
        ("model_server", "model_server"),
        ("192.0.2.7", "192.0.2.7"),
        ("::0:1", "::1"),
        ("höst.example", "xn--hst-sna.example"),
        (f"{'a' * 63}.example", f"{'a' * 63}.example"),
    ],
)
def test_a_name_is_given_as_it_is_resolved(name: str, expected: str) -> None:
    assert host_name(name) == expected


@pytest.mark.parametrize(
    "name",
    ["", ".", "llm..internal", ".internal", "llm.internal..", f"{'a' * 64}.example", "ö" * 63, "-a.example", "a-", "ex!ample", "%41"],
)
async def test_what_no_resolver_takes_is_neither_an_upstreams_name_nor_a_proxys(name: str) -> None:
    with pytest.raises(ValueError, match="the host is"):
        host_name(name)
    client = HttpClient()
    with pytest.raises(ValueError, match="the host is"):
        client.origin(f"http://{name}:8000/v1")
    with pytest.raises(ValueError, match="a proxy URL must look like"):
        client.origin("http://llm.example", proxy=f"http://{name}:3128")
