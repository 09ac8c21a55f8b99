"""A crew of stand-ins, calls to it, and what must not be left of either."""

from __future__ import annotations

import asyncio
import json
import os
import select
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from fkproxy.adapters.base import UpstreamCall
from fkproxy.adapters.codex import CodexCli, Command, Crew, Limits, Options, command_of, thread_settings
from fkproxy.adapters.codex.turn import Leg
from fkproxy.dialects import DIALECTS, UPSTREAM_DIALECTS
from fkproxy.dialects.codex.response import StreamDecoder
from fkproxy.model.events import Event, Reply, collect
from fkproxy.model.parts import ToolCall
from fkproxy.wire.sse import SseDecoder

CHILD = Path(__file__).resolve().parents[2] / "fakes" / "codex_child.py"
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
"""The interpreter of the tests first: one that a shim starts has variables of the shim's."""

TOOLS = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("f", "g", "h")]
ASK = {"role": "user", "content": "hi"}
WAIT_S = 20.0
"""No test comes near it: what has not happened by then does not happen."""


class Clock:
    """Monotonic seconds that stand still until they are moved on."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return 1000.0 + self.ahead_s


def command(home: Path, nature: str = "", *, environ: dict[str, str] | None = None, **options: Any) -> Command:
    """How a stand-in of that nature is started."""
    variables = {"PATH": PATH, "FAKE_CODEX": nature, **(environ or {})}
    made = Options(**{"binary": str(CHILD), "home": home, "directory": home / "calls", "environment": ("FAKE_CODEX",), **options})
    return command_of(made, variables)


def crew(home: Path, nature: str = "", *, clock: Clock | None = None, **limits: Any) -> Crew:
    return Crew(command(home, nature), Limits(**limits), "1.0", now=clock or Clock())


def upstream(children: Crew, *, own_tools: bool = False, tool_wait_s: float = 100.0) -> CodexCli:
    options = Options(binary="codex", home=children.command.home, directory=children.command.directory, own_tools=own_tools)
    settings = {**thread_settings(options), "model": None}
    return CodexCli(
        children, provider_key="codex", models=("*",), name="codex", settings=settings, own_tools=own_tools, tool_wait_s=tool_wait_s
    )


def body_of(model: str, messages: Sequence[Any] = (ASK,), *, tools: Sequence[Any] = (), **fields: Any) -> bytes:
    """The plan of a chat completions request."""
    data = json.dumps({"model": model, "messages": list(messages), **({"tools": list(tools)} if tools else {}), **fields}).encode()
    chat = DIALECTS["openai_chat"]
    return UPSTREAM_DIALECTS["codex"].encode_request(chat.decode_request(data, chat.peek(data, "", "")), model).body


async def send(cli: CodexCli, model: str, messages: Sequence[Any] = (ASK,), *, caller: str = "key", **fields: Any) -> Leg:
    body = body_of(model, messages, **fields)
    exchange = await cli.send(UpstreamCall(model=model, stream=True, body=body, request_id="r", caller=caller))
    assert isinstance(exchange, Leg)
    return exchange


async def events_of(leg: Leg) -> list[Event]:
    """To the end of the reply. Raises what the reply broke off with."""
    framer, decoder = SseDecoder(), StreamDecoder()
    events: list[Event] = []
    assert await leg.head(WAIT_S)
    while chunk := await leg.chunk(WAIT_S):
        for frame in framer.feed(chunk):
            events += decoder.feed(frame)
    assert chunk is not None, "the child is silent"
    return events + decoder.end()


async def drained(leg: Leg) -> None:
    """All that comes. Raises what the reply broke off with."""
    while await leg.chunk(WAIT_S):
        pass


async def ask(cli: CodexCli, model: str, messages: Sequence[Any] = (ASK,), **more: Any) -> Reply:
    """One call, whole."""
    leg = await send(cli, model, messages, **more)
    try:
        return collect(await events_of(leg))
    finally:
        leg.close()


def text_of(reply: Reply) -> str:
    return "".join(getattr(part, "text", "") for part in reply.choices[0].parts if type(part).__name__ == "Text")


def calls_of(reply: Reply) -> list[ToolCall]:
    return [part for part in reply.choices[0].parts if isinstance(part, ToolCall)]


def answered(messages: Sequence[Any], reply: Reply, given: str = "18C") -> list[Any]:
    """The conversation with the reply's calls and what their tools gave."""
    calls = [{"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}} for call in calls_of(reply)]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": f"{given} {number}"} for number, call in enumerate(calls)]
    return [*messages, {"role": "assistant", "content": None, "tool_calls": calls}, *results]


async def heard(children: Crew) -> list[str]:
    """The methods that the first child was asked for."""
    raw = await children.servers[0].request("fake/heard", {})
    methods: list[str] = msgspec.json.decode(raw)["methods"]
    return methods


def directories(children: Crew) -> list[Path]:
    """Those of calls, each in its child's."""
    return sorted(children.command.directory.glob("*/call-*"))


async def until(true: Any) -> None:
    """Until `true()`, which something that is under way brings about."""
    async with asyncio.timeout(WAIT_S):
        while not true():  # noqa: ASYNC110 - what it waits for tells nobody
            await asyncio.sleep(0.005)


def is_gone(pid: int, within_s: float = WAIT_S) -> bool:
    """True when the process has ended, which is waited for."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], within_s)[0])
    finally:
        os.close(descriptor)


def pipes() -> int:
    """How many ends of pipes, or of pairs of sockets, this process holds."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found += str(entry.readlink()).startswith(("pipe:", "socket:"))
        except OSError:
            continue
    return found
