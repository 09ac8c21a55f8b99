"""What the child is told of its own models."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from fkproxy.adapters.codex.catalogue import Catalogue
from fkproxy.model.errors import UpstreamSpawnFailed
from tests.adapters.codex.playing import PATH, WAIT_S, Clock, command, until
from tests.fakes.codex_child import CATALOGUE

ENVIRONMENT = {"PATH": PATH}


def program(directory: Path, script: str) -> str:
    path = directory / "codex"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def arguments_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]


async def test_a_model_gives_a_client_no_tools_and_asks_for_nothing_on_its_own(tmp_path: Path, tidy: None) -> None:
    entry = {"slug": "m", "context_window": 5, "tool_mode": "code_mode_only", "apply_patch_tool_type": "freeform"}
    entry |= {
        "use_responses_lite": True,
        "default_verbosity": "low",
        "default_service_tier": "priority",
        "experimental_supported_tools": ["clock"],
    }
    (tmp_path / "told").write_text(json.dumps({"models": [entry, {"slug": "older"}]}) + "\n")
    told = program(tmp_path, f'echo "$@" > {tmp_path}/args; cat {tmp_path}/told')
    said = await Catalogue().args((), told, ("-c", "a=1"), ENVIRONMENT, tmp_path)
    assert (tmp_path / "args").read_text() == "debug models -c a=1\n"
    assert said == ("-c", f'model_catalog_json="{tmp_path}/models.json"')
    given = {"slug": "m", "context_window": 5, "tool_mode": "direct", "apply_patch_tool_type": None}
    given |= {"use_responses_lite": False, "default_verbosity": None, "default_service_tier": None, "experimental_supported_tools": []}
    assert json.loads((tmp_path / "models.json").read_bytes()) == {"models": [given, {"slug": "older"}]}


@pytest.mark.parametrize("script", ["exit 0", "exit 2", "echo no catalogue", "echo '[]'", """echo '{"models": []}'"""])
async def test_a_program_that_tells_no_models_is_left_as_it_is_and_asked_again(tmp_path: Path, tidy: None, script: str) -> None:
    catalogue, told = Catalogue(), program(tmp_path, f"echo >> {tmp_path}/asked; {script}")
    for _ in range(2):
        assert await catalogue.args((), told, (), ENVIRONMENT, tmp_path) == ()
    assert not (tmp_path / "models.json").exists()
    assert (tmp_path / "asked").read_text() == "\n\n"


@pytest.mark.parametrize(
    ("script", "how"),
    [
        ("kill -9 $$", "signal SIGKILL"),
        ("exit 1", "exit code 1"),
        ("echo no threads >&2; exit 101", "exit code 101; it said: no threads"),
        ("exit 137", "exit code 137"),
    ],
)
async def test_a_program_that_fails_before_it_has_told_is_not_left_as_it_is(tmp_path: Path, tidy: None, script: str, how: str) -> None:
    """It tells none where it may have no more threads (101) or files (1), and starts as usual when it may again."""
    with pytest.raises(UpstreamSpawnFailed) as caught:
        await Catalogue().args((), program(tmp_path, script), (), ENVIRONMENT, tmp_path)
    assert caught.value.why == f"its models are not known: {how}"


async def test_a_program_that_hangs_is_ended_and_told_of(tmp_path: Path, tidy: None) -> None:
    asked = command(tmp_path, binary=program(tmp_path, "exec sleep 600"))
    with pytest.raises(UpstreamSpawnFailed) as caught:
        await asked.start(lambda _: ("app-server",), Catalogue(), 0.05)
    assert caught.value.why == "no handshake within 0.05 s: it did not tell its models and servers"
    assert list(asked.directory.iterdir()) == []


class Told:
    """Starts of a program that notes what it is asked. Each one is told its models."""

    def __init__(self, directory: Path) -> None:
        self.now = Clock()
        self.catalogue = Catalogue(self.now)
        self.asked = directory / "asked"
        self.home = directory / "home"
        asked = f"case $1 in debug) echo >> {self.asked}; echo '{{\"models\": [{{}}]}}';; mcp) echo >> {self.asked}; echo '[]'; esac"
        self.command = command(self.home, binary=program(directory, asked))

    async def start(self) -> None:
        process, directory = await self.command.start(lambda _: ("app-server",), self.catalogue, WAIT_S)
        await process.stop(0.0)
        assert (directory / "models.json").read_bytes() == b'{"models":[{}]}'

    async def starts(self, count: int) -> int:
        """How often it was asked for these."""
        before = self.times
        for _ in range(count):
            await self.start()
        return self.times - before

    @property
    def times(self) -> int:
        return len(self.asked.read_text()) if self.asked.exists() else 0


async def test_what_it_told_is_kept_for_some_time(tmp_path: Path, tidy: None) -> None:
    told = Told(tmp_path)
    assert await told.starts(3) == 1
    told.now.ahead_s = 299.0
    assert await told.starts(1) == 0
    told.now.ahead_s = 300.0
    assert await told.starts(2) == 1


@pytest.mark.parametrize("changed", ["home/config.toml", "home/auth.json", "codex"])
async def test_it_is_asked_again_when_it_or_its_home_has_changed(tmp_path: Path, tidy: None, changed: str) -> None:
    told = Told(tmp_path)
    assert await told.starts(2) == 1
    path = tmp_path / changed
    replaced = path.with_suffix(".new")
    replaced.write_bytes(path.read_bytes() if path.exists() else b"")
    replaced.chmod(0o755)
    replaced.rename(path)
    assert await told.starts(2) == 1


async def test_the_servers_that_it_told_are_kept_as_long(tmp_path: Path, tidy: None) -> None:
    told = Told(tmp_path)
    told.home.mkdir()
    settings = told.home / "config.toml"
    settings.write_text("only = { the = 'program', reads = 'this', }")
    assert await told.starts(3) == 2, "once for its models, and once for its servers"
    told.now.ahead_s = 300.0
    assert await told.starts(2) == 2
    settings.write_text("and = { another = 'one', }")
    assert await told.starts(2) == 2


async def test_those_who_start_together_ask_once(tmp_path: Path, tidy: None) -> None:
    told = Told(tmp_path)
    await asyncio.gather(*(told.start() for _ in range(5)))
    assert told.times == 1


@pytest.mark.parametrize("own_tools", [False, True])
async def test_a_child_without_tools_of_its_own_starts_with_it(tmp_path: Path, tidy: None, own_tools: bool) -> None:
    process, directory = await command(tmp_path, own_tools=own_tools).start(lambda _: ("app-server", "-c", "a=1"), Catalogue(), WAIT_S)
    try:
        await until(lambda: "app-server" in arguments_of(process.pid))  # who is about to start it is the same process
        said = arguments_of(process.pid)
        given = json.loads((directory / "models.json").read_bytes())["models"] if not own_tools else None
    finally:
        await process.stop(0.0)
    assert given == (None if own_tools else [{**CATALOGUE[0], "tool_mode": "direct", "default_verbosity": None}])
    known = [] if own_tools else ["-c", f'model_catalog_json="{directory}/models.json"']
    assert said[said.index("app-server") + 1 :] == [*known, *command(tmp_path, own_tools=own_tools).args, "-c", "a=1"]
