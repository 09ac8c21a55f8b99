"""Calls at a rate that does not wait for answers: four dialects, plain and streamed, with tools, long ones, and clients that hang up.

What is asked is drawn by lot. Every answer is read to its end and judged: whole, refused, or broken off with an error of its dialect.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Literal

from tests.e2e.codex_calls import DIALECTS, Dialect, chat, contents, messages, responses, text_of, told
from tests.e2e.processes import Answer
from tests.fakes.chaos import TEXT
from tests.fakes.vendors import LONG, LONG_TEXT, TOOL

__all__ = ["MODELS", "Callers", "Verdict"]

MODELS = ("m", "chat/m", "claude/m", "gem/m")
"""That of all three vendors, and that of each."""

CALL_LIMIT_S = 20.0
"""Longer than all deadlines of the service under test together: a call that takes this long hangs."""

MOST_AT_ONCE = 256
"""Under way. A call beyond that is left out and counted: the machine has something else to do."""

MOST_KEPT = 32
"""Connections that wait for the next call."""

SHARES = {"text": 60, "long": 10, "tools": 10, "leaves": 8, "large": 8, "huge": 2, "stranger": 2}
LARGE_BYTES, HUGE_BYTES = 30_000, 600_000

Verdict = Literal["ok", "told", "broken", "left", "left out"]
_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_FUNCTION = {"name": TOOL, "description": "The weather.", "parameters": _SCHEMA}
_PLAIN, _STREAMED = False, True


class _Stale(Exception):
    """A kept connection was closed before anything of the answer came."""


class Callers:
    """Clients of one service. `ids` is how many calls were made: they are called soak-0, soak-1 and so on.

    `left_early`: those whose client went away before it had seen anything of the answer.
    """

    def __init__(self, port: int, secret: Callable[[], str], seed: int, kept_share: float = 0.8) -> None:
        self.ids = 0
        self.verdicts: Counter[Verdict] = Counter()
        self.refusals: Counter[str] = Counter()
        self.slowest_s = 0.0
        self.left_early: set[str] = set()
        self._port = port
        self._secret = secret
        self._chance = random.Random(seed)
        self._kept_share = kept_share
        self._kept: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._under_way = 0

    async def storm(self, at_once: int, calls: int) -> float:
        """So many callers, who call again as soon as they are answered, until they have made so many calls. Gives calls a second."""
        loop = asyncio.get_running_loop()
        before, began_s = self.ids, loop.time()

        async def caller() -> None:
            while self.ids < before + calls:
                await self._one()

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(caller())
        return (self.ids - before) / (loop.time() - began_s)

    async def rain(self, rate_per_s: float, ended: asyncio.Event) -> None:
        """Until `ended`, whether others are answered or not; then until the last is answered."""
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        async with asyncio.TaskGroup() as group:
            while not ended.is_set():
                due_s = max(due_s + self._chance.expovariate(rate_per_s), loop.time() - 1)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), max(0.0, due_s - loop.time()))
                if self._under_way < MOST_AT_ONCE:
                    group.create_task(self._one())
                else:
                    self.verdicts["left out"] += 1

    def hang_up(self) -> None:
        """Close the connections that are kept."""
        for _, writer in self._kept:
            writer.close()
        self._kept.clear()

    # --- what is asked

    async def _one(self) -> None:
        (what,) = self._chance.choices([*SHARES], [*SHARES.values()])
        dialect, model = self._chance.choice(DIALECTS), self._chance.choice(MODELS)
        stream = self._chance.random() < 0.5
        self._under_way += 1
        try:
            match what:
                case "text":
                    self._judge(await self._ask(*dialect("hello", stream, model)), TEXT)
                case "long":
                    self._judge(await self._ask(*dialect(f"{LONG}, please", stream, model)), LONG_TEXT)
                case "large" | "huge":
                    words = "All work and no play. " * ((LARGE_BYTES if what == "large" else HUGE_BYTES) // 22)
                    self._judge(await self._ask(*dialect(words, stream, model)), TEXT)
                case "tools":
                    await self._two_legs(dialect, model, stream)
                case "leaves":
                    path, body = dialect(f"{LONG}, please", _STREAMED, model)
                    await self._ask(path, body, leave_after_s=self._chance.choice((0.0, self._chance.uniform(0, 1.0))))
                    self.verdicts["left"] += 1
                case _:
                    answer = await self._ask(*dialect("hello", stream, model), secret="sk-fk-of-a-stranger")
                    assert answer is not None
                    assert answer.status in (401, 429), answer.body
                    self._judge(answer, "")
        finally:
            self._under_way -= 1

    async def _two_legs(self, dialect: Dialect, model: str, stream: bool) -> None:
        path, body = dialect("what is the weather in two cities?", _PLAIN, model)
        first = await self._ask(path, {**body, **_TOOLS[dialect]})
        assert first is not None
        if first.status != 200:
            self._judge(first, "")
            return
        self.verdicts["ok"] += 1
        path, body = dialect("", stream, model)
        follows = _FOLLOWS[dialect](first.json())
        assert TOOL.encode() in first.body, first.body
        self._judge(await self._ask(path, {**body, **_TOOLS[dialect], **follows}), TEXT)

    def _judge(self, answer: Answer | None, expected: str) -> None:
        assert answer is not None
        if answer.status == 200 and b'"error":{' not in answer.body:
            assert text_of(answer) == expected, (expected, answer.body[-2000:])
            self.verdicts["ok"] += 1
            return
        error = told(answer)
        self.refusals[f"{answer.status} {error.get('code') or error.get('type') or error.get('status')}"] += 1
        assert answer.status in (200, 401, 429, 500, 502, 503, 504, 529), answer.body
        self.verdicts["broken" if answer.status == 200 else "told"] += 1

    # --- how

    async def _ask(self, path: str, body: Any, *, secret: str = "", leave_after_s: float | None = None) -> Answer | None:
        """None for a client that left."""
        number, self.ids = self.ids, self.ids + 1
        return await self.ask(f"soak-{number}", path, json.dumps(body).encode(), secret=secret, leave_after_s=leave_after_s)

    async def ask(self, name: str, path: str, data: bytes, *, secret: str = "", leave_after_s: float | None = None) -> Answer | None:
        """One call with this id. Raises `TimeoutError` when it hangs."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        fields = f"host: x\r\ncontent-type: application/json\r\nx-request-id: {name}\r\ncontent-length: {len(data)}\r\n"
        lines = f"POST {path} HTTP/1.1\r\n{fields}authorization: Bearer {secret or self._secret()}\r\n\r\n"
        request = lines.encode() + data
        answer: Answer | None = None
        try:
            async with asyncio.timeout(CALL_LIMIT_S):
                if leave_after_s is not None:
                    return await self._leave(name, request, leave_after_s)
                while answer is None:
                    # A server that goes away closes connections that nobody uses; whoever did not know asks again.
                    with contextlib.suppress(_Stale):
                        answer = await self._exchange(request)
        finally:
            self.slowest_s = max(self.slowest_s, loop.time() - began_s)
        return answer

    async def _exchange(self, request: bytes) -> Answer:
        kept = bool(self._kept) and self._chance.random() < self._kept_share
        reader, writer = self._kept.pop() if kept else await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(request)
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                if kept and not getattr(error, "partial", b""):
                    raise _Stale from error
                raise
            status, headers = _head(head)
            body = await _body(reader, headers)
        except BaseException:
            writer.transport.abort()
            raise
        if headers.get("connection") == "close" or len(self._kept) == MOST_KEPT:
            writer.close()
        else:
            self._kept.append((reader, writer))
        return Answer(status, headers, body)

    async def _leave(self, name: str, request: bytes, after_s: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        seen = False
        try:
            writer.write(request)
            await writer.drain()
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(after_s):
                    while await reader.read(65536):
                        seen = True
        finally:
            if not seen:
                self.left_early.add(name)
            if self._chance.random() < 0.5:
                writer.transport.abort()
            writer.close()


def _head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.split(": ", 1) for line in lines if line)
    return int(first.split(" ")[1]), {name.lower(): value for name, value in pairs}


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    pieces: list[bytes] = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        pieces.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(pieces)


