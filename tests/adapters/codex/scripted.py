"""A child that says what a test puts into its mouth, and remembers what it was told."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from fkproxy.adapters.codex.app_server import AppServer
from tests.adapters.codex.playing import until


class ScriptedProcess:
    """See `process.Process`. Every request is answered with what stands for its method in `replies`, if anything does."""

    pid = 1
    complaint = b""

    def __init__(self) -> None:
        self.settled = False
        self.killed = False
        self.told: list[dict[str, Any]] = []
        self.replies: dict[str, dict[str, Any]] = {
            "initialize": {"result": {"userAgent": "fkproxy/0.169.0 (Linux)"}},
            "thread/start": {"result": {"thread": {"id": "t1"}}},
            "thread/inject_items": {"result": {}},
            "turn/start": {"result": {"turn": {"id": "turn1"}}},
            "turn/interrupt": {"result": {}},
            "thread/unsubscribe": {"result": {}},
        }
        self.reads = True
        self.ended_unheard = False
        self._lines: asyncio.Queue[bytes | Exception] = asyncio.Queue()

    async def write(self, line: bytes) -> None:
        if not self.reads:
            raise TimeoutError
        if self.ended_unheard:
            raise BrokenPipeError
        message = json.loads(line)
        self.told.append(message)
        reply = self.replies.get(message.get("method", ""))
        if "id" in message and reply is not None:
            self.say({"id": message["id"], **reply})

    def say(self, message: Any) -> None:
        """A message, bytes for a line as it is, b"" for the end, or what reading raises."""
        self._lines.put_nowait(message if isinstance(message, bytes | Exception) else json.dumps(message).encode())

    async def read_line(self) -> bytes:
        line = await self._lines.get()
        if isinstance(line, Exception):
            raise line
        return line

    def kill(self) -> None:
        self.killed = True

    async def stop(self, grace_s: float) -> None:
        self.killed = True

    def methods(self) -> list[str]:
        return [message["method"] for message in self.told if "method" in message]

    def answers(self) -> dict[Any, Any]:
        """What requests of the child were answered with, by their id."""
        return {message["id"]: message.get("result", message.get("error")) for message in self.told if "method" not in message}


class Scripted(AppServer):
    """A server of such a child."""

    def __init__(self) -> None:
        self.script = ScriptedProcess()
        self.endings = 0
        super().__init__(self.script, Path("/nonexistent"), self._count)  # type: ignore[arg-type]  # a stand-in

    def _count(self, server: AppServer) -> None:
        self.endings += 1

    async def settled(self) -> None:
        """What was put into its mouth is said, and heard."""
        await self.request("initialize", {})

    async def idle(self) -> None:
        """What is done beside is done."""
        await until(lambda: not self._tasks)
