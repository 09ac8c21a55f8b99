"""How much to think, said in the model's name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.model.request import ReasoningConfig
from fkproxy.suffix import described, split_suffix
from tests.fakes.pipeline import Bench


@pytest.mark.parametrize(
    ("model", "name", "effort", "budget"),
    [
        ("m(high)", "m", "high", None),
        ("m( XHigh )", "m", "xhigh", None),
        ("m(none)", "m", "none", None),
        ("m(0)", "m", "none", None),
        ("m(8192)", "m", None, 8192),
        ("m(auto)", "m", None, -1),
        ("m(-1)", "m", None, -1),
        ("p/m(a)(low)", "p/m(a)", "low", None),
    ],
)
def test_a_suffix(model: str, name: str, effort: Any, budget: int | None) -> None:
    assert split_suffix(model) == (name, ReasoningConfig(effort=effort, budget_tokens=budget))


@pytest.mark.parametrize("model", ["m", "m(preview)", "m()", "(high)", "m(high", "m high)", "m(12345678)", "m(٣)", ""])
def test_what_is_none_belongs_to_the_name(model: str) -> None:
    assert split_suffix(model) == (model, None)


def test_words_for_the_log() -> None:
    assert described(ReasoningConfig(effort="low")) == "effort low"
    assert described(ReasoningConfig(budget_tokens=-1)) == "budget -1"


CHAT = {"messages": [{"role": "user", "content": "x"}], "reasoning_effort": "low", "custom": [1.0]}
MESSAGES = {
    "max_tokens": 20000,
    "messages": [{"role": "user", "content": "x"}],
    "temperature": 0.5,
    "output_config": {"effort": "low", "x": 1},
}
CONTENTS = {"contents": [{"parts": [{"text": "x"}]}], "generationConfig": {"topK": 3, "thinkingConfig": {"thinkingBudget": 5}}}


@pytest.mark.parametrize(
    ("dialect", "body", "model", "expected", "applied"),
    [
        ("openai_chat", CHAT, "gpt-x(high)", {**CHAT, "model": "gpt-x", "reasoning_effort": "high"}, "effort high"),
        ("openai_chat", CHAT, "gpt-x(4000)", {**CHAT, "model": "gpt-x", "reasoning_effort": "medium"}, "effort medium"),
        (
            "anthropic",
            MESSAGES,
            "claude-sonnet-4-5(8192)",
            {
                "max_tokens": 20000,
                "messages": MESSAGES["messages"],
                "model": "claude-sonnet-4-5",
                "output_config": {"x": 1},
                "thinking": {"type": "enabled", "budget_tokens": 8192},
            },
            "budget 8192",
        ),
        (
            "gemini",
            CONTENTS,
            "gemini-2.5-flash(none)",
            {"contents": CONTENTS["contents"], "generationConfig": {"topK": 3, "thinkingConfig": {"thinkingBudget": 0}}},
            "budget 0",
        ),
    ],
)
async def test_at_home_it_stands_in_the_body_and_in_the_record(
    dialect: str, body: dict[str, Any], model: str, expected: dict[str, Any], applied: str
) -> None:
    bench = Bench((dialect, dialect))
    bench.adapters[0].replies(b"{}", status=400)
    fields: dict[str, Any] = {"target": f"{model}:generateContent"} if dialect == "gemini" else {}
    await bench.send(json.dumps(body if dialect == "gemini" else {"model": model, **body}).encode(), dialect, **fields)
    (call,) = bench.adapters[0].calls
    assert (json.loads(call.body), call.model) == (expected, model.partition("(")[0])
    assert bench.record.reasoning_requested == described(split_suffix(model)[1] or ReasoningConfig())
    assert bench.record.reasoning_applied == applied


@pytest.mark.parametrize(
    ("model", "requested", "applied"),
    [
        ("gemini-2.5-pro(high)", "effort high", "budget 24576"),
        ("gemini-2.5-pro", "effort low", "budget 1024"),
        ("gemini-3-pro(2000)", "budget 2000", "level high"),
        ("gemini-2.0-flash", "effort low", None),
    ],
)
async def test_abroad_both_values_are_in_the_record(model: str, requested: str, applied: str | None) -> None:
    bench = Bench(("g", "gemini"))
    bench.adapters[0].replies(b"{}", status=400)
    await bench.send(json.dumps({"model": model, "messages": CHAT["messages"], "reasoning_effort": "low"}).encode())
    assert (bench.record.reasoning_requested, bench.record.reasoning_applied) == (requested, applied)


async def test_without_a_word_about_it_nothing_is_recorded() -> None:
    bench = Bench(("o", "openai_chat"))
    bench.adapters[0].replies(b"{}", status=400)
    await bench.send(json.dumps({"model": "m", "messages": [{"role": "user", "content": 'the "reasoning" of it'}]}).encode())
    assert (bench.record.reasoning_requested, bench.record.reasoning_applied) == (None, None)


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("openai_chat", {"reasoning_effort": "canary"}),
        ("openai_chat", {"reasoning": {"effort": "canary"}}),
        ("anthropic", {"thinking": {"type": "canary"}, "output_config": {"effort": "canary"}}),
        ("gemini", {"generationConfig": {"thinkingConfig": {"thinkingLevel": "canary"}}}),
    ],
)
async def test_only_words_of_the_field_are_recorded(dialect: str, body: dict[str, Any]) -> None:
    bench = Bench((dialect, dialect))
    bench.adapters[0].replies(b"{}", status=400)
    fields: dict[str, Any] = {"target": "m:generateContent"} if dialect == "gemini" else {}
    await bench.send(json.dumps({"model": "m", **body}).encode(), dialect, **fields)
    assert "other" in str(bench.record.reasoning_requested)
    assert "canary" not in str(bench.record)
