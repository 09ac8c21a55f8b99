"""The alerting rules and the dashboard: promtool agrees, every alert is tested and explained, and what they read exists.

promtool's stories are about series that somebody wrote down; the other tests here hold rules, stories and dashboard to the series
that `fkproxy.telemetry.metrics` really shows.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from fkproxy.model.errors import UpstreamRateLimited
from fkproxy.telemetry.families import UPSTREAM_FAILURES
from fkproxy.telemetry.metrics import Metrics, Sources, UpstreamRow
from fkproxy.telemetry.record import Attempt
from tests.telemetry.records import record
from tests.test_docs import error_codes

ROOT = Path(__file__).resolve().parent.parent
PROMETHEUS = ROOT / "packaging" / "prometheus"
RULES, STORIES, SCRAPE = (PROMETHEUS / f"{name}.yml" for name in ("fkllmproxy.rules", "fkllmproxy.rules.test", "scrape.example"))
DASHBOARD: dict[str, Any] = json.loads((ROOT / "packaging" / "grafana" / "fkllmproxy.json").read_text())
RUNBOOK = (ROOT / "runbook.md").read_text()

GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"] if "alert" in rule]
RECORDED = {rule["record"] for group in GROUPS for rule in group["rules"] if "record" in rule}
EXPRESSIONS = {rule.get("alert") or rule["record"]: rule["expr"] for group in GROUPS for rule in group["rules"]}
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"] if panel["type"] != "row"}
STORY_BOOK: dict[str, Any] = yaml.safe_load(STORIES.read_text())
TOLD: list[dict[str, Any]] = STORY_BOOK["tests"]

SCRAPED = {"job", "instance"}
"""Labels that a scrape adds."""
SELECTOR = re.compile(r"\b(ALERTS|up|(?:waf|requests?|cache|process|fkproxy|gen_ai)_\w+|fkllmproxy:[\w:]+)\b(?:\{([^{}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    assert program is not None, "promtool is missing; run 'make test', which installs what the tests need"
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def shown() -> dict[str, list[dict[str, str]]]:
    """Sample name → the labels of each of its samples, of a gateway that has seen some of everything."""
    upstream = {
        "upstreams": lambda: (UpstreamRow(provider_key="p1", breaker="open", refused=True),),
        "upstream_connections": lambda: {"idle": 1},
    }
    metrics = Metrics("1.2.3", Sources(**upstream))
    metrics.observe(record(losses=("seed",)))
    metrics.observe(record(status=502, error_code="upstream_error", tries=(Attempt(provider_key="p1", outcome="upstream_error"),)))
    metrics.observe(record(client_ended=True))
    firing = [{"alertname": rule["alert"], "alertstate": "firing", **rule["labels"]} for rule in ALERTS]
    found: dict[str, list[dict[str, str]]] = {"up": [{}], "ALERTS": firing}
    for family in text_string_to_metric_families(metrics.prometheus()[0].decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


def selectors(expression: str) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Each metric that is read, with its label matchers as (label, operator, value)."""
    for name, matchers in SELECTOR.findall(re.sub(r"\b(?:by|without|on|ignoring)\s*\([^)]*\)", "", expression)):
        yield name, MATCHER.findall(matchers)


OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "=": lambda wanted, value: wanted == value,
    "!=": lambda wanted, value: wanted != value,
    "=~": lambda wanted, value: re.fullmatch(wanted, value) is not None,
    "!~": lambda wanted, value: re.fullmatch(wanted, value) is None,
}


def matches(labels: dict[str, str], matchers: list[tuple[str, str, str]]) -> bool:
    asked = [matcher for matcher in matchers if matcher[0] not in SCRAPED]
    return all(label in labels and OPERATORS[operator](value, labels[label]) for label, operator, value in asked)


