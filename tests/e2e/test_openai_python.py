"""The unmodified `openai` package, the built file, and a third party's Gemini API and Vertex AI behind it."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel

from tests.e2e.conftest import GEMINI_KEY
from tests.e2e.processes import KEY, Aimock, Service, TokenEndpoint

MODEL = "gemini-2.5-flash"
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


def client(service: Service, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=service.v1, api_key=KEY, max_retries=0, **options)


def say(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


def test_a_plain_answer_with_its_usage(google_service: Service) -> None:
    with client(google_service) as sdk:
        reply = sdk.chat.completions.create(model=MODEL, messages=[{"role": "system", "content": "be brief"}, *say("hello")])
    assert reply.choices[0].message.content == "Hello from behind the gateway."
    assert reply.choices[0].finish_reason == "stop"
    assert reply.model == MODEL
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens) == (11, 6, 17)


def test_the_credential_travels_in_a_header_and_never_in_an_address(
    gemini_service: Service, vertex_service: Service, aimock: Aimock, token_endpoint: TokenEndpoint
) -> None:
    for service, header, value in (
        (gemini_service, "x-goog-api-key", GEMINI_KEY),
        (vertex_service, "authorization", f"Bearer {token_endpoint.token}"),
    ):
        with client(service) as sdk:
            sdk.chat.completions.create(model=MODEL, messages=say("hello"))
        sent = aimock.last()
        # The journal masks what it takes for a secret; that the header is there, and is not the client's, still shows.
        assert sent["headers"].get(header) in (value, "[REDACTED]")
        assert GEMINI_KEY not in sent["path"]
        assert KEY not in json.dumps(sent)
    assert "/projects/project-of-the-tests/locations/europe-west4/publishers/google/models/" in sent["path"]
    assert len(token_endpoint.grants) == 1


def test_a_stream_in_the_exact_grammar(google_service: Service) -> None:
    with client(google_service) as sdk:
        chunks = list(sdk.chat.completions.create(model=MODEL, messages=say("hello"), stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hello from behind the gateway."
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason] == ["stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 17
    assert len({chunk.id for chunk in chunks}) == 1


def test_no_usage_chunk_for_a_client_that_did_not_ask(gemini_service: Service) -> None:
    with client(gemini_service) as sdk:
        chunks = list(sdk.chat.completions.create(model=MODEL, messages=say("hello"), stream=True))
    assert all(chunk.choices for chunk in chunks)
    assert all(chunk.usage is None for chunk in chunks)


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_round_trip_with_two_parallel_calls(google_service: Service, aimock: Aimock, stream: bool) -> None:
    history = say("weather in two cities")
    with client(google_service) as sdk:
        if stream:
            with sdk.chat.completions.stream(model=MODEL, messages=history, tools=[WEATHER]) as events:
                for _ in events:
                    pass
                message = events.get_final_completion().choices[0].message
        else:
            choice = sdk.chat.completions.create(model=MODEL, messages=history, tools=[WEATHER]).choices[0]
            assert choice.finish_reason == "tool_calls"
            message = choice.message
        calls = message.tool_calls or []
        arguments = [json.loads(call.function.arguments) for call in calls if call.type == "function"]
        assert arguments == [{"city": "Paris"}, {"city": "Oslo"}]
        assert len({call.id for call in calls}) == 2
        history.append(message.model_dump(exclude_none=True, exclude={"parsed"}))  # type: ignore[arg-type]  # as every SDK user does
        # Answered in the other order, which is the client's right.
        history.append({"role": "tool", "tool_call_id": calls[1].id, "content": "rain in Oslo"})
        history.append({"role": "tool", "tool_call_id": calls[0].id, "content": '{"sky": "sunny"}'})
        reply = sdk.chat.completions.create(model=MODEL, messages=history, tools=[WEATHER])
    assert reply.choices[0].message.content == "Paris is sunny, Oslo is wet."
    asked = [m for m in aimock.last()["body"]["messages"] if m["role"] == "tool"]
    assert [json.loads(m["content"]) for m in asked] == [{"sky": "sunny"}, {"result": "rain in Oslo"}]


def test_an_image(google_service: Service) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"\0\xff\0\0")
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    url = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    content: Any = [{"type": "text", "text": "what is in this picture"}, {"type": "image_url", "image_url": {"url": url}}]
    with client(google_service) as sdk:
        reply = sdk.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": content}])
    assert reply.choices[0].message.content == "A red pixel."


class City(BaseModel):
    city: str
    population: int


def test_a_json_schema_through_the_sdks_own_parser(google_service: Service) -> None:
    with client(google_service) as sdk:
        reply = sdk.chat.completions.parse(model=MODEL, messages=say("answer as JSON"), response_format=City)
    assert reply.choices[0].message.parsed == City(city="Paris", population=2_100_000)


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_have_their_own_place(google_service: Service, stream: bool) -> None:
    with client(google_service) as sdk:
        if stream:
            chunks = list(sdk.chat.completions.create(model=MODEL, messages=say("think first"), reasoning_effort="low", stream=True))
            deltas = [chunk.choices[0].delta for chunk in chunks]
            thought = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
            text = "".join(delta.content or "" for delta in deltas)
        else:
            message = sdk.chat.completions.create(model=MODEL, messages=say("think first"), reasoning_effort="low").choices[0].message
            thought, text = getattr(message, "reasoning_content", ""), message.content or ""
    assert (thought, text) == ("Two and two are four.", "Four.")


def test_a_rate_limit_keeps_its_retry_after(google_service: Service) -> None:
    with client(google_service) as sdk, pytest.raises(openai.RateLimitError) as caught:
        sdk.chat.completions.create(model=MODEL, messages=say("too many requests"))
    assert caught.value.response.headers["retry-after"] == "7"
    assert caught.value.code == "upstream_rate_limited"


def test_a_failing_upstream_is_a_bad_gateway(google_service: Service) -> None:
    with client(google_service) as sdk, pytest.raises(openai.InternalServerError) as caught:
        sdk.chat.completions.create(model=MODEL, messages=say("break inside"))
    assert caught.value.status_code == 502
    assert caught.value.code == "upstream_error"


@pytest.mark.parametrize("stream", [False, True])
def test_a_silent_upstream_is_given_up_at_the_deadline(impatient_service: Service, stream: bool) -> None:
    with client(impatient_service) as sdk, pytest.raises(openai.InternalServerError) as caught:
        sdk.chat.completions.create(model=MODEL, messages=say("say nothing"), stream=stream)
    assert caught.value.status_code == 504
    assert caught.value.code == "timeout"


def test_a_stream_cut_in_the_middle_is_an_error_and_not_an_end(google_service: Service) -> None:
    seen: list[str] = []
    with client(google_service) as sdk:
        chunks = sdk.chat.completions.create(model=MODEL, messages=say("cut the stream"), stream=True)
        with pytest.raises(openai.APIError) as caught:
            seen.extend(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert "".join(seen)
    assert "".join(seen) in "This sentence is never going to reach its end, because the line is cut."
    assert not isinstance(caught.value, openai.APIStatusError)


def test_a_wrong_key_and_an_unknown_model_say_so_in_the_sdks_own_errors(gemini_service: Service) -> None:
    wrong = openai.OpenAI(base_url=gemini_service.v1, api_key="sk-wrong", max_retries=0)
    with wrong, pytest.raises(openai.AuthenticationError) as refused:
        wrong.chat.completions.create(model=MODEL, messages=say("hello"))
    assert refused.value.code == "invalid_api_key"
    with client(gemini_service) as sdk, pytest.raises(openai.NotFoundError) as missing:
        sdk.chat.completions.create(model="gpt-nobody-serves", messages=say("hello"))
    assert missing.value.code == "model_not_found"


def test_the_model_list_through_the_sdk(vertex_service: Service) -> None:
    with client(vertex_service) as sdk:
        names = [model.id for model in sdk.models.list()]
        assert MODEL in names
        assert sdk.models.retrieve(MODEL).id == MODEL


@pytest.mark.parametrize("deployment", [None, MODEL, f"gemini/{MODEL}"])
def test_the_client_for_azure(gemini_service: Service, deployment: str | None) -> None:
    def azure(key: str) -> openai.AzureOpenAI:
        return openai.AzureOpenAI(
            azure_endpoint=gemini_service.url, azure_deployment=deployment, api_key=key, api_version="2024-10-21", max_retries=0
        )

    model = MODEL if deployment is None else "whatever the deployment is called"
    with azure(KEY) as sdk:
        reply = sdk.chat.completions.create(model=model, messages=say("hello"))
        assert reply.choices[0].message.content == "Hello from behind the gateway."
        chunks = list(sdk.chat.completions.create(model=model, messages=say("hello"), stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hello from behind the gateway."
        assert sdk.responses.create(model=MODEL, input="hello", store=False).output_text == "Hello from behind the gateway."
        with pytest.raises(openai.RateLimitError):
            sdk.chat.completions.create(model=model, messages=say("too many requests"))
    with azure("wrong") as sdk, pytest.raises(openai.AuthenticationError):
        sdk.chat.completions.create(model=model, messages=say("hello"))
