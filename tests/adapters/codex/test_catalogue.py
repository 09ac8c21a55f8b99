"""What the child is told of its own models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fkproxy.adapters.codex import catalogue
from fkproxy.adapters.codex.catalogue import catalogue_args
from fkproxy.model.errors import UpstreamSpawnFailed
from tests.adapters.codex.playing import PATH, command, until
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
    said = await catalogue_args(
        program(tmp_path, f'echo "$@" > {tmp_path}/args; cat {tmp_path}/told'), ("-c", "a=1"), ENVIRONMENT, tmp_path
    )
    assert (tmp_path / "args").read_text() == "debug models -c a=1\n"
    assert said == ("-c", f'model_catalog_json="{tmp_path}/models.json"')
    given = {"slug": "m", "context_window": 5, "tool_mode": "direct", "apply_patch_tool_type": None}
    given |= {"use_responses_lite": False, "default_verbosity": None, "default_service_tier": None, "experimental_supported_tools": []}
    assert json.loads((tmp_path / "models.json").read_bytes()) == {"models": [given, {"slug": "older"}]}


@pytest.mark.parametrize("script", ["exit 2", "echo no catalogue", "echo '[]'", """echo '{"models": []}'"""])
async def test_a_program_that_tells_no_models_is_left_as_it_is(tmp_path: Path, tidy: None, script: str) -> None:
    assert await catalogue_args(program(tmp_path, script), (), ENVIRONMENT, tmp_path) == ()
    assert not (tmp_path / "models.json").exists()


async def test_a_program_that_hangs_is_ended_and_told_of(tmp_path: Path, tidy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "_TOLD_S", 0.05)
    with pytest.raises(UpstreamSpawnFailed) as caught:
        await catalogue_args(program(tmp_path, "exec sleep 600"), (), ENVIRONMENT, tmp_path)
    assert "did not tell its models" in caught.value.why


@pytest.mark.parametrize("own_tools", [False, True])
async def test_a_child_without_tools_of_its_own_starts_with_it(tmp_path: Path, tidy: None, own_tools: bool) -> None:
    process, directory = await command(tmp_path, own_tools=own_tools).start(lambda _: ("app-server", "-c", "a=1"))
    try:
        await until(lambda: "app-server" in arguments_of(process.pid))  # who is about to start it is the same process
        said = arguments_of(process.pid)
        given = json.loads((directory / "models.json").read_bytes())["models"] if not own_tools else None
    finally:
        await process.stop(0.0)
    assert given == (None if own_tools else [{**CATALOGUE[0], "tool_mode": "direct", "default_verbosity": None}])
    known = [] if own_tools else ["-c", f'model_catalog_json="{directory}/models.json"']
    assert said[said.index("app-server") + 1 :] == [*known, "-c", "a=1"]
