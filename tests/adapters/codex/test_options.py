"""How the child is started."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import pytest

from fkproxy.adapters.codex import TESTED_VERSIONS, Options, command_of, options, thread_settings, version_of
from fkproxy.adapters.codex.options import native_binary
from fkproxy.model.errors import UpstreamSpawnFailed
from tests.adapters.codex.playing import CHILD, PATH, command

HOME = Path("/srv/codex")


def made(environ: dict[str, str] | None = None, **more: Any) -> Any:
    return command_of(Options(**{"binary": "codex", "home": HOME, "directory": HOME / "calls", **more}), environ or {})


def settings(args: tuple[str, ...]) -> dict[str, str]:
    assert set(args[::2]) == {"-c"}
    return dict(setting.split("=", 1) for setting in args[1::2])


def test_nothing_is_left_of_what_the_child_would_add_on_its_own() -> None:
    told = settings(made().args)
    assert told["features.shell_tool"] == told["features.unified_exec"] == told["features.memories"] == "false"
    assert (told["web_search"], told["approval_policy"], told["sandbox_mode"]) == ('"disabled"', '"never"', '"read-only"')
    assert told["orchestrator.skills.enabled"] == "false"
    assert "model_provider" not in told


def test_its_own_tools_are_left_where_they_are_wanted_and_stay_in_their_sandbox() -> None:
    told = settings(made(own_tools=True, sandbox="workspace-write", model_provider="azure").args)
    assert "features.shell_tool" not in told
    assert (told["sandbox_mode"], told["model_provider"], told["approval_policy"]) == ('"workspace-write"', '"azure"', '"never"')
    assert told["features.memories"] == told["analytics.enabled"] == "false"


@pytest.mark.parametrize("own_tools", [False, True])
def test_what_tools_gave_is_not_cut(own_tools: bool) -> None:
    assert int(settings(made(own_tools=own_tools).args)["tool_output_token_limit"]) >= 10**9


def test_what_the_operator_says_comes_last() -> None:
    args = made(config=("features.shell_tool=true", "model_verbosity=low")).args
    assert args[-4:] == ("-c", "features.shell_tool=true", "-c", "model_verbosity=low")


@pytest.mark.parametrize(("own_tools", "expected"), [(False, {"environments": []}), (True, {})])
def test_what_a_thread_is_started_with(own_tools: bool, expected: dict[str, Any]) -> None:
    told = thread_settings(Options(binary="codex", home=HOME, directory=HOME, own_tools=own_tools))
    assert told == {"approvalPolicy": "never", "sandbox": "read-only", "model": None, **expected}


def test_the_environment_is_what_the_child_needs_and_what_is_named() -> None:
    environ = {
        **{"PATH": "/bin", "LANG": "C", "HTTPS_PROXY": "http://proxy.example:3128", "SSL_CERT_FILE": "/ca.pem"},
        **{"OPENAI_API_KEY": "sk", "APP_CLIENT_KEYS": "sk", "HOME": "/root-of-all", "CODEX_HOME": "/elsewhere", "AZURE_KEY": "for it"},
    }
    assert made(environ, environment=("AZURE_KEY", "MISSING")).environment == {
        **{"PATH": "/bin", "LANG": "C", "HTTPS_PROXY": "http://proxy.example:3128", "SSL_CERT_FILE": "/ca.pem"},
        **{"AZURE_KEY": "for it", "HOME": str(HOME), "CODEX_HOME": str(HOME)},
    }
    assert "/usr/bin" in made().environment["PATH"]


@pytest.mark.parametrize("nested", [True, False])
def test_the_program_itself_is_started_and_not_the_script_that_starts_it(tmp_path: Path, nested: bool) -> None:
    arch = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    package = tmp_path / "node_modules" / "@openai" / "codex"
    script = package / "bin" / "codex.js"
    inside = package / "node_modules" / "@openai" / f"codex-linux-{arch}"
    program = (inside if nested else package.parent / f"codex-linux-{arch}") / "vendor" / "some-linux-musl" / "bin" / "codex"
    for file in (script, program):
        file.parent.mkdir(parents=True)
        file.write_text("#!/bin/sh\n")
        file.chmod(0o755)
    link = tmp_path / "bin" / "codex"
    link.parent.mkdir()
    link.symlink_to(script)
    assert native_binary("codex", str(link.parent)) == str(program)
    assert native_binary(str(link), "") == str(program)
    program.chmod(0o644)
    assert native_binary(str(link), "") == str(link)
    program.unlink()
    assert native_binary(str(link), "") == str(link)


def test_a_program_that_is_no_script_is_itself() -> None:
    assert native_binary(str(CHILD), "") == str(CHILD)
    assert native_binary("no-such-program", "/bin") == "no-such-program"


def test_the_version_is_asked_of_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = version_of(command(tmp_path))
    assert version == "0.169.0"
    assert version.startswith(TESTED_VERSIONS)
    (tmp_path / "slow").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "broken").write_text("#!/no/such/interpreter\n")
    for name in ("slow", "broken"):
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(options, "_VERSION_S", 0.05)
    for binary, why in (
        ("/bin/true", "no Codex CLI"),
        ("/bin/false", "no Codex CLI"),
        (str(tmp_path / "nothing"), "no such file"),
        (str(tmp_path / "slow"), "did not tell its version within 0.05 s"),
        (str(tmp_path / "broken"), os.strerror(2)),
    ):
        with pytest.raises(UpstreamSpawnFailed) as caught:
            version_of(command(tmp_path, binary=binary, environ={"PATH": PATH}))
        assert why in caught.value.why
