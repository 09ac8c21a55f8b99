"""Rules and dashboard on real metrics: a real Prometheus scrapes the built file under traffic and evaluates every expression of both."""

from __future__ import annotations

import json
import shutil
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.processes import KEY, ROOT, Process, ask, clean_environment, free_port, service

RULES = ROOT / "packaging" / "prometheus" / "fkllmproxy.rules.yml"
DASHBOARD = json.loads((ROOT / "packaging" / "grafana" / "fkllmproxy.json").read_text())
EXPRESSIONS = [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
SILENT = {"Replies without a count", "Fields that could not be carried"}
"""Panels about what does not happen in this traffic."""


def asked(url: str, model: str, key: str = KEY, **fields: Any) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "x"}], **fields}
    ask(f"{url}/v1/chat/completions", key=key, body=body)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus that has scraped some seconds of traffic: good, failed, refused, limited."""
    program = shutil.which("prometheus")
    assert program is not None, "Prometheus is missing; run 'make test', which installs what the tests need"
    folder = tmp_path_factory.mktemp("prometheus")
    with service(folder, APP_AUTH__MASTER_KEY=KEY, APP_RATE_LIMIT__CAPACITY="60", APP_RATE_LIMIT__REFILL_PER_SECOND="5") as running:
        (folder / "key").write_text(KEY)
        config = (ROOT / "packaging" / "prometheus" / "scrape.example.yml").read_text()
        config = config.replace("127.0.0.1:4000", f"127.0.0.1:{running.port}").replace("/etc/prometheus/fkllmproxy.key", f"{folder}/key")
        shutil.copy(RULES, folder)
        (folder / "prometheus.yml").write_text("global: {scrape_interval: 1s, evaluation_interval: 1s}\n" + config)
        port = free_port()
        command = [
            program,
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        server = Process(command, folder / "prometheus.log", clean_environment(), cwd=folder)
        url = f"http://127.0.0.1:{port}"
        try:
            server.wait_for(f"{url}/-/ready")
            deadline = time.monotonic() + 12
            while time.monotonic() < deadline:
                asked(running.url, "sandbox", stream=True)
                asked(running.url, "sandbox?status=400")
                asked(running.url, "sandbox", key="sk-not-a-key-of-ours")
                time.sleep(0.05)
            yield url
        finally:
            server.stop()


def evaluated(prometheus: str, expression: str) -> list[Any]:
    for name, value in (("$job", ".*"), ("$instance", ".*"), ("$__rate_interval", "10s")):
        expression = expression.replace(name, value)
    answer = ask(f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': expression})}").json()
    assert answer["status"] == "success", answer
    result: list[Any] = answer["data"]["result"]
    return result


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS, ids=[title for title, _ in EXPRESSIONS])
def test_a_panel_shows_something(prometheus: str, title: str, expression: str) -> None:
    found = evaluated(prometheus, expression)
    assert bool(found) is (title not in SILENT)
    assert all(value["value"][1] != "NaN" for value in found)


def test_the_rules_are_evaluated_without_errors(prometheus: str) -> None:
    groups = ask(f"{prometheus}/api/v1/rules").json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) > 20
    assert {rule["health"] for rule in rules} == {"ok"}
    assert evaluated(prometheus, "fkllmproxy:requests:rate5m")
