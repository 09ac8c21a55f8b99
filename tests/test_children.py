"""What a program that the configuration names is started with, and what is said of one that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from fkproxy.adapters.codex import TESTED_VERSIONS
from fkproxy.children import child_of, examine, limits_of, options_of, places
from fkproxy.settings import Provider, SettingsError, load


def program(path: Path, says: str) -> str:
    path.write_text(f"#!/bin/sh\n{says}\n")
    path.chmod(0o755)
    return str(path)


def examined(tmp_path: Path, binary: str, **more: str) -> tuple[list[str], list[str]]:
    environ = {"CODEX_BIN": binary, "CODEX_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin", **more}
    found, problems = examine(load(environ=environ))
    return found, [f"{problem.name}: {problem.message}" for problem in problems]


def test_a_version_that_is_known_is_told(tmp_path: Path) -> None:
    codex = program(tmp_path / "codex", f"echo codex-cli {TESTED_VERSIONS[0]}.7")
    assert examined(tmp_path, codex) == ([f"provider codex: {codex} {TESTED_VERSIONS[0]}.7"], [])


def test_one_that_is_not_known_is_used_and_reported(tmp_path: Path) -> None:
    codex = program(tmp_path / "codex", "echo codex-cli 0.1690.0")
    found, problems = examined(tmp_path, codex)
    assert found == [f"provider codex: {codex} 0.1690.0"]
    assert problems == [f"provider codex: Codex CLI 0.1690.0 was not tested with this release, which knows {', '.join(TESTED_VERSIONS)}"]


@pytest.mark.parametrize("name", ["AGENTS.md", "AGENTS.override.md"])
def test_what_its_home_adds_to_every_call_is_reported(tmp_path: Path, name: str) -> None:
    codex = program(tmp_path / "codex", f"echo codex-cli {TESTED_VERSIONS[0]}.7")
    file = tmp_path / "home" / name
    file.parent.mkdir()
    file.write_text("Answer in Latin.")
    assert examined(tmp_path, codex)[1] == [f"provider codex: its model is told with every call what stands in {file}"]
    assert examined(tmp_path, codex, APP_CODEX__OWN_TOOLS="true")[1] == []


@pytest.mark.parametrize(
    ("binary", "why"),
    [
        ("/nowhere/codex", "/nowhere/codex: no such file"),
        ("no-such-codex", "no-such-codex: not found in PATH"),
        ("/bin/true", "/bin/true: it does not tell a version: it is no Codex CLI"),
    ],
)
def test_what_cannot_be_started_is_told_with_what_was_tried(tmp_path: Path, binary: str, why: str) -> None:
    assert examined(tmp_path, binary) == ([], [f"provider codex: the Codex CLI cannot be started: {why}"])


def test_nothing_is_asked_where_none_is_configured() -> None:
    assert examine(load(environ={"PATH": "/usr/bin"})) == ([], [])


def test_its_home_is_in_the_state_directory_unless_it_is_named(tmp_path: Path) -> None:
    environ = {"CODEX_BIN": "codex", "APP_STORE__DIRECTORY": str(tmp_path)}
    loaded = load(environ=environ)
    (provider,) = loaded.providers
    assert options_of(provider, loaded.environment).home == tmp_path / "codex"
    named = load(environ={**environ, "CODEX_HOME": "/srv/codex"})
    options = options_of(named.providers[0], named.environment)
    assert (options.home, options.directory) == (Path("/srv/codex"), Path("/srv/codex/calls"))
    with pytest.raises(SettingsError, match="no directory for the Codex CLI"):
        load(environ={"CODEX_BIN": "codex"})


def test_settings_say_when_children_are_replaced_and_how_many_calls_they_have_room_for() -> None:
    environ = {
        "CODEX_BIN": "codex",
        "CODEX_HOME": "/srv/codex",
        "APP_CODEX__MAX_PROCESSES": "3",
        "APP_CODEX__CALLS_PER_PROCESS": "5",
        "APP_CODEX__MEMORY_LIMIT": "100000000",
        "APP_CODEX__MAX_AGE_SECS": "60",
        "APP_CODEX__START_TIMEOUT_SECS": "7",
        "APP_CODEX__TOOL_WAIT_SECS": "9",
    }
    (provider,) = load(environ=environ).providers
    limits = limits_of(provider)
    assert (limits.processes, limits.turns, limits.memory_bytes, limits.age_s, limits.start_s) == (3, 5, 100_000_000, 60, 7)
    assert (places(provider), child_of(provider).tool_wait) == (15, 9)
    assert places(Provider(name="a", adapter="anthropic")) == 0


def test_a_file_that_may_not_be_executed_is_told(tmp_path: Path) -> None:
    plain = tmp_path / "codex"
    plain.write_text("#!/bin/sh\n")
    assert examined(tmp_path, str(plain)) == (
        [],
        [f"provider codex: the Codex CLI cannot be started: {plain}: permission denied: it may not be executed"],
    )
