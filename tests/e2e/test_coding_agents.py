"""Unmodified coding agents through the built file, each on every upstream: a plain turn, and a turn with a tool of the agent's own.

Claude Code, Codex CLI and Gemini CLI run as their users run them, with nothing but loopback to talk to; what answers behind the gateway is
a third party's fake of the vendors' APIs. The upstream is chosen by the model's name.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import gemini_settings
from tests.e2e.processes import KEY, ROOT, Aimock, Service, clean_environment, node, service

MODELS = {"gemini": "gemini/gemini-2.5-flash", "openai": "openai/gpt-4.1", "anthropic": "anthropic/claude-sonnet-4-5"}
_TIMEOUT_S = 300


@pytest.fixture(scope="module")
def gateway(directory: Path, aimock: Aimock) -> Iterator[Service]:
    """All upstreams at once."""
    others = {"OPENAI_API_KEY": "sk-upstream-key", "OPENAI_BASE_URL": f"{aimock.url}/v1"}
    others |= {"ANTHROPIC_API_KEY": "sk-ant-upstream-key", "ANTHROPIC_BASE_URL": aimock.url}
    with service(directory, **gemini_settings(aimock.url), **others) as running:
        yield running


@pytest.fixture(scope="module")
def responses_gateway(directory: Path, aimock: Aimock) -> Iterator[Service]:
    """Before a server that speaks Responses itself: what clients of that dialect send passes through."""
    settings = {"OPENAI_API_KEY": "sk-upstream-key", "OPENAI_BASE_URL": f"{aimock.url}/v1", "APP_OPENAI__API": "both"}
    with service(directory, APP_AUTH__MASTER_KEY=KEY, **settings) as running:
        yield running


@pytest.fixture(scope="module")
def responses_only(directory: Path, aimock: Aimock) -> Iterator[Service]:
    """Before a server that speaks Responses and nothing else."""
    settings = {"OPENAI_API_KEY": "sk-upstream-key", "OPENAI_BASE_URL": f"{aimock.url}/v1", "APP_OPENAI__API": "responses"}
    with service(directory, APP_AUTH__MASTER_KEY=KEY, **settings) as running:
        yield running


def told(client: str) -> list[str]:
    """What the README says that it wants, each as it is typed."""
    (row,) = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith(f"| {client} |")]
    return re.findall("`([^`]+)`", row)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with a note in it, and a home with the settings that spare an agent its questions."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "note.txt").write_text("the secret word is heron\n")
    (tmp_path / "home" / ".gemini").mkdir(parents=True)
    settings = json.loads(told("Gemini CLI")[-1]) | {"privacy": {"usageStatisticsEnabled": False}}
    (tmp_path / "home" / ".gemini" / "settings.json").write_text(json.dumps(settings))
    return tmp_path


def run(folder: Path, program: str, *arguments: str, **variables: str) -> str:
    environment = {**clean_environment(), **variables, "HOME": str(folder / "home"), "NO_PROXY": "*"}
    environment["PATH"] = f"{Path(node()).parent}:{environment['PATH']}"
    command = [str(ROOT / "node_modules" / ".bin" / program), *arguments]
    done = subprocess.run(
        command, cwd=folder / "project", env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def claude(gateway: Service, folder: Path, model: str, prompt: str, key: str = KEY, **variables: str) -> dict[str, Any]:
    variables = variables or {"ANTHROPIC_BASE_URL": gateway.url, "ANTHROPIC_API_KEY": key}
    value: dict[str, Any] = json.loads(
        run(
            folder,
            "claude",
            *("-p", prompt, "--model", model, "--output-format", "json", "--allowedTools", "Bash(cat:*)"),
            **variables,
            CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
            DISABLE_AUTOUPDATER="1",
        )
    )
    return value


def gemini(gateway: Service, folder: Path, model: str, prompt: str, **variables: str) -> dict[str, Any]:
    variables = variables or {"GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": gateway.url}
    arguments = ("--skip-trust", "--yolo", "-p", prompt, "-m", model, "--output-format", "json")
    value: dict[str, Any] = json.loads(run(folder, "gemini", *arguments, **variables))
    return value


def codex(gateway: Service, folder: Path, model: str, prompt: str, *settings: str) -> list[dict[str, Any]]:
    """Its events; `agent_message` items hold what was said. `settings`: further lines of its `config.toml`."""
    (folder / "home" / ".codex").mkdir(exist_ok=True)
    lines = [each for each in told("Codex CLI") if each.startswith("[") or " = " in each]
    text = "\n".join([f'model = "{model}"', *lines, *settings]).replace("http://127.0.0.1:4000", gateway.url)
    (folder / "home" / ".codex" / "config.toml").write_text(text)
    arguments = ("exec", "--skip-git-repo-check", "--json", "--dangerously-bypass-approvals-and-sandbox", prompt)
    return [json.loads(line) for line in run(folder, "codex", *arguments, GATEWAY_KEY=KEY).splitlines() if line.startswith("{")]


@pytest.mark.parametrize("upstream", [*MODELS, "responses"])
def test_codex_answers_and_uses_its_tools(gateway: Service, folder: Path, upstream: str, request: pytest.FixtureRequest) -> None:
    if upstream == "responses":
        gateway = request.getfixturevalue("responses_gateway")
    model = MODELS.get(upstream, "openai/gpt-5")
    plain = [event["item"] for event in codex(gateway, folder, model, "hello") if event["type"] == "item.completed"]
    assert plain[-1].get("text") == "Hello from behind the gateway.", plain
    events = codex(gateway, folder, model, "codex, read the note")
    items = [event["item"] for event in events if event["type"] == "item.completed"]
    assert [item["exit_code"] for item in items if item["type"] == "command_execution"] == [0]
    assert items[-1]["text"] == "The note says heron."
    assert events[-1]["type"] == "turn.completed"
    assert events[-1]["usage"]["output_tokens"] > 0


def test_codex_as_for_its_own_vendor_does_without_a_websocket_at_once(gateway: Service, folder: Path) -> None:
    (folder / "home" / ".codex").mkdir()
    (folder / "home" / ".codex" / "config.toml").write_text(f'openai_base_url = "{gateway.url}/v1"\nmodel = "openai/gpt-5"\n')
    output = run(folder, "codex", "exec", "--skip-git-repo-check", "--json", "hello", CODEX_API_KEY=KEY)
    events = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert [event for event in events if event["type"] == "error"] == []
    assert [event["item"]["text"] for event in events if event.get("item", {}).get("type") == "agent_message"] == [
        "Hello from behind the gateway."
    ]


@pytest.mark.parametrize("upstream", MODELS)
def test_codex_as_for_its_own_vendor_has_its_conversation_shortened_again_and_again(
    gateway: Service, folder: Path, aimock: Aimock, upstream: str
) -> None:
    """It leaves that to the vendor, and takes what comes in place of all but the user's own words."""
    (folder / "home" / ".codex").mkdir()
    settings = f'openai_base_url = "{gateway.url}/v1"\nmodel = "{MODELS[upstream]}"\nmodel_auto_compact_token_limit = 20000\n'
    (folder / "home" / ".codex" / "config.toml").write_text(settings)
    before = len(aimock.journal())
    for number in range(3):
        resumed = ("resume", "--last") if number else ()
        prompt = f"codex, keep the heron in mind, part {number}"
        output = run(folder, "codex", "exec", "--skip-git-repo-check", "--json", *resumed, prompt, CODEX_API_KEY=KEY)
        events = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        assert [event for event in events if event["type"] in ("error", "turn.failed")] == []
        items = [event["item"] for event in events if event["type"] == "item.completed"]
        assert [item["text"] for item in items if item["type"] == "agent_message"] == ["It is kept in mind."]
    asked = [json.dumps(entry["body"]) for entry in aimock.journal()[before:] if entry["method"] == "POST"]
    told = "The user wants the heron kept in mind."
    assert [("The context is nearly full." in body, told in body, "It is kept in mind." in body) for body in asked] == [
        *((False, False, False), (True, False, True), (False, True, False), (True, True, True), (False, True, False))
    ]


