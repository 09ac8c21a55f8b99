"""Providers that are programs on this host: what they are started with, and whether they could be. Floor 4."""

from __future__ import annotations

import os
from pathlib import Path

from fkproxy.adapters.codex import TESTED_VERSIONS, Limits, Options, command_of, version_of
from fkproxy.model.errors import UpstreamSpawnFailed
from fkproxy.settings import Child, LoadedSettings, Problem, ProcessEnvironment, Provider

__all__ = ["child_of", "examine", "limits_of", "options_of", "places"]

_ADAPTER = "codex"
_INSTALL = "npm install --global @openai/codex, or name the program: CODEX_BIN=/path/to/codex"

_TOLD = ("AGENTS.override.md", "AGENTS.md")
"""Of its home; the first that is there. No setting keeps the CLI from it (0.169)."""


def child_of(provider: Provider) -> Child:
    """What is configured of its children, or the defaults."""
    return provider.codex or Child()


def options_of(provider: Provider, environment: ProcessEnvironment) -> Options:
    """Settings that name no home are refused where the process has no directory of its own."""
    child = child_of(provider)
    state = environment.state_directory
    assert child.home is not None or state is not None
    home = child.home or Path(state or "", _ADAPTER)
    return Options(
        binary=child.binary,
        home=home,
        directory=home / "calls",
        model=child.model,
        sandbox=child.sandbox,
        own_tools=child.own_tools,
        model_provider=child.model_provider,
        config=child.config,
        environment=child.environment,
    )


def limits_of(provider: Provider) -> Limits:
    """When a child is replaced, and how many there may be."""
    child = child_of(provider)
    return Limits(
        processes=child.processes,
        turns=child.calls_per_process,
        memory_bytes=child.memory_limit,
        calls=child.max_calls,
        age_s=child.max_age,
        idle_s=child.idle,
        start_s=child.start_timeout,
    )


def places(provider: Provider) -> int:
    """How many calls its children have room for; 0 where it has none."""
    child = child_of(provider)
    return child.processes * child.calls_per_process if provider.adapter == _ADAPTER else 0


def examine(loaded: LoadedSettings) -> tuple[list[str], list[Problem]]:
    """(what was found, what is wrong) with the programs that the configuration names; each is asked for its version."""
    found: list[str] = []
    problems: list[Problem] = []
    for provider in loaded.providers:
        if provider.adapter != _ADAPTER or provider.disabled:
            continue
        name = f"provider {provider.name}"
        command = command_of(options_of(provider, loaded.environment), loaded.environment.secrets)
        paths = [f"{command.home}/{each}" for each in _TOLD]
        told = [path for path in paths if os.path.isfile(path)]  # noqa: PTH113 - `Path.is_file` minds a home that it may not look into
        if command.bare and told:
            text = f"its model is told with every call what stands in {told[0]}"
            problems.append(Problem(name, text, "remove it: clients say what they want to be said"))
        try:
            version = version_of(command)
        except UpstreamSpawnFailed as error:
            problems.append(Problem(name, f"the Codex CLI cannot be started: {error.binary}: {error.why}", _INSTALL))
        else:
            found.append(f"{name}: {command.binary} {version}")
            if not any(version.startswith(f"{tested}.") for tested in TESTED_VERSIONS):
                text = f"Codex CLI {version} was not tested with this release, which knows {', '.join(TESTED_VERSIONS)}"
                problems.append(Problem(name, text, "try it with 'fkllmproxy smoke', or install a version that was"))
    return found, problems
