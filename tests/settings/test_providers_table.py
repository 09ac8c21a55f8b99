"""The providers file and the settings that say something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from fkproxy.adapters.http import HttpClient
from fkproxy.assembly import Assembly
from fkproxy.model.errors import UnknownModel
from fkproxy.routing import RoutingTable
from fkproxy.settings import ProvidersFile, SettingsError, load, routing_of
from fkproxy.settings.providers_schema import ModelEntry
from fkproxy.settings.providers_table import rule_of

FILE = ProvidersFile.model_validate({"strategy": "weighted", "quota_exceeded": {"switch_project": False}, "force_model_prefix": True})


def routing(**variables: str) -> tuple[str, bool, bool, bool]:
    file = routing_of(FILE, load(environ=variables).settings)
    return file.strategy, file.quota_exceeded.switch_project, file.quota_exceeded.switch_preview_model, file.force_model_prefix


def test_the_file_is_in_force_where_no_setting_speaks() -> None:
    assert routing() == ("weighted", False, False, True)


def test_a_setting_takes_the_place_of_what_the_file_says_and_of_nothing_else() -> None:
    assert routing(APP_ROUTING__SWITCH_PREVIEW_MODEL="on") == ("weighted", False, True, True)
    assert routing(APP_ROUTING__SWITCH_PROJECT="true", APP_ROUTING__STRATEGY="sticky") == ("sticky", True, False, True)


@pytest.mark.parametrize(
    "variables",
    [
        {"APP_OPENAI__PROVIDER_KEY": "anthropic", "ANTHROPIC_API_KEY": "sk-ant-key"},
        {"APP_OPENAI__PROVIDER_KEY": "gemini", "GOOGLE_API_KEY": "AIza-key"},
        {"APP_OPENAI__PROVIDER_KEY": "codex", "CODEX_BIN": "codex", "CODEX_HOME": "/nonexistent"},
        {"APP_OPENAI__PROVIDER_KEY": "sandbox"},
    ],
)
def test_two_providers_that_variables_name_have_two_names(variables: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=r"APP_OPENAI__PROVIDER_KEY: .* is the name of another provider"):
        load(environ={"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", **variables})


def test_a_provider_may_be_called_as_one_that_is_not_there() -> None:
    (provider,) = load(environ={"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "APP_OPENAI__PROVIDER_KEY": "anthropic"}).providers
    assert provider.name == "anthropic"


def test_the_settings_are_heard_with_no_file_at_all() -> None:
    loaded = load(environ={"APP_ROUTING__STRATEGY": "round_robin", "APP_ROUTING__SWITCH_PROJECT": "off"})
    assert (loaded.routing.strategy, loaded.routing.quota_exceeded.switch_project) == ("round_robin", False)


@pytest.mark.parametrize(("switch", "alone"), [("off", True), ("on", False)])
def test_a_preview_that_nobody_switches_to_leaves_its_model_with_one_upstream(tmp_path: Path, switch: str, alone: bool) -> None:
    file = tmp_path / "providers.toml"
    file.write_text(
        """
[[providers]]
name = "p"
adapter = "openai"
base_url = "http://127.0.0.1:1"
models = ["m"]
preview_models = { m = "m-preview" }
"""
    )
    loaded = load(environ={"APP_PROVIDERS_FILE": str(file), "APP_ROUTING__SWITCH_PREVIEW_MODEL": switch})
    fleet = Assembly(HttpClient(), loaded.settings, lambda key, to: None).fleet(loaded)
    assert (fleet.route("m").only is not None) is alone


AT, DASHED = "claude-x@20251001", "claude-x-20251001"
ON_VERTEX = {"APP_VERTEX__AMBIENT_CREDENTIALS": "true", "APP_VERTEX__CLAUDE_MODELS": f"{AT},claude-y"}


@pytest.mark.parametrize("asked", [AT, DASHED])
@pytest.mark.parametrize(
    ("adapter", "variables", "model"),
    [
        ("vertex_claude", ON_VERTEX, AT),
        ("vertex_claude", {**ON_VERTEX, "APP_VERTEX__CLAUDE_MODELS": "claude-*"}, AT),
        ("anthropic", {"ANTHROPIC_API_KEY": "sk-ant-key"}, DASHED),
        ("anthropic", {"ANTHROPIC_API_KEY": "sk-ant-key", "ANTHROPIC_BASE_URL": "https://api.anthropic.com/"}, DASHED),
        ("anthropic", {"ANTHROPIC_API_KEY": "sk-ant-key", "ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}, None),
    ],
)
def test_a_dated_model_is_asked_for_by_the_providers_own_name_of_it(
    adapter: str, variables: dict[str, str], model: str | None, asked: str
) -> None:
    provider = next(each for each in load(environ=variables).providers if each.adapter == adapter)
    table = RoutingTable([rule_of(provider)])
    assert [target.model for target in table.candidates(asked)] == [model or asked]
    for excluded in (AT, DASHED, "claude-x@2025*", "claude-x-2025*"):
        without = RoutingTable([rule_of(provider.model_copy(update={"excluded_models": (excluded,)}))])
        with pytest.raises(UnknownModel):
            without.candidates(asked)
    called = RoutingTable([rule_of(provider.model_copy(update={"models": (ModelEntry(alias="mine", name=asked),)}))])
    assert [target.model for target in called.candidates("mine")] == [model or asked]
