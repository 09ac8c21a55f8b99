"""Every vendor's unmodified package on every upstream dialect: a plain turn, a streamed one, one with two tools and what follows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from tests.e2e.codex_stage import MODEL, home_of, settings_of
from tests.e2e.conftest import gemini_settings
from tests.e2e.processes import KEY, Aimock, Service, service

HELLO = "Hello from behind the gateway."
QUESTION = "weather in two cities"
ANSWER = "Paris is sunny, Oslo is wet."
RESULTS = ("sun in Paris", "rain in Oslo")
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
MODELS = {
    "gemini": "gemini/gemini-2.5-flash",
    "openai_chat": "openai/gpt-4.1",
    "anthropic": "anthropic/claude-sonnet-4-5",
    "openai_responses": "openai/gpt-4.1",
    "codex": MODEL,
}


@pytest.fixture(scope="module")
def services(directory: Path, aimock: Aimock) -> Iterator[dict[str, Service]]:
    """One before all vendors, one before a server that speaks Responses and nothing else, one before the Codex CLI."""
    own = {"OPENAI_API_KEY": "sk-upstream-key", "OPENAI_BASE_URL": f"{aimock.url}/v1"}
    others = {"ANTHROPIC_API_KEY": "sk-ant-upstream-key", "ANTHROPIC_BASE_URL": aimock.url}
    with (
        service(directory, **gemini_settings(aimock.url), **own, **others) as all_of_them,
        service(directory, APP_AUTH__MASTER_KEY=KEY, APP_OPENAI__API="responses", APP_RATE_LIMIT__ENABLED="false", **own) as responses,
        service(directory, **settings_of(home_of(directory / "every-pair", f"{aimock.url}/v1"))) as codex,
    ):
        yield {**dict.fromkeys(MODELS, all_of_them), "openai_responses": responses, "codex": codex}


def chat(url: str, model: str) -> list[Any]:
    """[plain answer, streamed answer, arguments of the calls, answer to their results]"""
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as sdk:
        messages: list[Any] = [{"role": "user", "content": "hello"}]
        plain = sdk.chat.completions.create(model=model, messages=messages).choices[0].message.content
        stream = sdk.chat.completions.create(model=model, messages=messages, stream=True)
        streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
        tools: list[Any] = [{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}]
        history: list[Any] = [{"role": "user", "content": QUESTION}]
        message = sdk.chat.completions.create(model=model, messages=history, tools=tools).choices[0].message
        calls: Any = message.tool_calls or []
        history.append(message.model_dump(exclude_none=True))
        history += [{"role": "tool", "tool_call_id": call.id, "content": text} for call, text in zip(calls, RESULTS, strict=True)]
        last = sdk.chat.completions.create(model=model, messages=history, tools=tools).choices[0].message.content
    return [plain, streamed, [json.loads(call.function.arguments) for call in calls], last]


def responses(url: str, model: str) -> list[Any]:
    """See `chat`."""
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as sdk:
        plain = sdk.responses.create(model=model, input="hello").output_text
        with sdk.responses.stream(model=model, input="hello") as stream:
            streamed = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        tools: list[Any] = [{"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": False}]
        history: list[Any] = [{"role": "user", "content": QUESTION}]
        response = sdk.responses.create(model=model, input=history, tools=tools)
        calls: list[Any] = [item for item in response.output if item.type == "function_call"]
        history += [item.model_dump(exclude_none=True) for item in response.output]
        outputs = zip(calls, RESULTS, strict=True)
        history += [{"type": "function_call_output", "call_id": call.call_id, "output": text} for call, text in outputs]
        last = sdk.responses.create(model=model, input=history, tools=tools).output_text
    return [plain, streamed, [json.loads(call.arguments) for call in calls], last]


def messages(url: str, model: str) -> list[Any]:
    """See `chat`."""

    def said(message: anthropic.types.Message) -> str:
        return "".join(block.text for block in message.content if block.type == "text")

    with anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0) as sdk:
        hello: list[Any] = [{"role": "user", "content": "hello"}]
        plain = said(sdk.messages.create(model=model, max_tokens=500, messages=hello))
        with sdk.messages.stream(model=model, max_tokens=500, messages=hello) as stream:
            streamed = "".join(stream.text_stream)
        tools: list[Any] = [{"name": "get_weather", "input_schema": SCHEMA}]
        history: list[Any] = [{"role": "user", "content": QUESTION}]
        message = sdk.messages.create(model=model, max_tokens=500, messages=history, tools=tools)
        calls = [block for block in message.content if block.type == "tool_use"]
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": text} for call, text in zip(calls, RESULTS, strict=True)]
        history += [message.to_param(), {"role": "user", "content": results}]
        last = said(sdk.messages.create(model=model, max_tokens=500, messages=history, tools=tools))
    return [plain, streamed, [call.input for call in calls], last]


def contents(url: str, model: str) -> list[Any]:
    """See `chat`."""
    with genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=url)) as sdk:
        plain = sdk.models.generate_content(model=model, contents="hello").text
        streamed = "".join(chunk.text or "" for chunk in sdk.models.generate_content_stream(model=model, contents="hello"))
        declaration = types.FunctionDeclaration(name="get_weather", parameters_json_schema=SCHEMA)
        off = types.AutomaticFunctionCallingConfig(disable=True)
        config = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[declaration])], automatic_function_calling=off)
        history: list[Any] = [types.Content(role="user", parts=[types.Part(text=QUESTION)])]
        reply = sdk.models.generate_content(model=model, contents=history, config=config)
        assert reply.candidates
        calls = reply.function_calls or []
        answers = [
            types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"output": text}))
            for call, text in zip(calls, RESULTS, strict=True)
        ]
        history += [reply.candidates[0].content, types.Content(role="user", parts=answers)]
        last = sdk.models.generate_content(model=model, contents=history, config=config).text
    return [plain, streamed, [call.args for call in calls], last]


# The fake says FUNCTION_CALL where Gemini says STOP; at home that passes through.
@pytest.mark.filterwarnings("ignore:FUNCTION_CALL is not a valid FinishReason")
@pytest.mark.parametrize("upstream", MODELS)
@pytest.mark.parametrize("client", [chat, responses, messages, contents], ids=lambda client: client.__name__)
def test_a_package_does_its_turns_on_an_upstream(services: dict[str, Service], client: Any, upstream: str) -> None:
    expected = [HELLO, HELLO, [{"city": "Paris"}, {"city": "Oslo"}], ANSWER]
    assert client(services[upstream].url, MODELS[upstream]) == expected