def test_codex_makes_its_tools_known_as_to_models_of_its_own_vendor(gateway: Service, folder: Path) -> None:
    """It knows this one, and has it call all its tools from a script."""
    events = codex(gateway, folder, "openai/gpt-6-sol", "codex, read it in a script")
    items = [event["item"] for event in events if event["type"] == "item.completed"]
    assert [item["exit_code"] for item in items if item["type"] == "command_execution"] == [0]
    assert items[-1]["text"] == "The note says heron."


@pytest.mark.parametrize("upstream", MODELS)
def test_codex_has_another_agent_of_its_own_do_a_part(gateway: Service, folder: Path, upstream: str) -> None:
    """What they say to one another is encrypted by its own vendor, and by nobody else."""
    events = codex(gateway, folder, f"{upstream}/gpt-6-sol", "codex, have it counted")
    said = [event["item"]["text"] for event in events if event.get("item", {}).get("type") == "agent_message"]
    assert (said[-1], events[-1]["type"]) == ("Three, says the other.", "turn.completed")


@pytest.mark.parametrize("upstream", MODELS)
def test_codex_finds_the_tools_of_its_mcp_servers_for_the_model(gateway: Service, folder: Path, aimock: Aimock, upstream: str) -> None:
    """To a model that it knows it offers a tool that finds them in their place."""
    # Codex waits ten seconds for a server, and then does without it.
    server = f'[mcp_servers.birds]\ncommand = "{ROOT}/tests/fakes/mcp_server.py"\nrequired = true\nstartup_timeout_sec = 60'
    events = codex(gateway, folder, f"{upstream}/gpt-5.5", "codex, ask the birds", server)
    items = [event["item"] for event in events if event["type"] == "item.completed"]
    assert [(item["tool"], item["status"]) for item in items if item["type"] == "mcp_tool_call"] == [("secret_word", "completed")]
    assert items[-1]["text"] == "The note says heron."
    offered = [tool["function"]["name"] for tool in aimock.last()["body"]["tools"]]
    assert {"tool_search", "mcp__birds__secret_word"} <= set(offered)


