"""Health, metrics and model lists."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from fkproxy import __version__
from fkproxy.clientele import Clientele
from fkproxy.dialects.base import ModelEntry
from fkproxy.directory import Pool
from fkproxy.supervision import SUPERVISOR_AGENT
from fkproxy.web import ops
from tests.fakes.keys import directory, key, raw
from tests.fakes.upstream import FakeUpstream
from tests.web.asking import App, chat

KEY = "sk-web-tests-0123456789"


async def test_health_names_each_upstream() -> None:
    reply = await App().ask("GET", "/health")
    body = reply.json()
    assert (reply.status, body["status"], body["ok"], body["version"]) == (200, "ok", True, __version__)
    assert body["upstreams"][0]["provider_key"] == "sandbox"
    assert reply.headers["cache-control"] == "no-cache, no-store, must-revalidate"


async def test_health_counts_the_lines_of_the_log_that_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await App().ask("GET", "/health")).json()["log_lines_dropped"] == 0
    monkeypatch.setattr(ops, "dropped_lines", lambda: 7)
    assert (await App().ask("GET", "/health")).json()["log_lines_dropped"] == 7


async def test_health_is_open_and_the_rest_wants_the_key() -> None:
    app = App(APP_AUTH__MASTER_KEY=KEY)
    for path in ("/health", "/healthz", "/readyz", "/livez"):
        assert (await app.ask("GET", path)).status == 200
    for path in ("/metrics", "/metrics/prometheus", "/v1/models", "/v1/models/sandbox", "/v1beta/models", "/v1alpha/models"):
        assert (await app.ask("GET", path)).status == 401, path
        assert (await app.ask("GET", path, headers={"authorization": f"Bearer {KEY}"})).status == 200, path


async def test_a_degraded_gateway_serves_and_says_so_and_a_dead_one_says_that() -> None:
    settings = {"OPENAI_API_KEY": "sk-upstream-key", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "APP_OPENAI__MODELS": "gpt-*"}
    settings["APP_CIRCUIT_BREAKER__FAILURE_THRESHOLD"] = "1"
    degraded = App(**settings, APP_SANDBOX__ENABLED="true")
    assert (await degraded.ask("GET", "/health")).json()["status"] == "ok"
    assert (await degraded.ask("POST", "/v1/chat/completions", body=chat("gpt-x"))).status == 502
    health = await degraded.ask("GET", "/health")
    assert (health.status, health.json()["status"]) == (200, "degraded")
    told = {entry["provider_key"]: (entry["breaker"], entry["last_error"]) for entry in health.json()["upstreams"]}
    assert told == {"openai": ("open", "bad_gateway"), "sandbox": ("closed", None)}
    dead = App(**settings)
    await dead.ask("POST", "/v1/chat/completions", body=chat("gpt-x"))
    health = await dead.ask("GET", "/health")
    assert (health.status, health.json()["ok"]) == (503, False)
    assert (await dead.ask("GET", "/livez")).status == 200


@pytest.mark.parametrize("path", ["/health", "/v1/metrics/providers"])
async def test_what_was_typed_in_a_models_place_is_not_shown_to_everybody(path: str) -> None:
    missing = json.dumps({"error": {"message": "no such model", "code": "model_not_found"}}).encode()
    head = b"HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(missing)
    async with FakeUpstream([head + missing]) as upstream:
        app = App(OPENAI_API_KEY="sk-upstream-key", OPENAI_BASE_URL=f"{upstream.url}/v1")
        for model in ("gpt-missing", "sk-proj-AbCdEfGhIjKlMnOpQrStUvWxYz", "why is the sky blue"):
            assert (await app.ask("POST", "/v1/chat/completions", body=chat(model))).status == 404
        body = (await app.ask("GET", path)).json()
    held = (body["upstreams"] if path == "/health" else body["data"][0]["credentials"])[0]["models"]
    assert {model: entry["cause"] for model, entry in held.items()} == {"gpt-missing": "model_missing", "other": "model_missing"}


async def test_one_model_can_be_asked_for_by_name() -> None:
    app = App()
    assert (await app.ask("GET", "/v1/models")).json()["object"] == "list"
    assert (await app.ask("GET", "/v1/models/sandbox")).json()["id"] == "sandbox"
    assert (await app.ask("GET", "/v1beta/models/sandbox")).json()["name"] == "models/sandbox"
    # Google's SDK asks under v1, as OpenAI's clients do, but with a header of its own.
    theirs = {"x-goog-api-client": "google-genai-sdk/3"}
    assert (await app.ask("GET", "/v1/models", headers=theirs)).json()["models"][0]["name"] == "models/sandbox"
    assert (await app.ask("GET", "/v1/models/sandbox", headers=theirs)).json()["name"] == "models/sandbox"
    assert (await app.ask("GET", "/v1/models/x", headers=theirs)).json()["error"]["status"] == "NOT_FOUND"
    # As calls name it: the model's provider before it, and how much to think.
    for name in ("sandbox/sandbox", "sandbox(high)", "sandbox/sandbox(8192)"):
        assert (await app.ask("GET", f"/v1/models/{name}")).json()["id"] == name
        assert (await app.ask("GET", f"/v1beta/models/{quote(name, safe='')}")).json()["name"] == f"models/{name}"
    assert (await app.ask("GET", "/v1/models/sandbox/nobody")).status == 404
    missing = await app.ask("GET", "/v1/models/nobody")
    assert (missing.status, missing.json()["error"]["code"]) == (404, "model_not_found")
    assert [(await app.ask("HEAD", f"/v1/models/{name}")).status for name in ("sandbox", "nobody")] == [200, 404]
    assert (await app.ask("DELETE", "/v1/models/sandbox")).json()["error"]["code"] == "method_not_allowed"
    assert (await app.ask("DELETE", "/v1/models/sandbox", headers=theirs)).json()["error"]["code"] == 405


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models", 200),
        ("GET", "/v1/models/nobody", 404),
        ("GET", "/v1/nothing", 404),
        ("DELETE", "/v1/models", 405),
        ("GET", "/v1/messages", 405),
        ("HEAD", "/v1/messages", 200),
    ],
)
async def test_every_answer_has_an_id_where_its_client_looks_for_it(
    method: str, path: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, int]] = []
    monkeypatch.setattr("fkproxy.telemetry.logs.AccessLog.write", lambda _, record: written.append((record.request_id, record.status)))
    app = App()
    theirs = await app.ask(method, path, headers={"anthropic-version": "2023-06-01"})
    given = await app.ask(method, path, headers={"x-request-id": "mine"})
    assert theirs.headers["request-id"] == theirs.headers["x-request-id"]
    assert given.headers["x-request-id"] == "mine"
    assert written == [(theirs.headers["request-id"], status), ("mine", status)]


async def test_our_own_bug_is_a_500_with_a_line_in_the_log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async def models(*_: object) -> list[ModelEntry]:
        raise ValueError("year 55840 is out of range")

    monkeypatch.setattr("fkproxy.catalogue.Catalogue.models", models)
    written: list[tuple[int, str | None]] = []
    monkeypatch.setattr("fkproxy.telemetry.logs.AccessLog.write", lambda _, record: written.append((record.status, record.error_code)))
    app = App(APP_CORS__ENABLED="true", APP_CORS__ALLOWED_ORIGINS="https://a.example")
    headers = {"anthropic-version": "2023-06-01", "origin": "https://a.example", "x-request-id": "r7"}
    reply = await app.ask("GET", "/v1/models", headers=headers)
    assert (reply.status, reply.json()["error"]["type"], b"55840" in reply.body) == (500, "api_error", False)
    assert (reply.headers["x-request-id"], reply.headers["access-control-allow-origin"]) == ("r7", "https://a.example")
    assert written == [(500, "internal_error")]
    assert [record.msg for record in caplog.records] == ["a request failed in the gateway"]


@pytest.mark.parametrize("path", ["/health", "/metrics", "/metrics/prometheus", "/v1/models"])
async def test_head_is_get_without_its_body(path: str) -> None:
    app = App()
    get, head = await app.ask("GET", path), await app.ask("HEAD", path)
    assert (head.status, head.body) == (get.status, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


async def test_metrics_count_calls() -> None:
    app = App()
    for _ in range(2):
        await app.ask("POST", "/v1/chat/completions", body=chat())
    assert (await app.ask("GET", "/metrics")).json()["total_requests"] == 2
    text = (await app.ask("GET", "/metrics/prometheus")).body.decode()
    assert "\nrequests_total 2.0\n" in text or "\nrequests_total 2\n" in text


async def test_our_own_health_checks_fill_no_log_and_hide_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr("fkproxy.telemetry.logs.AccessLog.write", lambda _, record: written.append(record.route))
    app = App(APP_AUTH__MASTER_KEY=KEY)
    own = {"user-agent": SUPERVISOR_AGENT}
    await app.ask("GET", "/health", headers=own)
    await app.ask("GET", "/health")
    await app.ask("GET", "/metrics", headers=own)
    await app.ask("POST", "/v1/chat/completions", body=chat(), headers=own)
    assert written == ["/health", "/metrics", "/v1/chat/completions"]


async def test_providers_are_told_in_both_shapes_that_are_in_use_and_to_everybody() -> None:
    app = App(APP_AUTH__MASTER_KEY=KEY)
    await app.ask("POST", "/v1/chat/completions", body=chat(), headers={"authorization": f"Bearer {KEY}"})
    told = (await app.ask("GET", "/v1/metrics/providers")).json()
    assert told["sandbox"] == told["providers"]["sandbox"] == told["data"][0]
    entry = told["sandbox"]
    assert (entry["provider"], entry["request_count"], entry["success_rate"], entry["state"]) == ("sandbox", 1, 1.0, "active")
    assert entry["credentials"][0]["breaker"] == "closed"


async def test_metrics_may_have_a_token_of_their_own() -> None:
    app = App(APP_AUTH__MASTER_KEY=KEY, APP_METRICS__TOKEN="scraper-0123456789")
    for path in ("/metrics", "/metrics/prometheus"):
        statuses = [
            (await app.ask("GET", path, headers=headers)).status
            for headers in ({}, {"authorization": "Bearer scraper-0123456789"}, {"authorization": f"Bearer {KEY}"})
        ]
        assert statuses == [401, 200, 200]
    for path in ("/v1/models", "/admin/api/upstreams"):
        assert (await app.ask("GET", path, headers={"authorization": "Bearer scraper-0123456789"})).status == 401


async def test_a_token_for_metrics_closes_them_where_calls_need_no_key() -> None:
    app = App(APP_METRICS__TOKEN="scraper-0123456789")
    assert (await app.ask("GET", "/metrics")).status == 401
    assert (await app.ask("GET", "/v1/models")).status == 200


@pytest.fixture
def clienteles(monkeypatch: pytest.MonkeyPatch) -> list[Clientele]:
    """Those of the applications that the test makes."""
    made: list[Clientele] = []

    class Kept(Clientele):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            made.append(self)

    monkeypatch.setattr("fkproxy.app.Clientele", Kept)
    return made


def bearer(presented: str) -> dict[str, str]:
    return {"authorization": f"Bearer {presented}"}


@pytest.mark.parametrize("required", ["true", "false"])
async def test_who_may_look_at_what_once_there_are_keys_of_pools(clienteles: list[Clientele], required: str) -> None:
    app = App(APP_AUTH__MASTER_KEY=KEY, APP_AUTH__REQUIRE_AUTH=required)
    clienteles[0].replace(directory(key(), key("p", state="paused"), key("r", state="revoked")))
    closed = required == "true"
    master, client, paused, revoked = (bearer(each) for each in (KEY, raw("a").decode(), raw("p").decode(), raw("r").decode()))
    expected = {
        "/health": (200, 200, 200, 200, 200),
        "/metrics": (401, 200, 403, 403, 401) if closed else (200,) * 5,
        "/metrics/prometheus": (401, 200, 403, 403, 401) if closed else (200,) * 5,
        "/v1/models": (401, 200, 200, 403, 401),
        "/v1beta/models/sandbox": (401, 200, 200, 403, 401),
        "/admin/api/upstreams": (401, 200, 403, 403, 401) if closed else (401,) * 5,
    }
    for path, statuses in expected.items():
        found = [(await app.ask("GET", path, headers=headers)).status for headers in ({}, master, client, paused, revoked)]
        assert tuple(found) == statuses, path
    calls = [
        (await app.ask("POST", "/v1/chat/completions", body=chat(), headers=headers)).status for headers in ({}, master, client, paused)
    ]
    assert calls == [401, 403, 200, 403]


@pytest.mark.parametrize(
    ("fields", "pool", "listed"),
    [
        ({}, {}, ["gpt-echo", "sandbox"]),
        ({"models": ("*-echo",)}, {}, ["gpt-echo"]),
        ({}, {"excluded_models": ("*-echo",)}, ["sandbox"]),
        ({"models": ()}, {}, []),
        ({}, {"upstreams": ("gone",)}, []),
        ({"enforced_model": "sandbox"}, {}, ["sandbox"]),
        ({"enforced_model": "hidden-1"}, {}, ["hidden-1"]),
        ({"enforced_model": "hidden-1"}, {"upstreams": ("sandbox",)}, []),
        ({"enforced_model": "sandbox", "models": ("*-echo",)}, {}, []),
    ],
)
async def test_a_key_sees_the_models_that_it_may_ask_for(
    clienteles: list[Clientele], fields: dict[str, Any], pool: dict[str, Any], listed: list[str]
) -> None:
    settings = {"OPENAI_API_KEY": "sk-upstream-key", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "APP_OPENAI__MODELS": "gpt-echo,hidden-*"}
    app = App(APP_AUTH__MASTER_KEY=KEY, APP_SANDBOX__ENABLED="true", **settings)
    clienteles[0].replace(directory(key(**fields), pools=(Pool(name="team", **pool),)))
    headers = bearer(raw("a").decode())
    shown = (await app.ask("GET", "/v1/models", headers=headers)).json()["data"]
    assert [entry["id"] for entry in shown] == listed
    theirs = (await app.ask("GET", "/v1beta/models", headers=headers)).json().get("models", [])
    assert [entry["name"].removeprefix("models/") for entry in theirs] == listed
    for name in ("sandbox", "gpt-echo"):
        assert (await app.ask("GET", f"/v1/models/{name}", headers=headers)).status == (200 if name in listed else 404)
    served = 200 if "sandbox" in listed and "enforced_model" not in fields else 404
    assert (await app.ask("GET", "/v1/models/sandbox/sandbox", headers=headers)).status == served


@pytest.mark.parametrize("token", ["", "scraper-0123456789"])
@pytest.mark.parametrize("paths", [("/metrics", "/metrics/prometheus"), ("/metrics/prometheus", "/metrics")])
async def test_guessing_at_the_metrics_is_slowed_for_whoever_guesses(token: str, paths: tuple[str, str]) -> None:
    app = App(APP_AUTH__MASTER_KEY=KEY, **({"APP_METRICS__TOKEN": token} if token else {}))
    for peer in ("192.0.2.1", "192.0.2.2"):
        for _ in range(10):
            assert (await app.ask("GET", paths[0], peer=peer)).status == 401, "who forgot his key does not guess"
    wrong = [{"x-api-key": f"sk-guess-{number}-0123456789"} for number in range(7)]
    assert [(await app.ask("GET", paths[number % 2], headers=each)).status for number, each in enumerate(wrong)] == [401] * 6 + [429]
    for right in (KEY, token or KEY):
        slowed = await app.ask("GET", paths[1], headers={"authorization": f"Bearer {right}"})
        assert (slowed.status, slowed.headers["retry-after"], slowed.json()["error"]["code"]) == (429, "1", "rate_limit_exceeded")
        assert (await app.ask("GET", paths[1], headers={"authorization": f"Bearer {right}"}, peer="192.0.2.2")).status == 200
    assert (await app.ask("GET", "/admin/api/upstreams", headers={"authorization": f"Bearer {KEY}"})).status == 200, "another door"


@pytest.mark.parametrize("path", ["/health", "/healthz", "/readyz", "/v1/metrics/providers"])
async def test_what_everybody_can_read_names_providers_and_tells_no_address_and_no_secret(path: str) -> None:
    settings = {"OPENAI_API_KEY": "sk-canary-0123456789", "OPENAI_BASE_URL": "http://canary.internal.example:1/v1"}
    app = App(APP_AUTH__MASTER_KEY=KEY, **settings)
    await app.ask("POST", "/v1/chat/completions", body=chat("gpt-x"), headers={"authorization": f"Bearer {KEY}"})
    told = (await app.ask("GET", path)).body.decode()
    assert '"openai"' in told
    assert "canary" not in told
    assert "canary" not in (await app.ask("GET", "/livez")).body.decode()
    assert "openai" not in (await app.ask("GET", "/livez")).body.decode()
