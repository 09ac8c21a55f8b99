"""What the Gemini API and Vertex AI are really sent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fkproxy.adapters.access import Access
from fkproxy.adapters.base import UpstreamCall
from fkproxy.adapters.gemini import GeminiApi, VertexAi
from fkproxy.adapters.google_auth import GoogleTokens
from fkproxy.adapters.http import HttpClient
from fkproxy.adapters.secret import StaticSecret
from fkproxy.dialects import DIALECTS
from fkproxy.model.errors import InvalidRequest
from tests.e2e.processes import TokenEndpoint, service_account
from tests.fakes.upstream import FakeUpstream, reply

CALL = UpstreamCall(model="gemini-2.5-flash", stream=False, body=b'{"contents":[]}', request_id="r1")
STREAM = UpstreamCall(model="odd/name", stream=True, body=b"{}", request_id="r2")
FIXED = (("content-type", "application/json"), ("user-agent", "ua/1"))
KEY = "AIza-key-of-the-operator"


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


async def test_the_gemini_api_gets_its_key_in_a_header_only(client: HttpClient) -> None:
    async with FakeUpstream(reply()) as upstream:
        access = Access(client.origin(upstream.url), StaticSecret("", KEY), auth_header="x-goog-api-key", fixed=FIXED)
        adapter = GeminiApi(client, DIALECTS["gemini"], access, provider_key="g", models=("gemini-*",))
        for call in (CALL, STREAM):
            exchange = await adapter.send(call)
            assert await exchange.head(5.0)
            exchange.close()
        whole, stream = upstream.asked
        assert whole.target == "/v1beta/models/gemini-2.5-flash:generateContent"
        assert stream.target == "/v1beta/models/odd%2Fname:streamGenerateContent?alt=sse"
        for asked in upstream.asked:
            assert asked.headers["x-goog-api-key"] == KEY
            assert asked.headers["content-type"] == "application/json"
            assert asked.headers["user-agent"] == "ua/1"
            assert KEY not in asked.line
        assert whole.body == CALL.body


async def test_vertex_gets_a_bearer_token_and_its_project_and_location(client: HttpClient, endpoint: TokenEndpoint, tmp_path: Path) -> None:
    tokens = GoogleTokens(credentials_file=service_account(tmp_path, endpoint.url), project_id=None)
    async with FakeUpstream(reply()) as upstream:
        access = Access(client.origin(upstream.url), tokens, auth_header="authorization", fixed=FIXED)
        adapter = VertexAi(client, access, tokens, provider_key="v", region="europe-west4", models=("gemini-*",))
        for _ in range(2):
            exchange = await adapter.send(CALL)
            assert await exchange.head(5.0)
            while await exchange.chunk(5.0):
                pass
        prefix = "/v1/projects/project-of-the-tests/locations/europe-west4/publishers/google/models/"
        assert [asked.target for asked in upstream.asked] == [f"{prefix}gemini-2.5-flash:generateContent"] * 2
        assert {asked.headers["authorization"] for asked in upstream.asked} == {"Bearer minted-access-token"}
        assert len(endpoint.grants) == 1
        assert [entry.id for entry in await adapter.list_models()]


@pytest.mark.parametrize(
    ("name", "instruction", "config"),
    [
        ("generateContentRequest", "systemInstruction", "generationConfig"),
        ("generate_content_request", "system_instruction", "generation_config"),
    ],
)
async def test_vertex_counts_what_a_whole_request_says_under_either_spelling(
    name: str, instruction: str, config: str, client: HttpClient, endpoint: TokenEndpoint, tmp_path: Path
) -> None:
    tokens = GoogleTokens(credentials_file=service_account(tmp_path, endpoint.url), project_id=None)
    said = {"contents": [], instruction: {"parts": []}, config: {}}
    body = json.dumps({name: {"model": "models/m", **said, "safetySettings": []}}).encode()
    async with FakeUpstream(reply()) as upstream:
        access = Access(client.origin(upstream.url), tokens, auth_header="authorization", fixed=FIXED)
        adapter = VertexAi(client, access, tokens, provider_key="v", region="europe-west4", models=("gemini-*",))
        exchange = await adapter.send(UpstreamCall(model="m", stream=False, body=body, request_id="r", operation="count_tokens"))
        assert await exchange.head(5.0)
        exchange.close()
        assert json.loads(upstream.asked[0].body) == said


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"generateContentRequest": 5}', b'{"generate_content_request": 5}'])
async def test_a_count_that_cannot_be_read_is_the_clients_mistake(
    body: bytes, client: HttpClient, endpoint: TokenEndpoint, tmp_path: Path
) -> None:
    tokens = GoogleTokens(credentials_file=service_account(tmp_path, endpoint.url), project_id=None)
    access = Access(client.origin("http://127.0.0.1:1"), tokens, auth_header="authorization", fixed=FIXED)
    adapter = VertexAi(client, access, tokens, provider_key="v", region="europe-west4", models=("gemini-*",))
    with pytest.raises(InvalidRequest):
        await adapter.send(UpstreamCall(model="m", stream=False, body=body, request_id="r", operation="count_tokens"))
