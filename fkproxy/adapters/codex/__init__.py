"""The Codex CLI on this host as an upstream: `codex app-server` as a long-lived child, several where concurrency asks for them. Floor 2.

process.py      a child process: pipes with bounds, a group of its own, a guard that ends it when we are gone
catalogue.py    what it says of itself
command.py      what is started, in a directory of its own
app_server.py   the JSON-RPC spoken with it
turn.py         a turn of its model, in legs that end where the client's tools are asked for
crew.py         children: started, watched, replaced
adapter.py      the upstream
once.py         another one: `codex exec`, a process for each call
"""

from __future__ import annotations

from fkproxy.adapters.codex.adapter import CodexCli
from fkproxy.adapters.codex.command import Command
from fkproxy.adapters.codex.crew import Crew, Limits
from fkproxy.adapters.codex.once import CodexOnce
from fkproxy.adapters.codex.options import TESTED_VERSIONS, Options, command_of, thread_settings, version_of

__all__ = [
    "TESTED_VERSIONS",
    "CodexCli",
    "CodexOnce",
    "Command",
    "Crew",
    "Limits",
    "Options",
    "command_of",
    "thread_settings",
    "version_of",
]
