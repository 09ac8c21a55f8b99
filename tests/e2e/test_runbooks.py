"""The commands of earlier systems' runbooks, typed into a shell as they are printed there, against the built file."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.processes import KEY, ROOT, Service, service

SECRET = "sk-canary-of-a-provider-0123456789"
PROVIDERS = [
    {"name": "openrouter", "baseUrl": "http://127.0.0.1:9/api/v1/chat/completions", "apiKey": SECRET, "format": "openai", "retry": 1},
    {"name": "iflow", "baseUrl": "http://127.0.0.1:9/v1/messages", "apiKey": SECRET, "headers": {"x-title": "team"}},
]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("runbooks"), APP_AUTH__MASTER_KEY=KEY) as started:
        yield started


@pytest.fixture
def shell(running: Service, tmp_path: Path) -> Callable[[str], str]:
    """Runs commands, which must end well, and gives what they print."""

    def run(commands: str) -> str:
        given = {"PATH": "/usr/bin:/bin", "BASE": running.url, "ADMIN_TOKEN": KEY, "MANAGEMENT_KEY": KEY, "API_KEY": KEY}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands], cwd=tmp_path, env=given, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    return run


ADMIN = 'curl -sf -H "Authorization: Bearer $ADMIN_TOKEN"'
MANAGE = 'curl -sf -H "Authorization: Bearer $MANAGEMENT_KEY"'


def test_providers_are_configured_backed_up_cleared_and_restored(shell: Callable[[str], str]) -> None:
    posted = shell(f"""{ADMIN} -X POST -H "Content-Type: application/json" -d '{json.dumps(PROVIDERS)}' $BASE/admin/config""")
    assert json.loads(posted) == {"success": True, "count": 2}
    assert shell(f"{ADMIN} $BASE/admin/config | jq -r '.[].name'").split() == ["openrouter", "iflow"]
    out = shell(
        f"""{ADMIN} $BASE/admin/config > backup.json
        {ADMIN} -X POST -H "Content-Type: application/json" -d '[]' $BASE/admin/config | jq -c .
        {ADMIN} $BASE/admin/config | jq length
        {ADMIN} -X POST -H "Content-Type: application/json" -d @backup.json $BASE/admin/config | jq -c .
        {ADMIN} $BASE/admin/config | jq length
        cat backup.json"""
    )
    assert out.splitlines()[:4] == ['{"success":true,"count":0}', "0", '{"success":true,"count":2}', "2"]
    assert SECRET not in out
    opened = json.loads(shell(f"{ADMIN} '$BASE/admin/config?secrets=true'".replace("'", '"')))
    assert [{name: each[name] for name in given} for each, given in zip(opened, PROVIDERS, strict=True)] == PROVIDERS


def test_the_state_of_a_provider_is_shown_and_reset(shell: Callable[[str], str]) -> None:
    shell(f"""{ADMIN} -X POST -H "Content-Type: application/json" -d '{json.dumps(PROVIDERS)}' $BASE/admin/config""")
    body = '{"model":"openrouter/m","messages":[{"role":"user","content":"x"}]}'
    shell(f"""for n in 1 2 3 4; do curl -s -o /dev/null -H "Authorization: Bearer $API_KEY" $BASE/v1/chat/completions -d '{body}'; done""")
    state = json.loads(shell(f"{ADMIN} $BASE/admin/provider-states | jq .openrouter"))
    assert state.keys() == {"consecutiveFailures", "lastFailure", "lastSuccess", "cooldownUntil"}
    assert state["consecutiveFailures"] >= 3
    assert state["cooldownUntil"] > state["lastFailure"]
    assert json.loads(shell(f"{ADMIN} -X POST $BASE/admin/provider-states/openrouter/reset")) == {"success": True}
    state = json.loads(shell(f"{ADMIN} $BASE/admin/provider-states | jq .openrouter"))
    assert (state["consecutiveFailures"], state["cooldownUntil"]) == (0, None)


def test_the_breakers_longest_cooldown_is_tuned(shell: Callable[[str], str]) -> None:
    out = shell(
        f"""{ADMIN} -X POST -H "Content-Type: application/json" -d '{{"cooldownDuration":120}}' $BASE/admin/settings | jq -c .
        {ADMIN} $BASE/admin/settings | jq -c ."""
    )
    assert out.split() == ['{"success":true}', '{"cooldownDuration":120}']


def test_health_models_and_providers_are_probed(shell: Callable[[str], str]) -> None:
    out = shell(
        """curl -sf $BASE/health | jq -r .status
        curl -sfI $BASE/health | head -1
        curl -sf $BASE/healthz | jq -r .ok
        curl -sf -H "Authorization: Bearer $API_KEY" $BASE/v1/models | jq '.data|length'
        curl -sf $BASE/v1/metrics/providers | jq '.openrouter // .providers.openrouter | has("success_rate")'
        curl -sf $BASE/v1/metrics/providers | jq '.data[] | select(.provider=="openrouter") | has("error_rate")'"""
    ).splitlines()
    assert out[0] in ("ok", "degraded")
    assert "200" in out[1]
    assert out[2] == "true"
    assert int(out[3]) >= 0
    assert out[4:] == ["true", "true"]


def test_credentials_are_listed_with_their_indices(shell: Callable[[str], str]) -> None:
    shell(f"""{ADMIN} -X POST -H "Content-Type: application/json" -d '{json.dumps(PROVIDERS)}' $BASE/admin/config""")
    names = shell(f"{MANAGE} $BASE/v0/management/auth-files | jq -r '.files[].filename'").split()
    assert names == ["iflow.json", "openrouter.json"]
    first = shell(f"{MANAGE} \"$BASE/v0/management/auth-files?format=array\" | jq -r '.[] | .auth_index // .index'").split()
    again = shell(f"{MANAGE} $BASE/v0/management/auth-files | jq -r '.files[].index'").split()
    assert first == again
    assert len(set(first)) == 2


def test_a_quota_is_asked_for_by_index_and_an_unknown_one_is_nobodys(shell: Callable[[str], str]) -> None:
    out = shell(
        """at="$BASE/v0/management/kiro-quota?auth_index=nobody"
        curl -s -o answer -w '%{http_code}\n' -H "Authorization: Bearer $MANAGEMENT_KEY" "$at"
        jq -r .auth_index answer"""
    )
    assert out.split() == ["400", "nobody"]


def test_toggles_are_set_with_the_management_secret(shell: Callable[[str], str]) -> None:
    out = shell(
        """json="Content-Type: application/json"
        put() { curl -sf -X PUT -H "X-Management-Secret: $MANAGEMENT_KEY" -H "$json" -d "$2" $BASE/v0/management/$1; }
        put quota-exceeded/switch-project '{"value":false}' | jq -c .
        put quota-exceeded/switch-preview-model '{"value":true}' | jq -c .
        curl -sf -H "X-Management-Key: $MANAGEMENT_KEY" $BASE/v0/management/config | jq -c '."quota-exceeded"'
        curl -sf -H "X-Management-Key: $MANAGEMENT_KEY" $BASE/v0/management/quota-exceeded/switch-project | jq -c ."""
    )
    assert out.splitlines() == [
        '{"status":"ok"}',
        '{"status":"ok"}',
        '{"switch-project":false,"switch-preview-model":true}',
        '{"switch-project":false}',
    ]


def test_providers_and_who_they_serve_are_read_from_the_configuration(shell: Callable[[str], str]) -> None:
    out = shell(f"{MANAGE} $BASE/v0/management/config | jq -c '.providers[] | {{name, supported_clients}}'")
    assert {json.loads(line)["name"] for line in out.splitlines()} >= {"openrouter", "iflow"}


def test_usage_is_summed_and_keys_are_shown_by_their_prefix(shell: Callable[[str], str]) -> None:
    assert int(shell(f"{MANAGE} $BASE/v0/management/usage | jq .usage.total_requests")) >= 0
    assert json.loads(shell(f"{MANAGE} $BASE/v0/management/api-keys")) == {"api-keys": []}


def test_the_repository_asks_for_what_these_commands_need() -> None:
    assert "curl=curl jq=jq" in (ROOT / "Makefile").read_text()
