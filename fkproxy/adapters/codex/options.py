"""How the child is started: its arguments, its environment, which of its files is the program. Floor 2.

Source: `codex features list` and the configuration reference of Codex CLI 0.169. Of what the child would add to a request on its own
(tools, instructions, the surroundings) nothing is left, so that the model is told what the client says and nothing else.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from fkproxy.adapters.codex.command import Command
from fkproxy.adapters.codex.process import find_binary
from fkproxy.model.errors import UpstreamSpawnFailed

__all__ = ["TESTED_VERSIONS", "Options", "command_of", "native_binary", "thread_settings", "version_of"]

TESTED_VERSIONS = ("0.169",)
"""Releases whose protocol is the one that is spoken here."""

_VERSION_S = 10.0
_VERSION = re.compile(r"^codex\S* v?(\d+(?:\.\d+)+)", re.MULTILINE)

_ALWAYS = (
    "check_for_update_on_startup=false",
    'history.persistence="none"',
    "analytics.enabled=false",
    "feedback.enabled=false",
    "features.memories=false",
    "features.remote_plugin=false",
    "features.shell_snapshot=false",
    # Half an hour by itself, in which every call's thread stays in memory with about 1 MB.
    "thread_unload_delay_secs=0",
    # By itself it cuts what a tool gave to 10 kB, the middle out, whoever's tool it was.
    "tool_output_token_limit=1000000000",
)
_BARE = (
    'developer_instructions=""',
    'web_search="disabled"',
    "include_apps_instructions=false",
    "include_collaboration_mode_instructions=false",
    "include_environment_context=false",
    "include_permissions_instructions=false",
    # Before 0.157 it offers `list` and `read` of skills to a thread that has no surroundings.
    "orchestrator.skills.enabled=false",
    "skills.bundled.enabled=false",
    "skills.include_instructions=false",
    "tools.experimental_request_user_input.enabled=false",
    "tools.update_plan.enabled=false",
    *(
        f"features.{name}=false"
        for name in (
            *("apps", "code_mode_host", "goals", "hooks", "image_generation", "multi_agent", "plugins"),
            *("shell_tool", "skill_search", "sleep_tool", "tool_suggest", "unified_exec", "view_image"),
        )
    ),
)
"""Without these the child has no tools but the client's and no words but the client's."""

_PASSED_ON = (
    *("LANG", "LC_ALL", "PATH", "TMPDIR", "TZ"),
    *("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "all_proxy", "http_proxy", "https_proxy", "no_proxy"),
    *("CODEX_CA_CERTIFICATE", "SSL_CERT_DIR", "SSL_CERT_FILE"),
)
"""Of the gateway's environment, where its secrets are, the child gets these and what the configuration names."""

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Sandbox = Literal["read-only", "workspace-write"]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What an installation is used with. `config`: further `-c` settings. `environment`: names of variables that are passed on."""

    binary: str
    home: Path
    directory: Path
    sandbox: Sandbox = "read-only"
    own_tools: bool = False
    model: str | None = None
    model_provider: str | None = None
    config: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()


def command_of(options: Options, environ: Mapping[str, str]) -> Command:
    """The child's command. Later `-c` settings win over earlier ones."""
    settings = [*_ALWAYS, *(() if options.own_tools else _BARE), f'sandbox_mode="{options.sandbox}"', 'approval_policy="never"']
    if options.model_provider is not None:
        settings.append(f'model_provider="{options.model_provider}"')
    passed = {name: environ[name] for name in (*_PASSED_ON, *options.environment) if name in environ}
    environment = {"PATH": _DEFAULT_PATH, **passed, "HOME": str(options.home), "CODEX_HOME": str(options.home)}
    args = tuple(part for setting in (*settings, *options.config) for part in ("-c", setting))
    binary = native_binary(options.binary, environment["PATH"])
    return Command(binary, args, environment, options.home, options.directory, bare=not options.own_tools)


def thread_settings(options: Options) -> dict[str, Any]:
    """What every thread is started with."""
    settings: dict[str, Any] = {"approvalPolicy": "never", "sandbox": options.sandbox, "model": options.model}
    if not options.own_tools:
        settings["environments"] = []
    return settings


def native_binary(binary: str, path: str) -> str:
    """The program itself where `binary` is npm's script that starts it: one process instead of two, and no Node.js."""
    try:
        script = Path(find_binary(binary, path)).resolve()
    except UpstreamSpawnFailed:
        return binary
    if script.suffix != ".js":
        return binary
    arch = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    package = script.parent.parent
    for home in (package.parent / f"{package.name}-linux-{arch}", package / "node_modules" / "@openai" / f"{package.name}-linux-{arch}"):
        found = sorted(home.glob("vendor/*/bin/codex"))
        if found and os.access(found[0], os.X_OK):
            return str(found[0])
    return binary


def version_of(command: Command) -> str:
    """What the program says it is, such as `0.169.0`. Raises `UpstreamSpawnFailed`."""
    binary = find_binary(command.binary, command.environment.get("PATH"))
    try:
        told = subprocess.run(  # noqa: S603 - the program that the operator named
            [binary, "--version"],
            env=dict(command.environment),
            capture_output=True,
            timeout=_VERSION_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except OSError as error:
        raise UpstreamSpawnFailed(binary, error.strerror or type(error).__name__) from None
    except subprocess.TimeoutExpired:
        raise UpstreamSpawnFailed(binary, f"it did not tell its version within {_VERSION_S:g} s") from None
    found = _VERSION.search(told.stdout.decode(errors="replace"))
    if told.returncode != 0 or found is None:
        raise UpstreamSpawnFailed(binary, "it does not tell a version: it is no Codex CLI")
    return found.group(1)