# --- tools, in each dialect

_TOOLS: dict[Dialect, dict[str, Any]] = {
    chat: {"tools": [{"type": "function", "function": _FUNCTION}]},
    responses: {"tools": [{"type": "function", **_FUNCTION}]},
    messages: {"tools": [{"name": TOOL, "description": "The weather.", "input_schema": _SCHEMA}]},
    contents: {"tools": [{"functionDeclarations": [_FUNCTION]}]},
}
_ASKED = {"role": "user", "content": "what is the weather in two cities?"}


def _chat_follows(reply: Any) -> dict[str, Any]:
    message = reply["choices"][0]["message"]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "sun"} for call in message["tool_calls"]]
    return {"messages": [_ASKED, message, *results]}


def _responses_follows(reply: Any) -> dict[str, Any]:
    calls = [item for item in reply["output"] if item["type"] == "function_call"]
    results = [{"type": "function_call_output", "call_id": call["call_id"], "output": "sun"} for call in calls]
    return {"input": [_ASKED, *reply["output"], *results]}


def _messages_follows(reply: Any) -> dict[str, Any]:
    calls = [block for block in reply["content"] if block["type"] == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": call["id"], "content": "sun"} for call in calls]
    return {"messages": [_ASKED, {"role": "assistant", "content": reply["content"]}, {"role": "user", "content": results}]}


def _contents_follows(reply: Any) -> dict[str, Any]:
    content = reply["candidates"][0]["content"]
    calls = [part["functionCall"] for part in content["parts"] if "functionCall" in part]
    results = [
        {"functionResponse": {**({"id": call["id"]} if "id" in call else {}), "name": TOOL, "response": {"output": "sun"}}}
        for call in calls
    ]
    asked = {"role": "user", "parts": [{"text": _ASKED["content"]}]}
    return {"contents": [asked, content, {"role": "user", "parts": results}]}


_FOLLOWS: dict[Dialect, Callable[[Any], dict[str, Any]]] = {
    chat: _chat_follows,
    responses: _responses_follows,
    messages: _messages_follows,
    contents: _contents_follows,
}
