"""Lists of models, as upstreams give them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from fkproxy.adapters.access import Access
from fkproxy.adapters.gemini import GeminiApi
from fkproxy.adapters.http import HttpClient
from fkproxy.adapters.openai import OpenAiCompatible
from fkproxy.adapters.secret import StaticSecret
from fkproxy.dialects import DIALECTS
from fkproxy.model.errors import UpstreamError, UpstreamProtocolError, UpstreamRefusedCredential
from tests.fakes.upstream import FakeUpstream, reply

KEY = "AIza-key-of-the-operator"


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    made = HttpClient()
    yield made
    await made.aclose()


async def test_lists_of_models(client: HttpClient) -> None:
    google = {
        "models": [
            {"name": "models/gemini-2.5-flash", "inputTokenLimit": 1048576, "supportedGenerationMethods": ["generateContent"]},
            {"name": "models/gemini-embedding-001", "supportedGenerationMethods": ["embedContent", "countTokens"]},
            {"name": "models/imagen-4", "supportedGenerationMethods": ["predict"]},
        ]
    }
    openai = {"object": "list", "data": [{"id": "m-1", "object": "model", "created": 1700000000, "owned_by": "x"}]}
    refused = reply(b'{"error":{"message":"bad key sk-secret"}}', status="401 Unauthorized")
    async with FakeUpstream(reply(json.dumps(google).encode()), reply(json.dumps(openai).encode()), refused, reply(b"<html>")) as upstream:
        google_access = Access(client.origin(upstream.url), StaticSecret("", KEY), auth_header="x-goog-api-key", fixed=())
        gemini = GeminiApi(client, DIALECTS["gemini"], google_access, provider_key="g", models=("gemini-*",))
        entry, embedder = await gemini.list_models()
        assert (entry.id, entry.input_token_limit, entry.embeds) == ("gemini-2.5-flash", 1048576, False)
        assert (embedder.id, embedder.embeds) == ("gemini-embedding-001", True)
        assert upstream.asked[0].line.startswith("GET /v1beta/models?")
        access = Access(client.origin(f"{upstream.url}/v1"), StaticSecret("", "sk"), auth_header="authorization", fixed=())
        compatible = OpenAiCompatible(client, DIALECTS["openai_chat"], access, provider_key="o", models=("*",))
        (entry,) = await compatible.list_models()
        assert (entry.id, entry.owned_by, entry.created_s) == ("m-1", "x", 1_700_000_000)
        with pytest.raises(UpstreamRefusedCredential) as caught:
            await compatible.list_models()
        assert "sk-secret" not in str(caught.value)
        with pytest.raises(UpstreamProtocolError):
            await compatible.list_models()
        assert issubclass(UpstreamProtocolError, UpstreamError)