@pytest.mark.parametrize("upstream", [*MODELS, "responses"])
def test_claude_code_answers_and_uses_its_tools(gateway: Service, folder: Path, upstream: str, request: pytest.FixtureRequest) -> None:
    gateway = request.getfixturevalue("responses_only") if upstream == "responses" else gateway
    model = MODELS.get(upstream, "openai/gpt-4.1")
    plain = claude(gateway, folder, model, "hello")
    assert (plain["result"], plain["is_error"]) == ("Hello from behind the gateway.", False)
    assert plain["usage"]["output_tokens"] == 6
    read = claude(gateway, folder, model, "claude, read the note")
    assert (read["result"], read["num_turns"]) == ("The note says heron.", 2)


def test_claude_code_asks_as_for_vertex_ai(gateway: Service, folder: Path) -> None:
    variables = dict(each.split("=", 1) for each in told("both, as for Claude on Vertex AI") if "=" in each)
    variables |= {"ANTHROPIC_VERTEX_BASE_URL": gateway.v1, "ANTHROPIC_AUTH_TOKEN": KEY}
    for model in MODELS.values():
        read = claude(gateway, folder, model, "claude, read the note", **variables)
        assert (read["result"], read["num_turns"]) == ("The note says heron.", 2)


def test_claude_code_tells_at_once_that_its_key_is_refused(gateway: Service, folder: Path) -> None:
    with pytest.raises(AssertionError, match="the API key is not valid"):
        claude(gateway, folder, MODELS["gemini"], "hello", key="sk-another-key")


@pytest.mark.parametrize("upstream", [*MODELS, "responses"])
def test_gemini_cli_answers_and_uses_its_tools(gateway: Service, folder: Path, upstream: str, request: pytest.FixtureRequest) -> None:
    gateway = request.getfixturevalue("responses_only") if upstream == "responses" else gateway
    model = MODELS.get(upstream, "openai/gpt-4.1")
    plain = gemini(gateway, folder, model, "hello")
    assert plain["response"] == "Hello from behind the gateway."
    read = gemini(gateway, folder, model, "gemini, read the note")
    assert read["response"] == "The note says heron."
    assert read["stats"]["tools"]["totalSuccess"] == 1


def test_gemini_cli_asks_as_for_vertex_ai(gateway: Service, folder: Path) -> None:
    settings = folder / "home" / ".gemini" / "settings.json"
    settings.write_text(settings.read_text().replace("gemini-api-key", "vertex-ai"))
    variables = dict(each.split("=", 1) for each in told("both, as for Vertex AI") if each.startswith("GOOGLE_"))
    variables |= {"GOOGLE_VERTEX_BASE_URL": gateway.url, "GOOGLE_API_KEY": KEY}
    for model in ("gemini-2.5-flash", f"publishers/google/models/{MODELS['openai']}"):
        assert gemini(gateway, folder, model, "gemini, read the note", **variables)["response"] == "The note says heron."
