"""The pure parts of the benchmark: goals, tables, the comparison; and the committed result stands in the documents."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench import prompts, report
from bench.goals import GOALS, Goal, Value, added, bend, evaluate, plain, ratio

ROOT = Path(__file__).resolve().parent.parent
COMMITTED = ROOT / "bench" / "result.json"

MEASURED = {
    "direct": {"p99_ms": [1.0, 1.0, 1.0]},
    "nginx": {"requests_per_s": [100.0, 200.0, 50.0], "p99_ms": [2.0, 2.0, 2.0]},
    "same dialect": {"requests_per_s": [20.0, 20.0, 20.0], "p99_ms": [1.5, 4.0, 1.75], "cpu_ms_per_200_kb_prompt": [0.5, 0.75, 0.25]},
}


def found(measured: Any = MEASURED, date: str = "2026-01-02") -> dict[str, Any]:
    return {
        "date": date,
        "machine": {"CPU": "a processor", "cores": "2", "kernel": "6.1"},
        "versions": {"nginx": "1.22"},
        "settings": {"rounds": 3, "seconds": 3.0, "rows": 1_000_000, "others_percent": 4},
        "measured": measured,
    }


def goal(name: str) -> Goal:
    return next(goal for goal in GOALS if goal.name == name)


def test_goals_have_names_of_their_own_and_one_bound() -> None:
    assert len({goal.name for goal in GOALS}) == len(GOALS)
    assert all((goal.at_least is None) != (goal.at_most is None) for goal in GOALS)


def test_rounds_are_compared_before_they_are_averaged() -> None:
    assert list(ratio("same dialect", "nginx", "requests_per_s")(MEASURED)) == [0.2, 0.1, 0.4]
    assert list(added("same dialect", "direct", "p99_ms")(MEASURED)) == [0.5, 3.0, 0.75]


@pytest.mark.parametrize(("values", "want"), [([], "not measured"), ([0.5, 2.0, 0.5], "met"), ([1.1], "missed"), ([1.0], "met")])
def test_a_goal_is_held_against_the_median(values: Sequence[float], want: str) -> None:
    most = Goal(name="n", unit="ms", at_most=1, values=plain("s", "f"))
    assert most.verdict(evaluate(most, {"s": {"f": values}})) == want


def test_a_bound_from_below() -> None:
    least = Goal(name="n", unit="×", at_least=0.15, values=plain("s", "f"))
    assert [least.verdict(Value.of([value])) for value in (0.15, 0.14)] == ["met", "missed"]
    assert least.bound == "≥ 0.15"


def test_a_straight_line_has_no_bend() -> None:
    sizes = {f"cpu_ms_per_{size}_kb_prompt": [1.0 + 0.01 * size] for size in (50, 200, 800)}
    assert list(bend("s")({"s": sizes})) == pytest.approx([1.0])


def test_the_table_says_what_was_met_missed_and_not_measured() -> None:
    lines = report.goal_table(MEASURED).splitlines()
    assert "| same dialect, 1 KB, saturated | ≥ 0.15 × nginx | 0.200 | 0.100 to 0.400 | met |" in lines
    assert "| the same p99, beyond nginx's | ≤ 0 ms | -0.250 | -0.500 to 2.00 | met |" in lines
    assert "| same dialect, 1 KB, saturated, to LiteLLM | ≥ 80 × LiteLLM | – | – | not measured |" in lines
    assert report.missed(found()) == []
    assert report.missed(found({**MEASURED, "nginx": {"requests_per_s": [1000.0]}})) == [goal("same dialect, 1 KB, saturated")]


def test_subjects_that_were_not_there_have_no_column() -> None:
    head, _, first, *_ = report.subject_table(MEASURED).splitlines()
    assert head == "| | direct | nginx | same dialect |"
    assert first == "| requests/s, saturated | – | 100 | 20.0 |"


def test_a_result_is_compared_figure_by_figure() -> None:
    twice = {**MEASURED, "same dialect": {**MEASURED["same dialect"], "cpu_ms_per_200_kb_prompt": [1.0]}}
    lines = report.comparison(found(twice), found(date="2025-12-31")).splitlines()
    assert lines[0] == "| beside the result of 2025-12-31 | now | then | × |"
    assert "| 200 KB prompt, 60 messages, 20 tools, same dialect, ms of CPU | 1.00 | 0.500 | 2.00 |" in lines
    assert not [line for line in lines if "LiteLLM" in line]


def test_what_is_between_the_marks_is_replaced() -> None:
    document = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    assert report.insert(document, "new") == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"
    with pytest.raises(ValueError, match="has no"):
        report.insert("no marks", "new")


def test_the_document_has_the_committed_result() -> None:
    document = (ROOT / "docs" / "benchmarks.md").read_text()
    assert report.insert(document, report.section(json.loads(COMMITTED.read_text()))) == document


@pytest.mark.parametrize("size_bytes", [50_000, 200_000, 800_000])
def test_a_conversation_has_the_size_that_was_asked_for(size_bytes: int) -> None:
    body = prompts.conversation("m", size_bytes)
    assert size_bytes - 1000 < len(body) <= size_bytes
    said = json.loads(body)
    assert (len(said["messages"]), len(said["tools"]), said["messages"][-1]["role"]) == (60, 20, "tool")
    asked = [call["id"] for message in said["messages"] for call in message.get("tool_calls", ())]
    assert asked == [message["tool_call_id"] for message in said["messages"] if message["role"] == "tool"]


def test_a_small_request_has_1_kb() -> None:
    assert 900 <= len(prompts.small("m-64-0")) <= 1024
