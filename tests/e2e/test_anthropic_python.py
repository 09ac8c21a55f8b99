"""The unmodified `anthropic` package against the built file: translated for Gemini and for an OpenAI-compatible server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anthropic
import pytest
from anthropic.types import MessageParam, TextBlock, ToolParam, ToolResultBlockParam, ToolUseBlock

from tests.e2e.processes import KEY, Aimock, Service, service

MODEL = "gemini-2.5-flash"
TOOL: ToolParam = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture(scope="module")
def compatible_service(directory: Path, aimock: Aimock) -> Iterator[Service]:
    settings = {"APP_AUTH__MASTER_KEY": KEY, "OPENAI_API_KEY": "sk-upstream-key", "OPENAI_BASE_URL": f"{aimock.url}/v1"}
    with service(directory, **settings) as running:
        yield running


Sdk = anthropic.Anthropic | anthropic.AnthropicVertex


def client_of(running: Service, mode: str, key: str = KEY) -> Sdk:
    """As for the API, or as for Vertex AI."""
    if mode == "api":
        return anthropic.Anthropic(base_url=running.url, api_key=key, max_retries=0)
    return anthropic.AnthropicVertex(base_url=running.v1, project_id="p", region="us-east5", access_token=key, max_retries=0)


@pytest.fixture(params=["api", "vertex"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["gemini_service", "compatible_service"])
def sdk(request: pytest.FixtureRequest, mode: str) -> Iterator[Sdk]:
    with client_of(request.getfixturevalue(request.param), mode) as client:
        yield client


def said(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if isinstance(block, TextBlock))


def test_a_plain_answer(sdk: Sdk) -> None:
    message = sdk.messages.create(model=MODEL, max_tokens=100, system="be brief", messages=[{"role": "user", "content": "hello"}])
    assert said(message) == "Hello from behind the gateway."
    assert message.stop_reason == "end_turn"
    assert message.usage.input_tokens + message.usage.output_tokens == 17


def test_a_stream(sdk: Sdk) -> None:
    with sdk.messages.stream(model=MODEL, max_tokens=100, messages=[{"role": "user", "content": "hello"}]) as stream:
        pieces = list(stream.text_stream)
        message = stream.get_final_message()
    assert "".join(pieces) == said(message) == "Hello from behind the gateway."
    assert message.stop_reason == "end_turn"
    assert message.usage.input_tokens + message.usage.output_tokens == 17


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_round_trip(sdk: Sdk, stream: bool) -> None:
    history: list[MessageParam] = [{"role": "user", "content": "weather in two cities"}]

    def ask() -> anthropic.types.Message:
        if not stream:
            return sdk.messages.create(model=MODEL, max_tokens=100, tools=[TOOL], messages=history)
        with sdk.messages.stream(model=MODEL, max_tokens=100, tools=[TOOL], messages=history) as events:
            return events.get_final_message()

    message = ask()
    calls = [block for block in message.content if isinstance(block, ToolUseBlock)]
    assert [call.input for call in calls] == [{"city": "Paris"}, {"city": "Oslo"}]
    assert message.stop_reason == "tool_use"
    results: list[ToolResultBlockParam] = [
        {"type": "tool_result", "tool_use_id": call.id, "content": text}
        for call, text in zip(calls, ("sun in Paris", "rain in Oslo"), strict=True)
    ]
    history += [message.to_param(), {"role": "user", "content": results}]
    assert said(ask()) == "Paris is sunny, Oslo is wet."


def test_errors_are_the_sdks_own(sdk: Sdk) -> None:
    def ask(content: str) -> None:
        sdk.messages.create(model=MODEL, max_tokens=100, messages=[{"role": "user", "content": content}])

    with pytest.raises(anthropic.RateLimitError):
        ask("too many requests")
    with pytest.raises(anthropic.InternalServerError):
        ask("break inside")
    with pytest.raises(anthropic.BadRequestError) as refused:
        sdk.messages.create(model=MODEL, max_tokens=-1, messages=[{"role": "user", "content": "hello"}])
    assert "max_tokens" in refused.value.message


def test_a_stream_that_is_cut_ends_in_an_error(sdk: Sdk) -> None:
    with (
        pytest.raises(anthropic.APIError),
        sdk.messages.stream(model=MODEL, max_tokens=100, messages=[{"role": "user", "content": "cut the stream"}]) as stream,
    ):
        stream.get_final_message()


def test_a_model_of_a_named_provider_and_a_count(compatible_service: Service, mode: str) -> None:
    asked: list[MessageParam] = [{"role": "user", "content": "hello"}]
    with client_of(compatible_service, mode) as sdk:
        message = sdk.messages.create(model=f"openai/{MODEL}(low)", max_tokens=2000, messages=asked)
        assert said(message) == "Hello from behind the gateway."
        assert sdk.messages.count_tokens(model=f"openai/{MODEL}", messages=asked).input_tokens > 0


def test_an_unknown_model_and_a_wrong_key(gemini_service: Service, mode: str) -> None:
    with client_of(gemini_service, mode, "wrong") as sdk, pytest.raises(anthropic.AuthenticationError):
        sdk.messages.create(model=MODEL, max_tokens=100, messages=[{"role": "user", "content": "hello"}])


def test_the_model_list(gemini_service: Service) -> None:
    with anthropic.Anthropic(base_url=gemini_service.url, api_key=KEY, max_retries=0) as sdk:
        listed = sdk.models.list()
    assert not listed.has_more
    assert all(model.type == "model" and model.id for model in listed.data)