def test_promtool_finds_the_rules_correct() -> None:
    done = promtool("check", "rules", RULES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_finds_the_example_correct() -> None:
    done = promtool("check", "config", "--syntax-only", SCRAPE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_stories_come_true() -> None:
    done = promtool("test", "rules", STORIES)
    assert done.returncode == 0, done.stdout + done.stderr


def _bounds(comparison: str, number: float) -> list[str]:
    """Comparisons that are nearly the given one: one more or less for what is counted, 30 % for what is measured."""
    if comparison == "==":
        return [f"== {1 - number:g}"]
    if number == 0:
        return ["> 5", ">= 0"]
    step = 1 if number in (1, 2) else 0.3 * number
    return [f"> {number + step:g}", f"> {number - step:g}"]


def _changes(rule: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rule with another threshold, and with another patience."""
    expression, alternative, rest = rule["expr"].partition(" or ")
    bound = re.search(r"(==|>) ([\d.e]+)$", expression)
    if bound is not None:
        for other in _bounds(bound[1], float(bound[2])):
            yield {**rule, "expr": expression[: bound.start()] + other + alternative + rest}
    if "for" in rule:
        yield {**rule, "for": f"{2 * int(rule['for'][:-1])}m"}
        yield {name: value for name, value in rule.items() if name != "for"}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_the_stories_notice_a_change(rule: dict[str, Any], tmp_path: Path) -> None:
    """What an alert's story does not depend on, it does not test."""
    stories = [each for each in TOLD if rule["alert"] in json.dumps(each)]
    assert stories
    (tmp_path / STORIES.name).write_text(json.dumps({**STORY_BOOK, "tests": stories}))
    for changed in [rule, *_changes(rule)]:
        groups = [{**group, "rules": [changed if each is rule else each for each in group["rules"]]} for group in GROUPS]
        (tmp_path / RULES.name).write_text(json.dumps({"groups": groups}))
        done = promtool("test", "rules", tmp_path / STORIES.name)
        assert (done.returncode == 0) is (changed is rule), (changed["expr"], changed.get("for"), done.stdout + done.stderr)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_where_to_look(rule: dict[str, Any]) -> None:
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in ("page", "warning")
    assert rule["annotations"].keys() == {"summary", "description", "runbook"}
    section = rule["annotations"]["runbook"]
    assert re.search(rf"^##+ {re.escape(section)}$", RUNBOOK, re.MULTILINE)
    anchor = re.sub(r"[^\w -]", "", section).lower().replace(" ", "-")
    line = f"| `{rule['alert']}` | {rule['labels']['severity']} | {rule['annotations']['description']} | [{section}](#{anchor}) |"
    assert line in RUNBOOK.splitlines(), "the runbook's table of alerts says the same as the rules"


def test_the_runbook_explains_no_other_alert() -> None:
    assert set(re.findall(r"`(Fkllmproxy\w+)`", RUNBOOK)) == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_a_rule_reads_what_is_shown(name: str, shown: dict[str, list[dict[str, str]]]) -> None:
    read = list(selectors(EXPRESSIONS[name]))
    assert read
    for metric, matchers in read:
        assert metric in RECORDED or any(matches(labels, matchers) for labels in shown.get(metric, ())), (metric, matchers)


def test_what_is_an_upstreams_failure_is_known_to_the_rule() -> None:
    """Limits have an alert of their own."""
    ((_, matchers), _) = selectors(EXPRESSIONS["fkllmproxy:upstream:failures:ratio10m"])
    outcomes = {*UPSTREAM_FAILURES, *error_codes(), "ok", "abandoned", "client_ended"}
    counted = {outcome for outcome in outcomes if matches({"outcome": outcome}, matchers)}
    assert counted == UPSTREAM_FAILURES - {UpstreamRateLimited.code}


def test_the_dashboard_asks_its_annotations_and_variables_of_what_is_shown(shown: dict[str, list[dict[str, str]]]) -> None:
    asked = [note["target"]["expr"] for note in DASHBOARD["annotations"]["list"]]
    asked += [variable["definition"] for variable in DASHBOARD["templating"]["list"] if variable["type"] == "query"]
    for expression in asked:
        ((metric, matchers),) = selectors(expression)
        assert any(matches(labels, matchers) for labels in shown.get(metric, ())), (metric, matchers)


@pytest.mark.parametrize("title", PANELS)
def test_a_panel_reads_what_is_shown(title: str, shown: dict[str, list[dict[str, str]]]) -> None:
    assert PANELS[title]["targets"]
    for target in PANELS[title]["targets"]:
        read = list(selectors(target["expr"]))
        assert read
        for metric, matchers in read:
            assert any(matches(labels, matchers) for labels in shown.get(metric, ())), (metric, matchers)


def test_the_stories_are_about_series_that_are_shown(shown: dict[str, list[dict[str, str]]]) -> None:
    bounds = {name: {labels["le"] for labels in samples} for name, samples in shown.items() if name.endswith("_bucket")}
    for series in {series["series"] for story in TOLD for series in story.get("input_series", ())}:
        ((name, matchers),) = selectors(series)
        labels = {label: value for label, _, value in matchers if label not in SCRAPED}
        assert any(labels.keys() <= real.keys() for real in shown.get(name, ())), series
        assert labels.get("le", "+Inf") in bounds.get(name, {"+Inf"}), series
