"""How much to think, for every kind of model."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects import DIALECTS
from fkproxy.dialects.anthropic.models import traits_of
from fkproxy.dialects.anthropic.thinking import encode_thinking
from fkproxy.model.errors import InvalidRequest
from fkproxy.model.request import Loss, ReasoningConfig

SHOWN = {"type": "adaptive", "display": "summarized"}
BUDGET = {"type": "enabled", "budget_tokens": 1024}


def asked(model: str, max_tokens: int | None = None, **config: Any) -> Any:
    """(thinking, effort, losses)."""
    losses: list[Loss] = []
    thinking, effort = encode_thinking(ReasoningConfig(**config), traits_of(model), max_tokens, losses)
    return thinking, effort, [f"{loss.field} {loss.action}" for loss in losses]


@pytest.mark.parametrize(
    ("model", "config", "expected"),
    [
        # a budget
        ("claude-sonnet-4-5", {"effort": "medium"}, ({"type": "enabled", "budget_tokens": 8192}, None, [])),
        ("claude-opus-4-1-20250805", {"budget_tokens": 10}, ({"type": "enabled", "budget_tokens": 1024}, None, [])),
        ("claude-3-7-sonnet-20250219", {"budget_tokens": -1}, ({"type": "enabled", "budget_tokens": 8192}, None, [])),
        (
            "claude-haiku-4-5",
            {"effort": "low", "include_thoughts": False},
            ({"type": "enabled", "budget_tokens": 1024, "display": "omitted"}, None, []),
        ),
        (
            "claude-opus-4-20250514",
            {"effort": "max"},
            ({"type": "enabled", "budget_tokens": 27904}, None, ["reasoning.budget_tokens converted"]),
        ),
        ("claude-opus-4-5", {"effort": "none"}, (None, None, [])),
        # an effort
        ("claude-opus-4-6", {"effort": "medium"}, (SHOWN, "medium", [])),
        ("claude-opus-4-6", {"effort": "max"}, (SHOWN, "max", [])),
        ("claude-opus-4-6", {"effort": "xhigh"}, (SHOWN, "high", ["reasoning.effort converted"])),
        ("claude-opus-4-7", {"effort": "xhigh"}, (SHOWN, "xhigh", [])),
        ("claude-sonnet-5", {"effort": "minimal"}, (SHOWN, "low", [])),
        ("claude-haiku-5-5", {"budget_tokens": 8000}, (SHOWN, "medium", ["reasoning.budget_tokens converted"])),
        ("claude-opus-5", {"budget_tokens": 31999}, (SHOWN, "high", ["reasoning.budget_tokens converted"])),
        ("claude-fable-5", {"budget_tokens": -1, "include_thoughts": False}, ({"type": "adaptive", "display": "omitted"}, None, [])),
        # off
        ("claude-opus-4-7", {"effort": "none"}, (None, None, [])),
        ("claude-opus-5", {"effort": "none"}, ({"type": "disabled"}, None, [])),
        ("claude-haiku-5-5", {"budget_tokens": 0}, ({"type": "disabled"}, None, [])),
        ("claude-sonnet-5-5", {"effort": "none"}, ({"type": "between_tools"}, None, [])),
        ("claude-opus-5-5", {"effort": "none"}, (None, "low", ["reasoning.effort converted"])),
        ("claude-mythos-preview", {"effort": "none"}, (None, "low", ["reasoning.effort converted"])),
        # never
        ("claude-3-5-haiku-20241022", {"effort": "high"}, (None, None, ["reasoning dropped"])),
        ("claude-3-5-haiku-20241022", {"effort": "none"}, (None, None, [])),
        # of another house
        (
            "deepseek-reasoner",
            {"effort": "medium"},
            ({"type": "enabled", "budget_tokens": 4096}, None, ["reasoning.budget_tokens converted"]),
        ),
    ],
)
def test_every_kind_of_model_is_asked_in_its_own_way(model: str, config: dict[str, Any], expected: Any) -> None:
    assert asked(model, **config) == expected


@pytest.mark.parametrize(
    ("max_tokens", "budget", "lost"),
    [
        (40_000, 24_576, []),
        (16_000, 11_904, ["reasoning.budget_tokens converted"]),
        (3_000, 1_500, ["reasoning.budget_tokens converted"]),
        (2_000, None, ["reasoning dropped"]),
    ],
)
def test_a_budget_leaves_room_for_the_answer(max_tokens: int, budget: int | None, lost: list[str]) -> None:
    thinking, _, losses = asked("claude-sonnet-4-5", max_tokens, effort="high")
    assert (thinking and thinking["budget_tokens"]) == budget
    assert losses == lost


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("anthropic/claude-opus-4.6", "claude-opus-4-6"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("claude-sonnet-4@20250514", "claude-sonnet-4-0"),
        ("claude-3.7-sonnet", "claude-3-7-sonnet-20250219"),
        ("claude-opus-6-1", "claude-opus-5-5"),
        ("claude-newfamily-7", "claude-opus-5"),
        ("claude-fable-5-2", "claude-mythos-5-2"),
    ],
)
def test_names_are_read_however_they_are_written(name: str, like: str) -> None:
    assert traits_of(name) == traits_of(like)


def test_a_date_is_no_version() -> None:
    assert traits_of("claude-opus-4-20250514").max_output_tokens == 32_000
    assert not traits_of("claude-opus-4-20250514").schemas


def applied(model: str = "claude-sonnet-4-5", effort: Any = "low", **fields: Any) -> tuple[Any, list[str]]:
    """(body, losses) of a request that is told to think so much."""
    body = json.dumps({"model": model, "max_tokens": 9000, "messages": [{"role": "user", "content": "hi"}], **fields}).encode()
    encoded = DIALECTS["anthropic"].apply_reasoning(body, ReasoningConfig(effort=effort), model)
    return json.loads(encoded.body), [f"{loss.field} {loss.action}" for loss in encoded.losses]


def test_what_is_applied_takes_the_place_of_what_was_asked() -> None:
    body, losses = applied(thinking={"type": "disabled"}, output_config=None, temperature=1)
    assert (body["thinking"], "output_config" in body, "temperature" in body, losses) == (BUDGET, False, False, [])
    body, losses = applied("claude-opus-5", output_config={"effort": "max", "format": {"type": "json_schema"}})
    assert (body["thinking"], body["output_config"]) == (SHOWN, {"format": {"type": "json_schema"}, "effort": "low"})


def test_what_is_applied_does_not_meet_a_forced_tool() -> None:
    choice = {"type": "tool", "name": "f"}
    body, losses = applied(tool_choice=choice, temperature=0.2)
    assert ("thinking" in body, body["temperature"], losses) == (False, 0.2, ["reasoning dropped"])
    body, losses = applied("claude-opus-5", tool_choice=choice)
    assert (body["thinking"], losses) == (SHOWN, [])


THOUGHT = {"type": "thinking", "thinking": "t", "signature": "S"}


@pytest.mark.parametrize(
    ("model", "thoughts", "thinking"),
    [("claude-sonnet-4-5", [], None), ("claude-sonnet-4-5", [THOUGHT], BUDGET), ("claude-opus-5", [], SHOWN)],
)
def test_what_is_applied_is_no_budget_where_calls_are_answered_that_no_thoughts_led_to(model: str, thoughts: Any, thinking: Any) -> None:
    call, result = {"type": "tool_use", "id": "a", "name": "f", "input": {}}, {"type": "tool_result", "tool_use_id": "a", "content": "r"}
    said = {"role": "assistant", "content": [*thoughts, {"type": "text", "text": "t"}, call]}
    body, losses = applied(model, messages=[{"role": "user", "content": "q"}, said, {"role": "user", "content": [result]}])
    assert (body.get("thinking"), losses) == (thinking, [] if thinking is not None else ["reasoning dropped"])


CALL, RESULT = {"type": "tool_use", "id": "a", "name": "f", "input": {}}, {"type": "tool_result", "tool_use_id": "a", "content": "r"}
CALLS_AGAIN = [{"role": "assistant", "content": [CALL]}, {"role": "user", "content": [RESULT]}]


@pytest.mark.parametrize(
    ("between", "thinking"),
    [([], BUDGET), (CALLS_AGAIN, BUDGET), ([{"role": "assistant", "content": "Done."}, {"role": "user", "content": "More."}], None)],
)
def test_thoughts_lead_to_all_the_calls_up_to_what_the_user_says_next(between: Any, thinking: Any) -> None:
    """ "Tool use loops are part of the assistant turn", which "must start with a thinking block"; most go on without another one."""
    thought = {"role": "assistant", "content": [THOUGHT, CALL]}
    body, _ = applied(messages=[{"role": "user", "content": "q"}, thought, {"role": "user", "content": [RESULT]}, *between, *CALLS_AGAIN])
    assert body.get("thinking") == thinking


CLEARING, TRIMMING = {"type": "clear_thinking_20251015", "keep": "all"}, {"type": "clear_tool_uses_20250919"}


@pytest.mark.parametrize(
    ("model", "effort", "given", "left"),
    [
        ("claude-sonnet-4-5", "none", {"edits": [CLEARING]}, None),
        ("claude-opus-5", "none", {"edits": [CLEARING]}, None),
        ("claude-sonnet-4-5", "none", {"edits": [TRIMMING, CLEARING], "x": 1}, {"edits": [TRIMMING], "x": 1}),
        ("claude-sonnet-4-5", "low", {"edits": [CLEARING]}, {"edits": [CLEARING]}),
        ("claude-sonnet-4-5", "none", {"edits": [TRIMMING]}, {"edits": [TRIMMING]}),
        ("claude-sonnet-4-5", "none", {"edits": "clear_thinking"}, {"edits": "clear_thinking"}),
        ("claude-sonnet-4-5", "none", ["clear_thinking"], ["clear_thinking"]),
    ],
)
def test_without_thinking_nothing_is_said_of_earlier_thoughts(model: str, effort: str, given: Any, left: Any) -> None:
    body, _ = applied(model, effort, thinking={"type": "enabled", "budget_tokens": 2000}, context_management=given)
    assert body.get("context_management") == left


def test_sampling_that_thinking_does_not_have_is_told_as_lost() -> None:
    body, losses = applied(temperature=0.2, top_p=1, top_k=1)
    assert not {"temperature", "top_p", "top_k"} & set(body)
    assert losses == ["temperature dropped", "top_k dropped"]


@pytest.mark.parametrize(("field", "value"), [("max_tokens", "many"), ("tool_choice", "any"), ("output_config", [])])
def test_a_request_that_is_none_is_refused_by_the_field(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        applied(**{field: value})
    assert caught.value.param == field
