"""Commands of earlier systems' runbooks, as they are printed there, against the whole application."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.web.asking import App, Reply, chat

KEY = "sk-web-tests-0123456789"
BEARER = {"authorization": f"Bearer {KEY}"}
SECRET = "sk-ant-canary-of-a-provider"
ONE = {
    "name": "OpenRouter backup",
    "baseUrl": "http://127.0.0.1:9/api/v1/chat/completions",
    "apiKey": SECRET,
    "format": "openai",
    "modelMapping": {"claude-opus-4-6": "vendor/opus"},
    "retry": 2,
}
TWO = {"name": "second", "baseUrl": "http://127.0.0.1:9/v1/messages", "apiKey": SECRET, "disabled": True}


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with App(APP_AUTH__MASTER_KEY=KEY, APP_STORE__DIRECTORY=str(tmp_path / "state")) as running:
        yield running


async def ask(app: App, method: str, path: str, body: Any = b"", **headers: str) -> Reply:
    kind = {"content-type": "application/json"} if body != b"" else {}
    return await app.ask(
        method, path, body=body if isinstance(body, bytes) else json.dumps(body).encode(), headers={**BEARER, **kind, **headers}
    )


# --- /admin/config, as claude-code-fallback has it


async def test_the_list_is_replaced_exported_restored_and_cleared(app: App) -> None:
    posted = await ask(app, "POST", "/admin/config", [ONE, TWO])
    assert (posted.status, posted.json()) == (200, {"success": True, "count": 2})
    backup = await ask(app, "GET", "/admin/config")
    assert [each["name"] for each in backup.json()] == ["OpenRouter backup", "second"]
    assert SECRET not in backup.body.decode()
    assert (await ask(app, "POST", "/admin/config", [])).json() == {"success": True, "count": 0}
    assert (await ask(app, "GET", "/admin/config")).json() == []
    restored = await ask(app, "POST", "/admin/config", backup.json())
    assert (restored.status, restored.json()) == (200, {"success": True, "count": 2})
    assert [each["name"] for each in (await ask(app, "GET", "/admin/config")).json()] == ["OpenRouter backup", "second"]
    opened = (await ask(app, "GET", "/admin/config?secrets=true")).json()
    assert {field: opened[0][field] for field in ONE} == ONE
    assert (await ask(app, "POST", "/admin/api/config/revisions/0/restore")).status == 200
    assert (await ask(app, "GET", "/admin/config")).json() == []
    assert (await ask(app, "POST", "/admin/config", opened)).json() == {"success": True, "count": 2}
    assert (await ask(app, "GET", "/admin/config?secrets=true")).json() == opened


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Config must be an array"),
        ([{"name": "x"}], "Invalid provider: missing name, baseUrl, or apiKey"),
        ([{**ONE, "format": "gemini"}], 'Invalid provider format: must be "anthropic" or "openai"'),
    ],
)
async def test_a_list_that_is_wrong_changes_nothing_and_says_so_in_the_known_words(app: App, body: Any, message: str) -> None:
    refused = await ask(app, "POST", "/admin/config", body)
    assert (refused.status, refused.json()) == (400, {"error": message})
    assert (await ask(app, "GET", "/admin/config")).json() == []


async def test_a_provider_of_the_list_is_asked(app: App) -> None:
    await ask(app, "POST", "/admin/config", [ONE])
    upstreams = (await ask(app, "GET", "/admin/api/upstreams")).json()
    assert [each["provider_key"] for each in upstreams] == ["openrouter-backup"]
    failed = await app.ask("POST", "/v1/chat/completions", body=chat("claude-opus-4-6"), headers=BEARER)
    assert failed.status == 502
    states = (await ask(app, "GET", "/admin/provider-states")).json()
    assert states["anthropic-primary"] == {"consecutiveFailures": 0, "lastFailure": None, "lastSuccess": None, "cooldownUntil": None}
    assert states["OpenRouter backup"]["consecutiveFailures"] >= 1
    assert states["OpenRouter backup"]["lastFailure"] > 1.7e12
    reset = await ask(app, "POST", "/admin/provider-states/OpenRouter%20backup/reset")
    assert reset.json() == {"success": True}
    assert (await ask(app, "GET", "/admin/provider-states")).json()["OpenRouter backup"]["consecutiveFailures"] == 0
    assert (await ask(app, "POST", "/admin/provider-states/nobody/reset")).status == 404


@pytest.mark.parametrize("name", ["Vendor A/B", "https://vendor.example/v1", "100% a%2Fb?", "שלום 😀", "reset", "a/reset"])
async def test_a_provider_is_reset_whatever_it_is_called(app: App, name: str) -> None:
    assert (await ask(app, "POST", "/admin/config", [{**ONE, "name": name}])).status == 200
    await app.ask("POST", "/v1/chat/completions", body=chat("claude-opus-4-6"), headers=BEARER)
    at = f"/admin/provider-states/{quote(name, safe='')}"
    assert (await ask(app, "POST", at)).status == 404
    assert (await ask(app, "GET", "/admin/provider-states")).json()[name]["consecutiveFailures"] >= 1
    assert (await ask(app, "POST", f"{at}/reset")).json() == {"success": True}
    assert (await ask(app, "GET", "/admin/provider-states")).json()[name]["consecutiveFailures"] == 0


async def test_the_longest_cooldown_is_read_and_set(app: App) -> None:
    assert (await ask(app, "GET", "/admin/settings")).json() == {"cooldownDuration": 300}
    assert (await ask(app, "POST", "/admin/settings", {"cooldownDuration": 60})).json() == {"success": True}
    assert (await ask(app, "GET", "/admin/settings")).json() == {"cooldownDuration": 60}
    refused = await ask(app, "POST", "/admin/settings", {"cooldownDuration": "soon"})
    assert (refused.status, refused.json()) == (400, {"error": "Invalid cooldown duration"})


async def test_a_token_in_the_address_opens_nothing(app: App) -> None:
    for path in ("/admin/config", "/admin/api/keys", "/v0/management/config"):
        assert (await app.ask("GET", f"{path}?token={KEY}")).status == 401


# --- /v0/management, as CLIProxyAPI has it


@pytest.mark.parametrize("header", ["authorization", "x-management-key", "x-management-secret"])
async def test_management_is_opened_by_each_of_the_known_headers(app: App, header: str) -> None:
    value = f"Bearer {KEY}" if header == "authorization" else KEY
    assert (await app.ask("GET", "/v0/management/config", headers={header: value})).status == 200
    wrong = await app.ask("GET", "/v0/management/config", headers={header: "Bearer wrong-key-0123456789"})
    assert (wrong.status, wrong.json()) == (401, {"error": "invalid management key"})
    assert (await app.ask("GET", "/v0/management/config")).json() == {"error": "missing management key"}


async def test_auth_files_are_listed_paused_and_reset(app: App) -> None:
    files = (await ask(app, "GET", "/v0/management/auth-files")).json()["files"]
    assert [(each["filename"], each["status"]) for each in files] == [("sandbox.json", "active")]
    assert (await ask(app, "GET", "/v0/management/auth-files?format=array")).json() == files
    index = files[0]["auth_index"]
    paused = await ask(app, "PATCH", "/v0/management/auth-files/status", {"name": files[0]["filename"], "disabled": True})
    assert paused.json() == {"status": "ok", "disabled": True}
    assert (await app.ask("POST", "/v1/chat/completions", body=chat(), headers=BEARER)).status == 503
    await ask(app, "PATCH", "/v0/management/auth-files/status", {"auth_index": index, "name": "x", "disabled": False})
    reset = await ask(app, "POST", "/v0/management/reset-quota", {"auth_index": index})
    assert reset.json() == {"status": "ok", "auth_index": index, "models": []}


async def test_the_quota_of_an_unknown_index_is_nobodys(app: App) -> None:
    refused = await ask(app, "GET", "/v0/management/kiro-quota?auth_index=unknown")
    assert (refused.status, refused.json()["auth_index"]) == (400, "unknown")
    assert (await ask(app, "GET", "/v0/management/kiro-quota")).json() == {"error": "no kiro credential found"}


@pytest.mark.parametrize("path", ["quota-exceeded/switch-project", "quota-exceeded/switch-preview-model", "debug"])
async def test_toggles_are_kept_and_read_back(app: App, path: str) -> None:
    name = path.rpartition("/")[2]
    before = (await ask(app, "GET", f"/v0/management/{path}")).json()[name]
    written = await ask(app, "PUT", f"/v0/management/{path}", {"value": not before})
    assert (written.status, written.json()) == (200, {"status": "ok"})
    assert (await ask(app, "GET", f"/v0/management/{path}")).json() == {name: not before}
    refused = await ask(app, "PATCH", f"/v0/management/{path}", {"value": "perhaps"})
    assert (refused.status, refused.json()) == (400, {"error": "invalid body"})


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/v0/management/debug", b"", 400),
        ("PUT", "/v0/management/api-keys", b"", 400),
        ("POST", "/admin/settings", b"[5]", 400),
        ("POST", "/admin/settings", b"{", 400),
        ("POST", "/admin/config", b"[" + b"0," * 1024 * 1024 + b"0]", 413),
    ],
)
async def test_a_body_that_cannot_be_read_is_told_in_the_known_shape(app: App, method: str, path: str, body: bytes, status: int) -> None:
    refused = await ask(app, method, path, body)
    assert (refused.status, type(refused.json()["error"])) == (status, str)


async def test_client_keys_are_a_list_whose_secrets_are_never_shown(app: App) -> None:
    own = "sk-of-a-client-0123456789"
    assert (await ask(app, "PUT", "/v0/management/api-keys", [own])).json() == {"status": "ok"}
    listed = await ask(app, "GET", "/v0/management/api-keys")
    assert len(listed.json()["api-keys"]) == 1
    assert own not in listed.body.decode()
    assert (await app.ask("POST", "/v1/chat/completions", body=chat(), headers={"authorization": f"Bearer {own}"})).status == 200
    assert (await app.ask("POST", "/v1/chat/completions", body=chat(), headers=BEARER)).status == 403
    for index in ("-1", "%C2%B2", "9" * 5000):
        refused = await ask(app, "DELETE", f"/v0/management/api-keys?index={index}")
        assert (refused.status, refused.json()) == (400, {"error": "missing index or value"})
    assert (await ask(app, "DELETE", "/v0/management/api-keys?index=0")).json() == {"status": "ok"}
    assert (await app.ask("POST", "/v1/chat/completions", body=chat(), headers={"authorization": f"Bearer {own}"})).status == 401


async def test_the_configuration_and_the_usage_have_the_shapes_that_scripts_read(app: App) -> None:
    config = (await ask(app, "GET", "/v0/management/config")).json()
    assert [(each["name"], "openai_chat" in each["supported_clients"]) for each in config["providers"]] == []
    assert config["quota-exceeded"] == {"switch-project": True, "switch-preview-model": False}
    usage = (await ask(app, "GET", "/v0/management/usage")).json()
    assert {"total_requests", "success_count", "failure_count", "total_tokens", "apis"} <= usage["usage"].keys()


async def test_without_a_store_the_answer_says_so() -> None:
    app = App(APP_AUTH__MASTER_KEY=KEY)
    assert (await app.ask("GET", "/admin/config", headers=BEARER)).status == 503
    assert "keeps nothing" in (await app.ask("GET", "/v0/management/config", headers=BEARER)).json()["error"]
