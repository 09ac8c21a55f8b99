"""How much to think, by model."""

from __future__ import annotations

from typing import Any

import pytest

from fkproxy.dialects.gemini.thinking import apply_reasoning, encode_thinking, is_gemini_3, is_gemini_3_6
from fkproxy.model.errors import InvalidRequest
from fkproxy.model.request import Loss, ReasoningConfig

PRO_25, FLASH_25, LITE_25 = "gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.5-flash-lite"
PRO_3, PRO_31, FLASH_3 = "gemini-3-pro-preview", "gemini-3.1-pro-preview", "gemini-3-flash-preview"


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [
        (PRO_25, "none", {"thinkingBudget": 128}),
        (FLASH_25, "none", {"thinkingBudget": 0}),
        (LITE_25, "none", {"thinkingBudget": 0}),
        (FLASH_25, "low", {"thinkingBudget": 1024, "includeThoughts": True}),
        (FLASH_25, "medium", {"thinkingBudget": 8192, "includeThoughts": True}),
        (FLASH_25, "max", {"thinkingBudget": 24576, "includeThoughts": True}),
        (PRO_25, "max", {"thinkingBudget": 32768, "includeThoughts": True}),
        (PRO_3, "none", {"thinkingLevel": "low"}),
        (PRO_3, "medium", {"thinkingLevel": "high", "includeThoughts": True}),
        (PRO_31, "medium", {"thinkingLevel": "medium", "includeThoughts": True}),
        (FLASH_3, "none", {"thinkingLevel": "minimal"}),
        (FLASH_3, "minimal", {"thinkingLevel": "minimal", "includeThoughts": True}),
        (FLASH_3, "xhigh", {"thinkingLevel": "high", "includeThoughts": True}),
        ("gemini-pro-latest", "medium", {"thinkingLevel": "medium", "includeThoughts": True}),
        ("gemini-3.6-flash", "none", {"thinkingLevel": "minimal"}),
        ("gemini-3.7-flash", "none", {"thinkingLevel": "low"}),
        ("models/gemini-3.8-flash", "minimal", {"thinkingLevel": "low", "includeThoughts": True}),
        ("gemini-3.8-flash-lite", "minimal", {"thinkingLevel": "minimal", "includeThoughts": True}),
        ("gemini-flash-latest", "none", {"thinkingLevel": "low"}),
        ("models/gemini-flash-lite-latest", "high", {"thinkingLevel": "high", "includeThoughts": True}),
        ("gemini-exp-1206", "high", {"thinkingBudget": 24576, "includeThoughts": True}),
        ("models/gemini-2.5-pro", "low", {"thinkingBudget": 1024, "includeThoughts": True}),
        ("gemini-2.0-flash", "high", None),
        ("gemini-2.5-flash-image", "high", None),
        ("gemini-2.5-pro-preview-tts", "high", None),
        ("gemini-1.5-pro-002", "low", None),
        ("gemma-3-27b-it", "low", None),
    ],
)
def test_an_effort_in_the_models_own_terms(model: str, effort: Any, expected: dict[str, Any] | None) -> None:
    losses: list[Loss] = []
    assert encode_thinking(ReasoningConfig(effort=effort), model, losses) == expected
    told = ["reasoning"] if expected is None else ["reasoning.effort"] if effort == "none" and expected != {"thinkingBudget": 0} else []
    assert [loss.field for loss in losses] == told


@pytest.mark.parametrize(
    ("model", "budget", "expected", "converted"),
    [
        (FLASH_25, -1, {"thinkingBudget": -1, "includeThoughts": True}, []),
        (FLASH_25, 0, {"thinkingBudget": 0}, []),
        (FLASH_25, 2000, {"thinkingBudget": 2000, "includeThoughts": True}, []),
        (PRO_25, 0, {"thinkingBudget": 128}, ["reasoning.effort"]),
        (LITE_25, 10, {"thinkingBudget": 512, "includeThoughts": True}, ["reasoning.budget_tokens"]),
        (FLASH_25, 99_999, {"thinkingBudget": 24576, "includeThoughts": True}, ["reasoning.budget_tokens"]),
        (FLASH_3, 0, {"thinkingLevel": "minimal"}, ["reasoning.budget_tokens", "reasoning.effort"]),
        (FLASH_3, 1000, {"thinkingLevel": "low", "includeThoughts": True}, ["reasoning.budget_tokens"]),
        (FLASH_3, 20_000, {"thinkingLevel": "high", "includeThoughts": True}, ["reasoning.budget_tokens"]),
        (PRO_3, -1, {"includeThoughts": True}, []),
    ],
)
def test_a_budget_in_the_models_own_terms(model: str, budget: int, expected: dict[str, Any], converted: list[str]) -> None:
    losses: list[Loss] = []
    assert encode_thinking(ReasoningConfig(budget_tokens=budget), model, losses) == expected
    assert losses == [Loss(field=field, action="converted") for field in converted]


@pytest.mark.parametrize("wanted", [True, False])
def test_whether_thoughts_are_shown_is_the_callers_word(wanted: bool) -> None:
    config = encode_thinking(ReasoningConfig(effort="low", include_thoughts=wanted), FLASH_25, [])
    assert config == {"thinkingBudget": 1024, "includeThoughts": wanted}


def test_thoughts_that_are_off_are_not_asked_for() -> None:
    assert encode_thinking(ReasoningConfig(effort="none", include_thoughts=True), FLASH_25, []) == {"thinkingBudget": 0}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (PRO_3, True),
        (PRO_31, True),
        ("models/gemini-3-flash", True),
        ("gemini-pro-latest", True),
        ("gemini-flash-lite-latest", True),
        (PRO_25, False),
        ("gemini-2.5-flash-latest", False),
        ("x", False),
    ],
)
def test_the_third_generation_is_known_by_its_name(model: str, expected: bool) -> None:
    assert is_gemini_3(model) is expected


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gemini-3.6-flash", True),
        ("models/gemini-3.8-flash", True),
        ("gemini-3.5-flash-lite", True),
        ("gemini-flash-latest", True),
        ("gemini-4-pro", True),
        ("gemini-3.5-flash", False),
        ("gemini-3.1-flash-lite", False),
        (PRO_31, False),
        ("gemini-pro-latest", False),
        (FLASH_25, False),
        ("x", False),
    ],
)
def test_which_models_refuse_more(model: str, expected: bool) -> None:
    assert is_gemini_3_6(model) is expected


def test_what_is_applied_needs_no_configuration_but_no_other_value_in_its_place() -> None:
    def applied(body: bytes) -> bytes:
        return apply_reasoning(body, ReasoningConfig(effort="low"), FLASH_25, [])

    expected = b'{"generationConfig":{"thinkingConfig":{"thinkingBudget":1024,"includeThoughts":true}}}'
    assert applied(b"{}") == applied(b'{"generationConfig": null}') == expected
    with pytest.raises(InvalidRequest) as caught:
        applied(b'{"generation_config": []}')
    assert caught.value.param == "generation_config"
