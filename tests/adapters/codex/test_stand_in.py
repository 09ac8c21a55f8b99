"""The stand-in for the child says nothing that the real one does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fkproxy.adapters.codex.app_server import AppServer
from fkproxy.adapters.codex.process import Process
from tests.adapters.codex.playing import ASK, TOOLS, answered, ask, crew, until, upstream
from tests.dialects.golden import GOLDEN
from tests.fakes.exchange import lines, shapes


async def test_each_of_its_messages_has_fields_of_the_real_one_and_we_tell_it_the_same(
    tmp_path: Path, tidy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, said = lines((GOLDEN / "codex" / "exchange.jsonl").read_text())
    told: list[Any] = []
    heard_of: list[Any] = []
    take, write = AppServer._take, Process.write
    monkeypatch.setattr(AppServer, "_take", lambda self, line: (heard_of.append(json.loads(line)), take(self, line))[1])

    async def written(self: Process, line: bytes) -> None:
        told.append(json.loads(line))
        await write(self, line)

    monkeypatch.setattr(Process, "write", written)
    children = crew(tmp_path / "home")
    cli = upstream(children)
    system = {"role": "system", "content": "Be brief."}
    tools = TOOLS[:2]
    reply = await ask(cli, "thinks-tools2", [system, ASK], tools=tools, reasoning_effort="high")
    await ask(cli, "thinks-tools2", answered([system, ASK], reply), tools=tools, reasoning_effort="high")
    await until(lambda: not children.servers[0].threads and not children.servers[0].turns)
    await children.aclose()
    for ours, real in ((told, sent), (heard_of, said)):
        known = shapes(message for message in real if "method" in message)
        for name, fields in shapes(message for message in ours if "method" in message).items():
            assert name in known
            for path, types in fields.items():
                assert types <= known[name].get(path, set()), (name, path)
    methods = [[message["method"] for message in side if "method" in message] for side in (told, sent)]
    assert methods[0] == methods[1]
    answers = [[sorted(message["result"]) for message in side if "result" in message] for side in (told, sent)]
    assert answers[0] == answers[1]
