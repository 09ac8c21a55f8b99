"""Thinking over three turns: the signatures that Gemini insists on come back, whatever the client keeps of what it was sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.conftest import gemini_settings
from tests.e2e.processes import KEY, Service, service
from tests.fakes.signing_gemini import SigningGemini

MODEL = "gemini-3-pro-preview"
TOOLS: Any = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {"country": {"type": "string"}}}}}
    for name in ("find_city", "find_river", "distance")
]


@pytest.fixture(scope="module")
def upstream() -> Iterator[SigningGemini]:
    running = SigningGemini()
    yield running
    running.close()


@pytest.fixture(scope="module")
def signing_service(directory: Path, upstream: SigningGemini) -> Iterator[Service]:
    with service(directory, **gemini_settings(upstream.url)) as running:
        yield running


def as_the_sdk_gives_it(message: dict[str, Any]) -> dict[str, Any]:
    return message


def as_a_strict_client_rebuilds_it(message: dict[str, Any]) -> dict[str, Any]:
    calls = [{key: call[key] for key in ("id", "type", "function")} for call in message["tool_calls"]]
    return {"role": "assistant", "content": message.get("content"), "tool_calls": calls}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("keep", [as_the_sdk_gives_it, as_a_strict_client_rebuilds_it])
def test_three_turns_with_signatures(
    signing_service: Service, upstream: SigningGemini, keep: Callable[[dict[str, Any]], dict[str, Any]], stream: bool
) -> None:
    history: list[Any] = [{"role": "user", "content": "How far is the capital from its river?"}]
    names: list[list[str]] = []
    with openai.OpenAI(base_url=signing_service.v1, api_key=KEY, max_retries=0) as sdk:
        for _ in range(3):
            asked: Any = {"model": MODEL, "messages": history, "tools": TOOLS, "reasoning_effort": "high"}
            if stream:
                with sdk.chat.completions.stream(**asked, stream_options={"include_usage": True}) as events:
                    for _event in events:
                        pass
                    reply = events.get_final_completion()
            else:
                reply = sdk.chat.completions.create(**asked)
            message = reply.choices[0].message.model_dump(exclude_none=True, exclude={"parsed"})
            usage = reply.usage
            assert usage is not None
            assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (50, 17, 67)
            assert usage.completion_tokens_details is not None
            assert usage.completion_tokens_details.reasoning_tokens == 7
            assert usage.prompt_tokens_details is not None
            assert usage.prompt_tokens_details.cached_tokens == 20
            if not message.get("tool_calls"):
                break
            names.append([call["function"]["name"] for call in message["tool_calls"]])
            history.append(keep(message))
            history += [{"role": "tool", "tool_call_id": call["id"], "content": "0 km"} for call in message["tool_calls"]]
    assert names == [["find_city", "find_river"], ["distance"]]
    assert message["content"] == "Nought kilometres."
    assert upstream.refusals == []
    assert upstream.requests[-1]["generationConfig"]["thinkingConfig"] == {"thinkingLevel": "high", "includeThoughts": True}


def test_the_fake_does_refuse_a_turn_without_its_signature(upstream: SigningGemini) -> None:
    call = {"functionCall": {"name": "find_city", "args": {}}}
    answer = {"functionResponse": {"name": "find_city", "response": {"result": "x"}}}
    contents = [{"role": "user", "parts": [{"text": "x"}]}, {"role": "model", "parts": [call]}, {"role": "user", "parts": [answer]}]
    status, _ = upstream.answer({"contents": contents})
    assert status == 400
    assert upstream.refusals.pop().startswith("Function call is missing a thought_signature")
