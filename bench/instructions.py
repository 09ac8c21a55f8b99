"""How many instructions a call takes, from the ASGI application's door to the upstream's socket and back: a figure that repeats.

    python -m bench.instructions [--calls 100]

The application runs in this process under valgrind's callgrind, the upstream beside it; what is counted begins after some calls that are
not. Counts are of user space only: no kernel, no waiting, no HTTP server, which is Granian's, and no store. Needs valgrind, gcc and nginx.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uvloop

from bench import prompts
from bench.gateways import SETTINGS, providers_text
from bench.subjects import Failed
from bench.tools import Tools
from fkproxy.app import create_app
from fkproxy.settings import load
from fkproxy.web.application import Application

SCENARIOS: dict[str, bytes] = {
    "same dialect, 1 KB": prompts.small("m-64-0"),
    "other dialect, 1 KB": prompts.small("gemini-m-64-0"),
    "same dialect, 64 events": prompts.small("m-64-0", stream=True),
    "other dialect, 64 events": prompts.small("gemini-m-64-0", stream=True),
    "same dialect, 200 KB": prompts.conversation("m-64-0", 200_000),
    "other dialect, 200 KB": prompts.conversation("gemini-m-64-0", 200_000),
}
HERE = Path(__file__).resolve().parent
WARM_CALLS = 20
SETTLE_CALLS = 1000
"""Threads of the application that begin with it are done by then."""
KEY = SETTINGS["APP_AUTH__MASTER_KEY"]


async def count(directory: Path, calls: int) -> None:
    """Under callgrind: so many calls of each scenario, one after another. Raises `Failed` unless each is answered 200."""
    marks = ctypes.CDLL(str(directory / "marks.so"))
    environment = {**SETTINGS, "APP_PROVIDERS_FILE": str(directory / "providers.toml"), "APP_STORE__URL": "none"}
    app = create_app(load(environ=environment))
    async with app.lifespan():
        marks.begin()
        for _ in range(SETTLE_CALLS):
            await _call(app, prompts.small("m-64-0"))
        for name, body in SCENARIOS.items():
            for _ in range(WARM_CALLS):
                await _call(app, body)
            gc.collect()
            marks.mark(b"warm")
            for _ in range(calls):
                await _call(app, body)
            marks.mark(name.encode())


async def _call(app: Application, body: bytes) -> None:
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/chat/completions",
        "raw_path": b"/v1/chat/completions",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"authorization", f"Bearer {KEY}".encode())],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 4000),
        "state": {},
    }
    inbox = [{"type": "http.request", "body": body, "more_body": False}]
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return inbox.pop() if inbox else await asyncio.get_running_loop().create_future()

    async def send(message: Mapping[str, Any]) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    await app(scope, receive, send)
    if statuses != [200]:
        raise Failed(f"a call was answered {statuses}")


def main() -> int:
    """Run under callgrind, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100, help="that are counted in each scenario")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside is not None:
        uvloop.run(count(options.inside, options.calls))
        return 0
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        tools = Tools(directory)
        (directory / "providers.toml").write_text(providers_text(1, tools.upstream_port))
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", str(directory / "marks.so"), str(HERE / "marks.c")], check=True)
        with tools.upstream():
            command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={directory}/out"]
            command += [sys.executable, "-m", "bench.instructions", "--inside", name, "--calls", str(options.calls)]
            environment = {"PYTHONHASHSEED": "0", "PATH": os.environ["PATH"], "HOME": name}
            done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=HERE.parent)
        if done.returncode:
            print(done.stdout[-2000:], done.stderr[-4000:], file=sys.stderr)
            return 1
        print("| | instructions for a call |\n|---|---|")
        for number, scenario in enumerate(SCENARIOS, 1):
            counted = re.search(r"^(?:summary|totals): (\d+)", (directory / f"out.{2 * number}").read_text(), re.MULTILINE)
            print(f"| {scenario} | {int(counted[1]) / options.calls if counted else 0:,.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
