"""Requests of other dialects to OpenAI's models that think, and to those that do not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.openai_models import drop_sampling, takes_stop, thinks
from fkproxy.model.errors import Unrepresentable
from fkproxy.model.parts import Message, Text
from fkproxy.model.request import ChatRequest, Loss, ReasoningConfig, Sampling

HELLO = Message(role="user", parts=(Text(text="hello"),), extra={"$items": []})


def encode(target: str, model: str, client: str = "anthropic", **sampling: Any) -> tuple[dict[str, Any], list[str]]:
    """(what is said of the sampling, losses)."""
    request = ChatRequest(dialect=client, model="m", messages=(HELLO,), sampling=Sampling(**sampling))
    found = DIALECTS[target].encode_request(request, model)
    body = json.loads(found.body)
    return {name: body[name] for name in sampling if name in body}, [f"{loss.field} {loss.action}" for loss in found.losses]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("o1", True),
        ("o4-mini", True),
        ("gpt-5", True),
        ("openai/GPT-5.1-mini", True),
        ("gpt-6-astra", True),
        ("codex-mini-latest", True),
        ("gpt-5-chat-latest", False),
        ("ft:o4-mini-2025-04-16:us::abc", True),
        ("gpt-4.1", False),
        ("gpt-oss-120b", False),
        ("llama-3", False),
    ],
)
def test_which_models_think(model: str, expected: bool) -> None:
    assert thinks(model) is expected


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("o1", True),
        ("o3-mini", True),
        ("o3", False),
        ("o3-pro", False),
        ("o4-mini", False),
        ("openai/gpt-5", False),
        ("gpt-5-nano", False),
        ("gpt-5.4-2026-03-05", False),
        ("gpt-5.5", True),
        ("gpt-5-chat-latest", True),
        ("gpt-4.1", True),
        ("llama-3", True),
    ],
)
def test_which_models_stop_at_a_word(model: str, expected: bool) -> None:
    assert takes_stop(model) is expected


@pytest.mark.parametrize(
    ("model", "asked", "told"),
    [
        ("gpt-4.1", 64_000, 32_768),
        ("openai/gpt-4.1-mini", 32_768, 32_768),
        ("gpt-4o-mini", 32_000, 16_384),
        ("ft:gpt-4o-mini-2024-07-18:us::abc", 32_000, 16_384),
        ("gpt-4o-2024-05-13", 32_000, 4_096),
        ("gpt-4-1106-preview", 32_000, 4_096),
        ("gpt-5.2-chat-latest", 32_000, 16_384),
        ("o4-mini", 128_000, 100_000),
        ("gpt-5", 128_000, 128_000),
        ("llama-3", 128_000, 128_000),
    ],
)
@pytest.mark.parametrize("target", ["openai_chat", "openai_responses"])
def test_an_answer_is_no_longer_than_the_model_gives(target: str, model: str, asked: int, told: int) -> None:
    def limit(client: str) -> tuple[int, list[str]]:
        request = ChatRequest(dialect=client, model="m", messages=(HELLO,), sampling=Sampling(max_output_tokens=asked))
        found = DIALECTS[target].encode_request(request, model)
        (limit,) = (value for name, value in json.loads(found.body).items() if name.startswith("max_"))
        return limit, [f"{loss.field} {loss.action}" for loss in found.losses]

    assert limit("anthropic") == (told, ["max_tokens converted"] if told < asked else [])
    assert limit(target) == (asked, [])


def test_what_is_the_default_anyway_is_no_loss() -> None:
    losses: list[Loss] = []
    values = {"temperature": 1, "top_p": 1.0, "presence_penalty": 0, "logprobs": False, "seed": 7, "logit_bias": None}
    drop_sampling(values, losses)
    assert (values, losses) == ({"seed": 7}, [])


SAMPLING = {"temperature": 0, "top_p": 0.95, "presence_penalty": 0.5, "logprobs": True, "top_logprobs": 2, "logit_bias": {"1": -5}}


@pytest.mark.parametrize("target", ["openai_chat", "openai_responses"])
def test_a_model_that_thinks_is_told_nothing_of_sampling(target: str) -> None:
    said, losses = encode(target, "gpt-5", **SAMPLING)
    assert said == {}
    assert sorted(losses) == sorted(f"{name} dropped" for name in SAMPLING)


def test_other_models_and_own_clients_say_it() -> None:
    assert encode("openai_chat", "gpt-4.1", **SAMPLING) == (SAMPLING, [])
    assert encode("openai_chat", "gpt-5", client="openai_chat", stop=("END",), **SAMPLING) == ({"stop": ["END"], **SAMPLING}, [])


def test_a_stop_sequence_that_the_model_refuses_is_refused_here() -> None:
    with pytest.raises(Unrepresentable) as caught:
        encode("openai_chat", "gpt-5", stop=("END",))
    assert caught.value.param == "stop"
    assert encode("openai_chat", "gpt-5.5", stop=("END",)) == ({"stop": ["END"]}, [])


@pytest.mark.parametrize(
    ("model", "asked", "told", "lost"),
    [
        ("gpt-5", {"effort": "none"}, "minimal", ["reasoning.effort converted"]),
        ("o3", {"effort": "xhigh"}, "high", ["reasoning.effort converted"]),
        ("gpt-5", {"effort": "low"}, "low", []),
        ("gpt-5", {"budget_tokens": 8192}, "medium", ["reasoning.budget_tokens converted"]),
        ("gpt-5", {"budget_tokens": -1}, None, []),
        ("gpt-4o", {"effort": "high"}, None, ["reasoning dropped"]),
        ("gpt-4o", {"effort": "none"}, None, []),
        ("llama-3", {"effort": "none"}, "none", []),
    ],
)
@pytest.mark.parametrize("target", ["openai_chat", "openai_responses"])
def test_a_body_that_passes_is_told_an_effort_that_the_model_takes(target: str, model: str, asked: Any, told: Any, lost: list[str]) -> None:
    body = json.dumps({"model": "m", "reasoning": {"effort": "max"}}).encode()
    found = DIALECTS[target].apply_reasoning(body, ReasoningConfig(**asked), model)
    said = json.loads(found.body)
    assert (said.get("reasoning_effort") if target == "openai_chat" else said.get("reasoning", {}).get("effort")) == told
    assert [f"{loss.field} {loss.action}" for loss in found.losses] == lost


@pytest.mark.parametrize(
    ("model", "asked", "told", "lost"),
    [
        ("o4-mini", "none", {"effort": "low"}, ["reasoning.effort converted"]),
        ("gpt-5", "none", {"effort": "minimal"}, ["reasoning.effort converted"]),
        ("gpt-5", "max", {"effort": "high", "summary": "auto"}, ["reasoning.effort converted"]),
        ("openai/gpt-5.1", "minimal", {"effort": "low", "summary": "auto"}, ["reasoning.effort converted"]),
        ("gpt-5.1", "none", {"effort": "none"}, []),
        ("gpt-5.4", "max", {"effort": "xhigh", "summary": "auto"}, ["reasoning.effort converted"]),
        ("gpt-5.6-sol", "max", {"effort": "max", "summary": "auto"}, []),
        ("codex-mini-latest", "max", {"effort": "high", "summary": "auto"}, ["reasoning.effort converted"]),
        ("gpt-6-astra", "none", {"effort": "low"}, ["reasoning.effort converted"]),
        ("gpt-4.1", "high", None, ["reasoning dropped"]),
    ],
)
def test_effort_is_what_the_model_takes_over_responses_too(model: str, asked: Any, told: Any, lost: list[str]) -> None:
    request = ChatRequest(dialect="anthropic", model="m", messages=(HELLO,), reasoning=ReasoningConfig(effort=asked))
    found = DIALECTS["openai_responses"].encode_request(request, model)
    assert json.loads(found.body).get("reasoning") == told
    assert [f"{loss.field} {loss.action}" for loss in found.losses] == lost
