"""One token of an upstream: which model is asked, and what an answer or none means."""

from __future__ import annotations

import json

import pytest

from fkproxy.dialects.base import ModelEntry
from fkproxy.model.errors import UpstreamRejected, UpstreamUnavailable
from fkproxy.probe import NothingToAsk, models_to_ask, one_token
from tests.fakes.pipeline import Clock, ScriptedAdapter

ANSWER = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "length"}],
    }
).encode()


def adapter(*models: str, listed: tuple[str, ...] = ()) -> ScriptedAdapter:
    made = ScriptedAdapter(Clock(), "one", "openai_chat", models)
    made.listed = [ModelEntry(id=name, owned_by="one") for name in listed]
    return made


async def test_models_configured_by_name_come_first_then_listed_ones_that_are_routed_there() -> None:
    assert await models_to_ask(adapter("exact", "a-*", listed=("b-1", "a-1", "exact", "a-2", "a-3"))) == ["exact", "a-1", "a-2"]


async def test_a_model_that_embeds_is_not_asked_to_talk() -> None:
    embedder = adapter("*")
    embedder.listed = [ModelEntry(id="a", owned_by="one", embeds=True), ModelEntry(id="b", owned_by="one")]
    assert await models_to_ask(embedder) == ["b"]


async def test_the_first_model_that_answers_is_told_with_its_time() -> None:
    made = adapter("m")
    made.replies(ANSWER)
    model, took_ms = await one_token(made)
    assert model == "m"
    assert took_ms >= 0
    asked = json.loads(made.calls[0].body)
    assert (asked["model"], asked["messages"][0]["content"]) == ("m", "Hi")


async def test_a_rejected_model_is_no_verdict_while_there_is_another() -> None:
    made = adapter("first", "second")
    made.replies(b'{"error":{"message":"not for chat"}}', status=400)
    made.replies(ANSWER)
    assert (await one_token(made))[0] == "second"


async def test_when_all_are_rejected_that_is_the_answer() -> None:
    made = adapter("first")
    made.replies(b'{"error":{"message":"not for chat"}}', status=400)
    with pytest.raises(UpstreamRejected):
        await one_token(made)


async def test_any_other_failure_ends_it_at_once() -> None:
    made = adapter("first", "second")
    made.refuses(UpstreamUnavailable("refused"))
    with pytest.raises(UpstreamUnavailable):
        await one_token(made)
    assert len(made.calls) == 1


async def test_who_lists_nothing_cannot_be_asked() -> None:
    with pytest.raises(NothingToAsk):
        await one_token(adapter("*"))
