"""From settings to upstreams."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fkproxy.adapters.base import UpstreamCall
from fkproxy.adapters.codex import CodexCli, Limits
from fkproxy.adapters.http import HttpClient
from fkproxy.assembly import Assembly
from fkproxy.model.errors import UpstreamOverloaded
from fkproxy.providers import Built, Workshop
from fkproxy.settings import SettingsError, load, load_providers
from fkproxy.telemetry.prices import Rates
from tests.e2e.processes import service_account
from tests.fakes.upstream import FakeUpstream, reply

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


@pytest.mark.parametrize("more", ["", 'client_headers = ["anthropic-user-profile-id", "x-team"]\n'])
async def test_whom_a_request_is_for_goes_to_anthropic_and_another_workspace_does_not(tmp_path: Path, more: str) -> None:
    client = HttpClient()
    async with FakeUpstream(reply()) as upstream:
        file = tmp_path / "providers.toml"
        file.write_text(
            f'[[providers]]\nname = "a"\nadapter = "anthropic"\nbase_url = "{upstream.url}"\n{more}[[providers.credentials]]\nkey = "k"\n'
        )
        (member,) = build({"APP_PROVIDERS_FILE": str(file)}, client).members
        said = {b"anthropic-user-profile-id": b"uprof_1", b"anthropic-workspace-id": b"wrkspc_1"}
        exchange = await member.adapter.send(UpstreamCall(model="m", stream=False, body=b"{}", request_id="r", client_headers=said))
        assert await exchange.head(20.0)
        exchange.close()
        (asked,) = upstream.asked
        told = {name: value for name, value in asked.headers.items() if name.startswith("anthropic-")}
        assert told == {"anthropic-version": "2023-06-01", "anthropic-user-profile-id": "uprof_1"}
    await client.aclose()


@pytest.mark.parametrize(("enabled", "expected"), [({}, []), ({"APP_SANDBOX__ENABLED": "true"}, [("sandbox", ("sandbox", "sandbox[?]*"))])])
async def test_what_is_disabled_is_configured_and_nobody_makes_up_its_answers(
    tmp_path: Path, enabled: dict[str, str], expected: list[tuple[str, tuple[str, ...]]]
) -> None:
    client = HttpClient()
    (tmp_path / "providers.toml").write_text('[[providers]]\nname = "vendor"\nadapter = "openai"\ndisabled = true\n')
    built = build({"APP_PROVIDERS_FILE": str(tmp_path / "providers.toml"), **enabled}, client)
    assert [(rule.provider_key, rule.models) for rule in built.rules] == expected
    await client.aclose()


@pytest.mark.parametrize(
    ("settings", "listed"),
    [
        (OPENAI, True),
        (GEMINI, True),
        ({"OPENAI_BASE_URL": "https://api.deepseek.com/v1"}, True),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:11434/v1"}, False),
        ({"OPENAI_BASE_URL": "http://[fd00::7]:11434/v1"}, False),
        ({"OPENAI_BASE_URL": "http://ollama:11434/v1"}, False),
        ({}, False),
    ],
)
async def test_list_prices_are_for_who_may_be_a_vendor(settings: dict[str, str], listed: bool) -> None:
    client = HttpClient()
    pricing = build(settings, client).members[0].terms.pricing
    assert (pricing is not None and pricing.listed) is listed
    await client.aclose()


async def test_an_operator_can_say_every_price_that_a_list_can(tmp_path: Path) -> None:
    said = {name: float(place) for place, name in enumerate(Rates.__struct_fields__) if name not in ("above_input_tokens", "tiers")}
    entry = '[[providers]]\nname = "one"\nadapter = "openai"\nbase_url = "http://127.0.0.1:9/v1"\n'
    (tmp_path / "providers.toml").write_text(
        f"{entry}[providers.prices.m]\n"
        + "".join(f"{name} = {usd}\n" for name, usd in said.items())
        + "tiers = { fast = 2, ultrafast = 6, flex = 0.5 }\n"
    )
    client = HttpClient()
    (member,) = build({"APP_PROVIDERS_FILE": str(tmp_path / "providers.toml")}, client).members
    assert member.terms.pricing is not None
    assert member.terms.pricing.rates("m", None, 0.0) == (Rates(**said, tiers={"fast": 2.0, "ultrafast": 6.0, "flex": 0.5}),)
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


CODEX = {"CODEX_BIN": "/opt/codex/bin/codex", "CODEX_HOME": "/srv/codex"}
CHILD = '[[providers]]\nname = "coder"\nadapter = "codex"\n'


def codex_of(built: Built) -> CodexCli:
    (adapter,) = (member.adapter for member in built.members if isinstance(member.adapter, CodexCli))
    return adapter


async def test_a_child_has_what_is_passed_on_from_the_file_of_the_settings_too(tmp_path: Path) -> None:
    env_file = tmp_path / "env"
    env_file.write_text("HTTPS_PROXY=http://proxy.example:3128\nTHEIR_KEY=one\nTHEIR_OTHER=of the file\nOUR_KEY=three\n")
    environ = CODEX | {"APP_CODEX__PASS_ENVIRONMENT": "THEIR_KEY, THEIR_OTHER", "THEIR_OTHER": "two"}
    client = HttpClient()
    loaded = load(env_file, environ)
    assert [warning.name for warning in loaded.warnings] == [f"OUR_KEY in {env_file}"]
    environment = codex_of(Workshop(client).build(loaded)).crew.command.environment
    found = {name: text for name, text in environment.items() if name.endswith(("_PROXY", "_KEY", "_OTHER"))}
    assert found == {"HTTPS_PROXY": "http://proxy.example:3128", "THEIR_KEY": "one", "THEIR_OTHER": "two"}
    await client.aclose()


async def test_the_program_alone_makes_the_codex_cli_a_provider() -> None:
    client = HttpClient()
    built = build(CODEX, client)
    assert keys(built) == ["codex"]
    command = codex_of(built).crew.command
    assert (command.binary, command.home, command.directory) == (
        "/opt/codex/bin/codex",
        Path("/srv/codex"),
        Path("/srv/codex/calls"),
    )
    (rule,) = built.rules
    assert rule.models == ()
    assert rule.names["codex-5-high"] == "default(high)"
    assert (codex_of(built).dialect, codex_of(built).address, codex_of(built).operations) == ("codex", None, {"chat"})
    assert not codex_of(built).crew.servers
    await client.aclose()


@pytest.mark.parametrize(
    ("settings", "names", "patterns"),
    [
        ({"CODEX_MODEL": "gpt-5.1"}, {"codex-5-low": "gpt-5.1(low)", "gpt-5.2-codex-XH": "gpt-5.2(xhigh)"}, ()),
        ({"APP_CODEX__MODELS": "gpt-*, o3"}, {}, ("gpt-*", "o3")),
    ],
)
async def test_which_models_the_child_has(settings: dict[str, str], names: dict[str, str], patterns: tuple[str, ...]) -> None:
    client = HttpClient()
    (rule,) = build({**CODEX, **settings}, client).rules
    assert rule.models == patterns
    assert names.items() <= rule.names.items()
    await client.aclose()


async def test_the_childs_home_is_in_the_services_directory_if_it_is_nowhere_else(tmp_path: Path) -> None:
    client = HttpClient()
    binary = {"CODEX_BIN": "codex"}
    built = build({**binary, "STATE_DIRECTORY": str(tmp_path)}, client)
    assert codex_of(built).crew.command.home == tmp_path / "codex"
    with pytest.raises(SettingsError, match="no directory for the Codex CLI"):
        build(binary, client)
    await client.aclose()


def test_a_file_that_is_read_again_must_name_a_home_as_well(tmp_path: Path) -> None:
    path = tmp_path / "providers.toml"
    path.write_text("")
    loaded = load(environ={"APP_PROVIDERS_FILE": str(path)})
    path.write_text(CHILD)
    with pytest.raises(SettingsError, match="no directory for the Codex CLI"):
        load_providers(loaded)
    path.write_text(CHILD + 'codex = { home = "/srv/codex" }\n')
    assert [provider.name for provider in load_providers(loaded).providers] == ["coder"]


async def test_every_setting_reaches_the_child() -> None:
    client = HttpClient()
    settings = {
        "APP_CODEX__MODEL_PROVIDER": "azure",
        "APP_CODEX__OWN_TOOLS": "true",
        "APP_CODEX__SANDBOX": "workspace-write",
        "APP_CODEX__PASS_ENVIRONMENT": "AZURE_KEY",
        "APP_CODEX__MAX_PROCESSES": "3",
        "APP_CODEX__CALLS_PER_PROCESS": "5",
        "APP_CODEX__MEMORY_LIMIT": "100000000",
        "APP_CODEX__MAX_AGE_SECS": "60",
        "APP_CODEX__START_TIMEOUT_SECS": "7",
        "AZURE_KEY": "for it",
        "OPENAI_API_KEY": "sk-upstream-key",
    }
    built = build({**CODEX, **settings}, client)
    crew = codex_of(built).crew
    assert crew.limits == Limits(processes=3, turns=5, memory_bytes=100_000_000, age_s=60.0, start_s=7.0)
    assert 'model_provider="azure"' in crew.command.args
    assert 'sandbox_mode="workspace-write"' in crew.command.args
    assert crew.command.environment["AZURE_KEY"] == "for it"
    assert "OPENAI_API_KEY" not in crew.command.environment
    await client.aclose()


@pytest.mark.parametrize(("entry", "expected"), [("", 16), ("codex = { processes = 3, calls_per_process = 4 }\n", 12)])
@pytest.mark.parametrize(("limits", "said"), [("", None), ("limits = { max_concurrency = 2 }\n", 2)])
async def test_there_is_room_for_what_the_children_can_do(tmp_path: Path, entry: str, expected: int, limits: str, said: int | None) -> None:
    client = HttpClient()
    path = tmp_path / "providers.toml"
    path.write_text(CHILD + limits + entry)
    built = build({"APP_PROVIDERS_FILE": str(path), "STATE_DIRECTORY": str(tmp_path)}, client)
    assert [member.terms.max_concurrency for member in built.members] == [said or expected]
    assert built.rules[0].models == ("codex-*",)
    await client.aclose()


async def test_a_child_is_shared_and_one_that_nobody_names_any_more_is_retired(tmp_path: Path) -> None:
    client = HttpClient()
    path = tmp_path / "providers.toml"
    path.write_text(CHILD + CHILD.replace("coder", "other"))
    loaded = load(environ={"APP_PROVIDERS_FILE": str(path), "STATE_DIRECTORY": str(tmp_path)})
    assembly = Assembly(client, loaded.settings, lambda key, to: None)
    before = assembly.fleet(loaded)
    first, second = (upstream.adapter for upstream in before.upstreams)
    assert isinstance(first, CodexCli)
    assert isinstance(second, CodexCli)
    assert first.crew is second.crew
    path.write_text(CHILD + "codex = { processes = 1 }\n" + CHILD.replace("coder", "other"))
    changed, same = (upstream.adapter for upstream in assembly.fleet(load_providers(loaded), before).upstreams)
    assert isinstance(changed, CodexCli)
    assert isinstance(same, CodexCli)
    assert changed.crew is not first.crew
    assert same.crew is first.crew
    path.write_text(CHILD + "codex = { processes = 1 }\n")
    (only,) = (upstream.adapter for upstream in assembly.fleet(load_providers(loaded), before).upstreams)
    assert only is changed
    with pytest.raises(UpstreamOverloaded):
        await first.crew.take()
    await assembly.aclose()
    with pytest.raises(UpstreamOverloaded):
        await changed.crew.take()
    await client.aclose()


async def test_a_reload_ends_the_old_child_when_its_calls_are_over_and_closing_ends_all(tmp_path: Path) -> None:
    client = HttpClient()
    path = tmp_path / "providers.toml"
    fake = Path(__file__).parent / "fakes" / "codex_child.py"
    entry = CHILD + 'codex = {{ binary = "{}", processes = {} }}\n'
    path.write_text(entry.format(fake, 1))
    loaded = load(environ={"APP_PROVIDERS_FILE": str(path), "STATE_DIRECTORY": str(tmp_path), "PATH": os.environ["PATH"]})
    workshop = Workshop(client)
    workshop.settle(built := workshop.build(loaded))
    old = await codex_of(built).crew.take()
    path.write_text(entry.format(fake, 2))
    again = workshop.build(load_providers(loaded))
    assert not old.leaving, "what is built is not in force yet"
    workshop.settle(again)
    assert old.leaving
    assert old.lost is None
    new = await codex_of(again).crew.take()
    await workshop.aclose()
    for server in (old, new):
        assert server.lost is not None
        assert not server.process.running
    await client.aclose()
