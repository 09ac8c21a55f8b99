"""Rules and dashboard on real metrics: a real Prometheus scrapes the built file under traffic and evaluates every expression of both."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.e2e.processes import KEY, ROOT, Process, Service, ask, clean_environment, free_port, service

RULES = ROOT / "packaging" / "prometheus" / "fkllmproxy.rules.yml"
SCRAPE = ROOT / "packaging" / "prometheus" / "scrape.example.yml"
DASHBOARD = json.loads((ROOT / "packaging" / "grafana" / "fkllmproxy.json").read_text())
TARGETS = [(panel["title"], target) for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
QUIET = {"Connections", "Replies without a count", "Failed handovers", "Log lines dropped"}
"""Panels about what does not happen in this traffic, in which no upstream is reached over a network: they show zeros."""

BY_ONE_EVENT = {"UpstreamForbids", "CredentialRefused", "BreakerOpen", "StreamsFull", "StreamsNearLimit", "BlockedReplies"}
BY_MANY = {"ErrorRate", "UpstreamErrors"}
RAISED = {f"Fkllmproxy{name}" for name in BY_ONE_EVENT | BY_MANY}
OF_THE_MACHINE = {f"Fkllmproxy{name}" for name in ("Latency", "Overhead", "Cpu", "FirstToken")}
"""A machine that is busy otherwise may raise these."""

MAX_STREAMS = 3
SETTINGS = {
    "APP_AUTH__MASTER_KEY": KEY,
    "APP_SANDBOX__ENABLED": "true",
    "APP_OPENAI__MODELS": "out-of-reach",
    "OPENAI_API_KEY": "sk-of-nobody",
    "APP_CONCURRENCY__MAX_STREAMS": str(MAX_STREAMS),
    "APP_CIRCUIT_BREAKER__TIMEOUT_SECS": "3600",
    "APP_RATE_LIMIT__CAPACITY": "150",
    "APP_RATE_LIMIT__REFILL_PER_SECOND": "1",
}
CALLS: tuple[dict[str, Any], ...] = (
    {"model": "sandbox"},
    {"model": "sandbox?chunks=8&delay_ms=5", "stream": True},
    {"model": "sandbox?reason=content_filter"},
    {"model": "sandbox?status=400"},
    {"model": "sandbox?fail_after=2&chunks=4", "stream": True},
    {"model": "out-of-reach"},
    {"model": "out-of-reach"},
    {"model": "sandbox?status=403"},
)
"""The last one leaves the sandbox's credential refused; `out-of-reach` opens a breaker."""

GEMINI_CALL = {"contents": [{"role": "user", "parts": [{"text": "x"}]}], "generationConfig": {"topK": 3}}
"""topK has no place in chat completions, so the sandbox does not get it."""


def called(running: Service, key: str = KEY, **fields: Any) -> int:
    return ask(f"{running.v1}/chat/completions", key=key, body={"messages": [{"role": "user", "content": "x"}], **fields}).status


