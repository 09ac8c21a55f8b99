"""From settings to upstreams."""

from __future__ import annotations

from pathlib import Path

import pytest

from fkproxy.adapters.http import HttpClient
from fkproxy.providers import Built, Workshop
from fkproxy.settings import load
from tests.e2e.processes import service_account

OPENAI = {"OPENAI_API_KEY": "sk-upstream-key"}
GEMINI = {"GOOGLE_API_KEY": "AIza-upstream-key"}


def build(environ: dict[str, str], client: HttpClient) -> Built:
    loaded = load(environ=environ)
    return Workshop(client).build(loaded)


def keys(built: Built) -> list[str]:
    return [member.adapter.provider_key for member in built.members]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [("sandbox", ("*",))]),
        (GEMINI, [("gemini", ("gemini-*", "gemma-*", "learnlm-*"))]),
        (OPENAI, [("openai", ("*",))]),
        ({**OPENAI, "APP_OPENAI__PROVIDER_KEY": "groq", "APP_OPENAI__MODELS": "llama-*, qwen*"}, [("groq", ("llama-*", "qwen*"))]),
        ({"ANTHROPIC_API_KEY": "sk-ant-upstream-key"}, [("anthropic", ("claude-*",))]),
        ({"ANTHROPIC_BASE_URL": "http://127.0.0.1:9", "APP_ANTHROPIC__MODELS": "opus*"}, [("anthropic", ("opus*",))]),
        ({**GEMINI, "ANTHROPIC_AUTH_TOKEN": "token"}, [("gemini", ("gemini-*", "gemma-*", "learnlm-*")), ("anthropic", ("claude-*",))]),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:11434/v1"}, [("openai", ("*",))]),
        ({**GEMINI, **OPENAI}, [("gemini", ("gemini-*", "gemma-*", "learnlm-*")), ("openai", ("*",))]),
        ({**OPENAI, "APP_SANDBOX__ENABLED": "true"}, [("openai", ("*",)), ("sandbox", ("sandbox", "sandbox[?]*"))]),
    ],
)
async def test_what_is_configured_is_what_there_is(settings: dict[str, str], expected: list[tuple[str, tuple[str, ...]]]) -> None:
    client = HttpClient()
    built = build(settings, client)
    assert [(member.adapter.provider_key, member.adapter.models) for member in built.members] == expected
    assert [(rule.provider_key, rule.models) for rule in built.rules] == expected
    await client.aclose()


async def test_a_service_account_means_vertex_and_a_key_wins_over_it(tmp_path: Path) -> None:
    client = HttpClient()
    credentials = {"GOOGLE_APPLICATION_CREDENTIALS": str(service_account(tmp_path, "http://127.0.0.1:1/token"))}
    assert keys(build(credentials, client)) == ["vertex"]
    assert keys(build({**credentials, **GEMINI}, client)) == ["gemini"]
    claude = {**credentials, "APP_VERTEX__CLAUDE_MODELS": "claude-sonnet-5,claude-*"}
    for settings, expected in ((claude, ["vertex", "vertex-claude"]), ({**claude, **GEMINI}, ["gemini", "vertex-claude"])):
        assert keys(build(settings, client)) == expected
    await client.aclose()
