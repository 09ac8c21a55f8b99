"""What the Anthropic API, and Claude on Vertex AI, are really sent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from fkproxy.adapters.access import Access
from fkproxy.adapters.anthropic import ANTHROPIC_HEADERS, AnthropicApi, VertexClaude
from fkproxy.adapters.base import UpstreamCall
from fkproxy.adapters.google_auth import GoogleTokens
from fkproxy.adapters.http import HttpClient
from fkproxy.adapters.secret import StaticSecret
from fkproxy.dialects import DIALECTS
from tests.e2e.processes import TokenEndpoint, service_account
from tests.fakes.upstream import FakeUpstream, reply

KEY = "sk-ant-key-of-the-operator"
BODY = b'{"model":"claude-x","max_tokens":1,"messages":[{"role":"user","content":"\xe2\x80\xa8 1.0"}]}'


def call(stream: bool = False, beta: bytes | None = None) -> UpstreamCall:
    headers = {b"anthropic-beta": beta, b"x-api-key": b"the-clients-own"} if beta is not None else None
    return UpstreamCall(model="claude-x@20251001", stream=stream, body=BODY, request_id="r1", client_headers=headers)


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    made = HttpClient()
    yield made
    await made.aclose()


@pytest.fixture
def endpoint() -> Iterator[TokenEndpoint]:
    running = TokenEndpoint()
    yield running
    running.close()


def api(client: HttpClient, upstream: FakeUpstream, **changes: Any) -> AnthropicApi:
    given = {"key": KEY, "auth_header": "x-api-key", "beta_features": ("*",), **changes}
    access = Access(client.origin(upstream.url), StaticSecret("", given["key"]), auth_header=given["auth_header"], fixed=ANTHROPIC_HEADERS)
    return AnthropicApi(client, DIALECTS["anthropic"], access, provider_key="a", models=("claude-*",), beta_features=given["beta_features"])


async def sent(adapter: Any, asked: UpstreamCall) -> None:
    exchange = await adapter.send(asked)
    assert await exchange.head(5.0)
    exchange.close()


async def test_the_api_gets_its_key_and_version_in_headers(client: HttpClient) -> None:
    async with FakeUpstream(reply()) as upstream:
        await sent(api(client, upstream), call())
        (asked,) = upstream.asked
        assert (asked.target, asked.body) == ("/v1/messages", BODY)
        assert asked.headers["x-api-key"] == KEY
        assert asked.headers["anthropic-version"] == "2023-06-01"
        assert "anthropic-beta" not in asked.headers
        await sent(api(client, upstream, key="token-of-the-operator", auth_header="authorization"), call())
        assert upstream.asked[-1].headers["authorization"] == "Bearer token-of-the-operator"
        assert "x-api-key" not in upstream.asked[-1].headers


@pytest.mark.parametrize(
    ("named", "allowed", "passed"),
    [
        (b"a-2025-01-01,b-2025-01-01", ("*",), "a-2025-01-01,b-2025-01-01"),
        (b"a-2025-01-01, b-2025-01-01", ("b-*",), "b-2025-01-01"),
        (b"a-2025-01-01", ("b-*",), None),
        (b"a-2025-01-01", (), None),
        (b"no words\r\nx-evil: 1,a-1", ("*",), "a-1"),
        (b"", ("*",), None),
    ],
)
async def test_preview_features_pass_by_the_list(named: bytes, allowed: tuple[str, ...], passed: str | None, client: HttpClient) -> None:
    async with FakeUpstream(reply()) as upstream:
        await sent(api(client, upstream, beta_features=allowed), call(beta=named))
        assert upstream.asked[0].headers.get("anthropic-beta") == passed
        assert "x-evil" not in upstream.asked[0].headers
        assert upstream.asked[0].headers["x-api-key"] == KEY, "never the client's"


async def test_vertex_has_the_model_in_the_path_and_the_version_in_the_body(
    client: HttpClient, endpoint: TokenEndpoint, tmp_path: Path
) -> None:
    tokens = GoogleTokens(credentials_file=service_account(tmp_path, endpoint.url), project_id=None)
    async with FakeUpstream(reply()) as upstream:
        adapter = VertexClaude(
            client,
            Access(client.origin(upstream.url), tokens, auth_header="authorization", fixed=()),
            tokens,
            provider_key="v",
            region="europe-west1",
            models=("claude-x@20251001", "claude-*"),
            beta_features=("a-*",),
        )
        await adapter.verify()
        await sent(adapter, call(beta=b"a-1,b-1"))
        await sent(adapter, call(stream=True))
        whole, stream = upstream.asked
        prefix = "/v1/projects/project-of-the-tests/locations/europe-west1/publishers/anthropic/models/claude-x@20251001"
        assert (whole.target, stream.target) == (f"{prefix}:rawPredict", f"{prefix}:streamRawPredict")
        assert whole.headers["authorization"] == f"Bearer {endpoint.token}"
        assert whole.headers["anthropic-beta"] == "a-1"
        body = json.loads(whole.body)
        assert body.pop("anthropic_version") == "vertex-2023-10-16"
        assert {"model": "claude-x", **body} == json.loads(BODY)
        assert [entry.id for entry in await adapter.list_models()] == ["claude-x@20251001"]


async def test_the_list_of_models(client: HttpClient) -> None:
    listed = json.dumps(
        {"data": [{"type": "model", "id": "claude-x", "display_name": "X", "created_at": "2025-10-01T00:00:00Z"}], "has_more": False}
    )
    async with FakeUpstream(reply(listed.encode())) as upstream:
        assert [entry.id for entry in await api(client, upstream).list_models()] == ["claude-x"]
        assert upstream.asked[0].target == "/v1/models?limit=1000"
