"""What an OpenAI-compatible server is really sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from fkproxy.adapters.access import Access
from fkproxy.adapters.base import UpstreamCall
from fkproxy.adapters.http import HttpClient
from fkproxy.adapters.openai import OpenAiCompatible
from fkproxy.adapters.secret import StaticSecret
from fkproxy.dialects import DIALECTS
from fkproxy.dialects.base import Operation
from tests.fakes.upstream import FakeUpstream, reply

CALL = UpstreamCall(model="gemini-2.5-flash", stream=False, body=b'{"contents":[]}', request_id="r1")


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    made = HttpClient()
    yield made
    await made.aclose()


async def test_an_openai_compatible_server_gets_key_and_extra_headers(client: HttpClient) -> None:
    async with FakeUpstream(reply()) as upstream:
        for key, expected in (("sk-1", "Bearer sk-1"), (None, None)):
            access = Access(
                client.origin(f"{upstream.url}/openai/v1"),
                StaticSecret("", key or ""),
                auth_header="authorization",
                fixed=(("user-agent", "ua/1"), ("X-Team", "blue")),
            )
            adapter = OpenAiCompatible(client, DIALECTS["openai_chat"], access, provider_key="o", models=("*",))
            exchange = await adapter.send(CALL)
            assert await exchange.head(5.0)
            exchange.close()
            asked = upstream.asked[-1]
            assert asked.target == "/openai/v1/chat/completions"
            assert asked.headers.get("authorization") == expected
            assert asked.headers["x-team"] == "blue"


async def test_a_server_that_speaks_responses_gets_them_at_their_own_path(client: HttpClient) -> None:
    async with FakeUpstream(reply()) as upstream:
        apis: list[tuple[Any, str, set[str]]] = [
            ("chat_completions", "openai_chat", {"openai_chat"}),
            ("responses", "openai_responses", {"openai_responses"}),
            ("both", "openai_chat", {"openai_chat", "openai_responses"}),
        ]
        for api, first, spoken in apis:
            access = Access(client.origin(upstream.url), StaticSecret("", ""), auth_header="authorization", fixed=())
            adapter = OpenAiCompatible(client, DIALECTS["openai_chat"], access, provider_key="o", models=("*",), api=api)
            assert (adapter.dialect, adapter.spoken) == (first, spoken)
        asked: list[tuple[str, Operation, str]] = [
            ("openai_responses", "chat", "/responses"),
            ("openai_responses", "count_tokens", "/responses/input_tokens"),
            ("openai_chat", "chat", "/chat/completions"),
            ("openai_chat", "embeddings", "/embeddings"),
        ]
        for dialect, operation, path in asked:
            exchange = await adapter.send(
                UpstreamCall(model="m", stream=False, body=b"{}", request_id="r", dialect=dialect, operation=operation)
            )
            assert await exchange.head(5.0)
            exchange.close()
            assert upstream.asked[-1].target == path


@pytest.mark.parametrize(
    ("address", "api", "counts"),
    [
        ("https://api.openai.com/v1", "both", True),
        ("https://eu.api.openai.com/v1", "responses", True),
        ("https://api.openai.com/v1", "chat_completions", False),
        ("https://models.example/v1", "both", False),
    ],
)
async def test_only_the_vendor_itself_is_asked_for_a_count_of_tokens(client: HttpClient, address: str, api: Any, counts: bool) -> None:
    access = Access(client.origin(address), StaticSecret("", ""), auth_header="authorization", fixed=())
    adapter = OpenAiCompatible(client, DIALECTS["openai_chat"], access, provider_key="o", models=("*",), api=api)
    assert ("count_tokens" in adapter.operations) is counts
