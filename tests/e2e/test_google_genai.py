"""The unmodified `google-genai` package against the built file: passed through, and translated for a server of another dialect."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from google import genai
from google.genai import errors, types
from google.oauth2.credentials import Credentials

from tests.e2e.processes import KEY, Aimock, Service, service

MODEL = "gemini-2.5-flash"


@pytest.fixture(scope="module")
def compatible_service(directory: Path, aimock: Aimock) -> Iterator[Service]:
    settings = {"APP_AUTH__MASTER_KEY": KEY, "OPENAI_API_KEY": "sk-upstream-key", "OPENAI_BASE_URL": f"{aimock.url}/v1"}
    with service(directory, **settings) as running:
        yield running


def client_of(running: Service, mode: str, key: str = KEY) -> genai.Client:
    """As for the Gemini API, or as for Vertex AI: with a key, which it calls express mode, or with a project and a token."""
    options = types.HttpOptions(base_url=running.url)
    match mode:
        case "express":
            return genai.Client(vertexai=True, api_key=key, http_options=options)
        case "project":
            token = Credentials(key)  # type: ignore[no-untyped-call]  # the library's own
            return genai.Client(vertexai=True, project="p", location="us-central1", credentials=token, http_options=options)
    return genai.Client(api_key=key, vertexai=False, http_options=options)


MODES = ["gemini", "express", "project"]


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["gemini_service", "compatible_service"])
def sdk(request: pytest.FixtureRequest, mode: str) -> Iterator[genai.Client]:
    running: Service = request.getfixturevalue(request.param)
    client = client_of(running, mode)
    yield client
    client.close()


def test_a_plain_answer(sdk: genai.Client) -> None:
    reply = sdk.models.generate_content(model=MODEL, contents="hello", config=types.GenerateContentConfig(system_instruction="be brief"))
    assert reply.text == "Hello from behind the gateway."
    assert reply.usage_metadata is not None
    assert reply.usage_metadata.total_token_count == 17


def test_a_stream(sdk: genai.Client) -> None:
    pieces = list(sdk.models.generate_content_stream(model=MODEL, contents="hello"))
    text = "".join(part.text or "" for piece in pieces for part in piece.parts or ())
    assert text == "Hello from behind the gateway."
    assert pieces[-1].candidates is not None
    assert pieces[-1].candidates[0].finish_reason == types.FinishReason.STOP


@pytest.mark.filterwarnings("ignore:FUNCTION_CALL is not a valid FinishReason")  # the fake's own word, passed through
def test_a_tool_round_trip(sdk: genai.Client) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = types.Tool(function_declarations=[types.FunctionDeclaration(name="get_weather", parameters_json_schema=schema)])
    config = types.GenerateContentConfig(tools=[tool])
    asked: list[types.ContentUnionDict] = [types.UserContent("weather in two cities")]
    reply = sdk.models.generate_content(model=MODEL, contents=asked, config=config)
    calls = reply.function_calls or []
    assert [call.args for call in calls] == [{"city": "Paris"}, {"city": "Oslo"}]
    assert reply.candidates is not None
    assert reply.candidates[0].content is not None
    results = [
        types.Part(function_response=types.FunctionResponse(id=call.id, name="get_weather", response={"result": said}))
        for call, said in zip(calls, ("sun in Paris", "rain in Oslo"), strict=True)
    ]
    reply = sdk.models.generate_content(
        model=MODEL, contents=[*asked, reply.candidates[0].content, types.Content(role="user", parts=results)], config=config
    )
    assert reply.text == "Paris is sunny, Oslo is wet."


def test_errors_are_the_sdks_own(sdk: genai.Client) -> None:
    with pytest.raises(errors.ClientError) as limited:
        sdk.models.generate_content(model=MODEL, contents="too many requests")
    assert (limited.value.code, limited.value.status) == (429, "RESOURCE_EXHAUSTED")
    with pytest.raises(errors.ServerError) as failed:
        sdk.models.generate_content(model=MODEL, contents="break inside")
    assert failed.value.code == 502


def test_a_count_of_tokens(compatible_service: Service, mode: str) -> None:
    client = client_of(compatible_service, mode)
    config = None if mode == "gemini" else types.CountTokensConfig(system_instruction="be brief")
    assert (client.models.count_tokens(model=MODEL, contents="hello", config=config).total_tokens or 0) > 0
    client.close()


def test_a_model_of_a_named_provider(gemini_service: Service, mode: str) -> None:
    client = client_of(gemini_service, mode)
    named = f"{'models' if mode == 'gemini' else 'publishers/google/models'}/gemini/{MODEL}"
    assert client.models.generate_content(model=named, contents="hello").text == "Hello from behind the gateway."
    client.close()


@pytest.mark.parametrize("mode", ["express", "project"])
def test_what_vertex_ai_has_besides_is_refused_in_its_words(gemini_service: Service, mode: str) -> None:
    client = client_of(gemini_service, mode)
    with pytest.raises(errors.ClientError) as refused:
        client.models.embed_content(model="text-embedding-005", contents="hello")
    assert (refused.value.code, refused.value.status) == (400, "INVALID_ARGUMENT")
    with pytest.raises(errors.ClientError) as missing:
        client.caches.create(model=MODEL, config=types.CreateCachedContentConfig(contents="hello"))
    assert (missing.value.code, missing.value.status) == (404, "NOT_FOUND")
    client.close()


def test_a_wrong_key(gemini_service: Service, mode: str) -> None:
    client = client_of(gemini_service, mode, "wrong")
    with pytest.raises(errors.ClientError) as refused:
        client.models.generate_content(model=MODEL, contents="hello")
    assert (refused.value.code, refused.value.status) == (401, "UNAUTHENTICATED")
    client.close()


def test_the_model_list(compatible_service: Service) -> None:
    client = genai.Client(api_key=KEY, vertexai=False, http_options=types.HttpOptions(base_url=compatible_service.url))
    assert all(model.name and model.name.startswith("models/") for model in client.models.list())
    client.close()