def stream(running: Service) -> http.client.HTTPConnection:
    """A stream of ten minutes that has begun."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
    body = {"model": "sandbox?chunks=6000&delay_ms=100", "stream": True, "messages": [{"role": "user", "content": "x"}]}
    headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    reply = connection.getresponse()
    assert reply.status == 200
    reply.read(16)
    return connection


def query(url: str, expression: str, at_s: float | None = None) -> list[Any]:
    """What it is, or was then."""
    asked = {"query": expression} if at_s is None else {"query": expression, "time": f"{at_s:.3f}"}
    answer = ask(f"{url}/api/v1/query?{urllib.parse.urlencode(asked)}").json()
    assert answer["status"] == "success", answer
    result: list[Any] = answer["data"]["result"]
    return result


def until(condition: Callable[[], object], text: str) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, text
        time.sleep(0.1)


def until_some(url: str, expression: str) -> None:
    until(lambda: query(url, expression), f"{expression} is still empty")


class Scraped(msgspec.Struct, frozen=True):
    """A Prometheus at the moment when it had seen all of the traffic, and its rules and alerts of then: rates soon fall again."""

    url: str
    at_s: float
    groups: list[dict[str, Any]]
    alerts: list[dict[str, Any]]


def seen(url: str) -> Scraped:
    def told(what: str) -> Any:
        return ask(f"{url}/api/v1/{what}").json()["data"]

    until_some(url, f"timestamp(fkproxy_streams_open) > {time.time()} and on () fkproxy_streams_open == {MAX_STREAMS}")
    until_some(url, f"timestamp(fkllmproxy:requests:rate5m) > {time.time()}")
    until(lambda: {alert["labels"]["alertname"] for alert in told("alerts")["alerts"]} >= RAISED, "not all alerts are raised")
    return Scraped(url, time.time(), told("rules")["groups"], told("alerts")["alerts"])


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """One, set up as the example says, that has scraped traffic of every kind; some streams are still open."""
    program = shutil.which("prometheus")
    assert program is not None, "Prometheus is missing; run 'make test', which installs what the tests need"
    folder: Path = tmp_path_factory.mktemp("prometheus")
    with service(folder, **SETTINGS, OPENAI_BASE_URL=f"http://127.0.0.1:{free_port()}/v1") as running, ExitStack() as streams:
        (folder / "key").write_text(KEY)
        example = SCRAPE.read_text().replace("127.0.0.1:4000", f"127.0.0.1:{running.port}")
        example = example.replace("/etc/prometheus/fkllmproxy.key", f"{folder}/key")
        shutil.copy(RULES, folder)
        (folder / "prometheus.yml").write_text("global: {scrape_interval: 1s, evaluation_interval: 1s}\n" + example)
        url = f"http://127.0.0.1:{free_port()}"
        options = {"config.file": folder / "prometheus.yml", "storage.tsdb.path": folder / "data", "web.listen-address": url[7:]}
        command = [program, *(f"--{name}={value}" for name, value in options.items())]
        server = Process(command, folder / "prometheus.log", clean_environment(), cwd=folder)
        try:
            server.wait_for(f"{url}/-/ready")
            until(lambda: ask(f"{url}/-/ready").status == 200, "Prometheus does not get ready")
            until_some(url, "fkproxy_requests_in_flight")
            for round_ in range(6):
                stream(running).close()
                assert ask(f"{running.url}/v1beta/models/sandbox:generateContent", key=KEY, body=GEMINI_CALL).status == 200
                assert called(running, key="sk-not-a-key-of-ours", model="sandbox") == 401
                for fields in CALLS:
                    called(running, **fields)
                until_some(url, f'fkproxy_attempts_total{{provider_key="sandbox", outcome="upstream_authentication"}} > {round_}')
            for _ in range(MAX_STREAMS):
                streams.enter_context(closing(stream(running)))
            assert called(running, model="sandbox", stream=True) == 429
            while called(running, model="out-of-reach") != 429:
                pass
            yield seen(url)
        finally:
            server.stop()


@pytest.mark.parametrize(("title", "target"), TARGETS, ids=[f"{title}-{target['refId']}" for title, target in TARGETS])
def test_a_panel_shows_what_happened(prometheus: Scraped, title: str, target: dict[str, str]) -> None:
    expression = target["expr"].replace("$job", ".*").replace("$instance", ".*").replace("$__rate_interval", "1m")
    found = query(prometheus.url, expression, prometheus.at_s)
    values = [float(sample["value"][1]) for sample in found]
    assert values
    assert all(value >= 0 for value in values), "no NaN either"
    assert any(values) is (title not in QUIET)
    for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
        assert all(label in sample["metric"] for sample in found), label


def test_the_rules_are_evaluated_without_errors(prometheus: Scraped) -> None:
    rules = [rule for group in prometheus.groups for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}
    for rule in rules:
        if rule["type"] == "recording":
            assert query(prometheus.url, rule["name"], prometheus.at_s), rule["name"]


def test_what_happened_raises_its_alerts(prometheus: Scraped) -> None:
    raised = {alert["labels"]["alertname"] for alert in prometheus.alerts}
    assert raised - OF_THE_MACHINE == RAISED
    told = " ".join(text for alert in prometheus.alerts for text in alert["annotations"].values())
    assert "error" not in told.replace("fkproxy_errors_total", "").replace("last_error", "")
    assert "sandbox refuses the gateway's credential" in told
    assert "openai is fenced off" in told
