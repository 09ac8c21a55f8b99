"""The unmodified `openai` package speaking Responses to the built file, in front of every other dialect."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.responses import ResponseFunctionToolCall

from tests.e2e.conftest import gemini_settings
from tests.e2e.processes import KEY, Aimock, Service, service

MODELS = {"gemini": "gemini/gemini-2.5-flash", "openai": "openai/gpt-4.1", "anthropic": "anthropic/claude-sonnet-4-5"}
TOOL: Any = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False},
    "strict": False,
}
NATIVE = "own/gpt-5"
"""Its upstream speaks Responses itself."""


@pytest.fixture(scope="module")
def gateway(directory: Path, aimock: Aimock) -> Iterator[Service]:
    others = {"OPENAI_API_KEY": "sk-upstream-key", "OPENAI_BASE_URL": f"{aimock.url}/v1"}
    others |= {"ANTHROPIC_API_KEY": "sk-ant-upstream-key", "ANTHROPIC_BASE_URL": aimock.url}
    file = directory / "providers.toml"
    file.write_text(
        f"""
[[providers]]
name = "own"
adapter = "openai"
api = "responses"
base_url = "{aimock.url}/v1"
models = ["gpt-5"]
credentials = [{{ name = "a", key = "sk-own-upstream-key" }}]
"""
    )
    with service(directory, **gemini_settings(aimock.url), **others, APP_PROVIDERS_FILE=str(file)) as running:
        yield running


@pytest.fixture
def sdk(gateway: Service) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.v1, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.mark.parametrize("model", MODELS.values())
def test_a_plain_answer_and_a_stream_agree(sdk: openai.OpenAI, model: str) -> None:
    whole = sdk.responses.create(model=model, instructions="be brief", input="hello")
    with sdk.responses.stream(model=model, input="hello", text={"format": {"type": "json_object"}}) as stream:
        pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
        streamed = stream.get_final_response()
    assert whole.output_text == streamed.output_text == "".join(pieces) == "Hello from behind the gateway."
    assert whole.usage is not None
    assert streamed.usage is not None
    assert whole.usage.total_tokens == streamed.usage.total_tokens == 17
    assert (whole.status, streamed.status) == ("completed", "completed")
    assert streamed.text is not None
    assert streamed.text.format is not None
    assert streamed.text.format.type == "json_object"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", MODELS.values())
def test_a_tool_round_trip(sdk: openai.OpenAI, model: str, stream: bool) -> None:
    history: list[Any] = [{"role": "user", "content": "weather in two cities"}]

    def ask() -> Any:
        if not stream:
            return sdk.responses.create(model=model, input=history, tools=[TOOL], store=False)
        with sdk.responses.stream(model=model, input=history, tools=[TOOL], store=False) as events:
            return events.get_final_response()

    response = ask()
    calls = [item for item in response.output if isinstance(item, ResponseFunctionToolCall)]
    assert [call.arguments.replace(" ", "") for call in calls] == ['{"city":"Paris"}', '{"city":"Oslo"}']
    history += [item.model_dump(exclude_none=True) for item in response.output]
    answers = zip(calls, ("sun in Paris", "rain in Oslo"), strict=True)
    history += [{"type": "function_call_output", "call_id": call.call_id, "output": text} for call, text in answers]
    assert ask().output_text == "Paris is sunny, Oslo is wet."


@pytest.mark.parametrize("model", MODELS.values())
def test_errors_are_the_sdks_own(sdk: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.RateLimitError) as limited:
        sdk.responses.create(model=model, input="too many requests")
    assert limited.value.response.headers["retry-after"] == "7"
    with pytest.raises(openai.APIStatusError) as broken:
        sdk.responses.create(model=model, input="break inside")
    assert broken.value.status_code == 502
    with pytest.raises(openai.BadRequestError) as refused:
        sdk.responses.create(model=model, input="hello", previous_response_id="resp_1")
    assert refused.value.param == "previous_response_id"


CUT = [(MODELS["gemini"], "cut the stream"), (MODELS["openai"], "cut the stream"), (NATIVE, "cut the response")]


@pytest.mark.parametrize(("model", "words"), CUT)
def test_a_stream_that_is_cut_fails_in_its_own_terms(sdk: openai.OpenAI, model: str, words: str) -> None:
    with sdk.responses.with_streaming_response.create(model=model, input=words, stream=True) as reply:
        kinds = [line.removeprefix("event: ") for line in reply.iter_lines() if line.startswith("event: ")]
    assert kinds.count("response.created") == 1
    assert kinds[0] == "response.created"
    assert kinds[-2:] == ["error", "response.failed"]
    assert "response.output_text.delta" in kinds
    with pytest.raises(openai.APIError, match="before its reply was complete"):
        list(sdk.responses.create(model=model, input=words, stream=True))
    with pytest.raises(openai.APIError), sdk.responses.stream(model=model, input=words) as stream:
        list(stream)
