"""Three vendors on one port of loopback, told apart by the path: chat completions, Anthropic messages, Gemini.

`python -m tests.fakes.vendors PORT SEED` serves until SIGTERM. What goes wrong is drawn by lot: a share of the calls has a fault, and now
and then one vendor refuses everybody for a moment. Calls of the model `probe` are always served well. SIGUSR1 cuts every connection.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import uvloop

from tests.fakes.chaos import HANG, PIECES, RESET, TEXT, Script, Step, bare, chunk, completion, delta, head, pause, whole
from tests.fakes.chaos import stream as chat_stream

__all__ = ["LONG", "LONG_TEXT", "TOOL", "Vendors"]

Dialect = Literal["chat", "anthropic", "gemini"]
Kind = Literal["text", "long", "tools"]

TOOL = "get_weather"
LONG = "at length"
"""A prompt with these words is answered at length."""

FAULTY = 0.04
"""Share of the calls that have a fault."""
OUTAGE_EVERY_S, OUTAGE_S = 20.0, 1.0

_PAUSE_S = 0.01
_LONG_PAUSE_S = 0.03
_LONG_TURNS = 10
LONG_TEXT = TEXT * _LONG_TURNS
_ARGUMENTS = ({"city": "Paris"}, {"city": "Oslo"})
_SIGNATURE = "c2lnbmVk" * 40
_EVENTS = head(kind="text/event-stream", transfer_encoding="chunked")
_END = b"0\r\n\r\n"


# --- what each says


def _chat(kind: Kind) -> tuple[Script, Sequence[bytes]]:
    """(a whole reply, the pieces of a stream), as of the others."""
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    if kind == "text":
        first, *rest = chat_stream()
        return whole(completion()), [first.removeprefix(_EVENTS), *rest]
    if kind == "long":
        events = [delta(), *map(delta, PIECES * _LONG_TURNS), delta(finish="stop"), {**delta(), "choices": [], "usage": usage}]
        body = completion().replace(json.dumps(TEXT, ensure_ascii=False).encode(), json.dumps(LONG_TEXT, ensure_ascii=False).encode())
        return whole(body), [*map(chunk, events), chunk(b"[DONE]") + _END]
    calls = [
        {"id": f"call_{number}", "type": "function", "function": {"name": TOOL, "arguments": json.dumps(arguments)}}
        for number, arguments in enumerate(_ARGUMENTS)
    ]
    choice = {"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": calls}, "finish_reason": "tool_calls"}
    value = {"id": "c-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    numbered = [{"index": number, **call} for number, call in enumerate(calls)]
    said = {**delta(), "choices": [{"index": 0, "delta": {"role": "assistant", "tool_calls": numbered}, "finish_reason": None}]}
    events = [said, delta(finish="tool_calls"), {**delta(), "choices": [], "usage": usage}]
    return whole(json.dumps(value).encode()), [*map(chunk, events), chunk(b"[DONE]") + _END]


def _anthropic(kind: Kind) -> tuple[Script, Sequence[bytes]]:
    pieces = PIECES * (_LONG_TURNS if kind == "long" else 1)
    blocks: list[dict[str, Any]] = [{"type": "text", "text": "".join(pieces)}]
    if kind == "tools":
        blocks = [{"type": "tool_use", "id": f"toolu_{n}", "name": TOOL, "input": each} for n, each in enumerate(_ARGUMENTS)]
    reason = "tool_use" if kind == "tools" else "end_turn"
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None}
    value = {**message, "content": blocks, "stop_reason": reason, "usage": {"input_tokens": 3, "output_tokens": 4}}
    begun = {**message, "content": [], "stop_reason": None, "usage": {"input_tokens": 3, "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": begun}]
    for index, block in enumerate(blocks):
        is_text = block["type"] == "text"
        empty = {**block, "text": ""} if is_text else {**block, "input": {}}
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
        if not is_text:
            deltas = [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        events += [{"type": "content_block_delta", "index": index, "delta": each} for each in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": {"output_tokens": 4}})
    events.append({"type": "message_stop"})
    return whole(json.dumps(value).encode()), [*map(_named, events), _END]


def _named(event: Mapping[str, Any]) -> bytes:
    return bare(f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode())


def _gemini(kind: Kind) -> tuple[Script, Sequence[bytes]]:
    parts: list[dict[str, Any]] = [{"text": piece} for piece in PIECES * (_LONG_TURNS if kind == "long" else 1)]
    if kind == "tools":
        # Ids that come again: for calls without one the gateway makes one up, and remembers its signature for hours.
        parts = [{"functionCall": {"id": f"g-{n}", "name": TOOL, "args": each}} for n, each in enumerate(_ARGUMENTS)]
        parts[0]["thoughtSignature"] = _SIGNATURE
    last = {"finishReason": "STOP", "index": 0}
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 4, "totalTokenCount": 7}

    def reply(parts: Sequence[Mapping[str, Any]], more: Mapping[str, Any]) -> dict[str, Any]:
        content = {"role": "model", "parts": list(parts)}
        return {"candidates": [{"content": content, **more}], "usageMetadata": usage, "modelVersion": "m", "responseId": "r-1"}

    events = [reply([part], {"index": 0}) for part in parts[:-1]] + [reply(parts[-1:], last)]
    return whole(json.dumps(reply(parts, last)).encode()), [*map(chunk, events), _END]


_SAY: Mapping[Dialect, Callable[[Kind], tuple[Script, Sequence[bytes]]]] = {"chat": _chat, "anthropic": _anthropic, "gemini": _gemini}
_KINDS: tuple[Kind, ...] = ("text", "long", "tools")


def _paced(kind: Kind, pieces: Sequence[bytes]) -> Script:
    """The head at once, then piece by piece."""
    wait = pause(_LONG_PAUSE_S if kind == "long" else _PAUSE_S)
    return [_EVENTS + pieces[0], *itertools.chain.from_iterable((wait, piece) for piece in pieces[1:])]


def _replies(dialect: Dialect, kind: Kind) -> tuple[Script, Script]:
    reply, pieces = _SAY[dialect](kind)
    return reply, _paced(kind, pieces)


# --- what goes wrong


def _refusal(dialect: Dialect, status: str, **headers: Any) -> Script:
    code = int(status.split(" ")[0])
    errors: Mapping[Dialect, Any] = {
        "chat": {"error": {"message": "not now", "type": "server_error", "code": None}},
        "anthropic": {"type": "error", "error": {"type": "rate_limit_error" if code == 429 else "api_error", "message": "not now"}},
        "gemini": {"error": {"code": code, "message": "not now", "status": "RESOURCE_EXHAUSTED" if code == 429 else "UNAVAILABLE"}},
    }
    return whole(json.dumps(errors[dialect]).encode(), status, **headers)


def _faults(dialect: Dialect) -> list[tuple[Script, Script]]:
    """(of a whole reply, of a stream)"""
    reply, pieces = _SAY[dialect]("text")
    (body,) = reply
    assert isinstance(body, bytes)
    begun = [_EVENTS + b"".join(pieces[: len(pieces) // 2]), pause(_PAUSE_S)]
    refusals = [
        _refusal(dialect, "500 Internal Server Error"),
        _refusal(dialect, "503 Service Unavailable"),
        _refusal(dialect, "429 Too Many Requests", retry_after=1),
        _refusal(dialect, "429 Too Many Requests"),
    ]
    ends: list[list[Step]] = [[HANG], [RESET], []]
    return [
        *((each, each) for each in refusals),
        ([HANG], [HANG]),
        ([RESET], [RESET]),
        *(([body[: len(body) // 2], *end], [*begun, *end]) for end in ends),
    ]


class Vendors:
    """The listener. `seed` decides what goes wrong when."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        dialects: tuple[Dialect, ...] = ("chat", "anthropic", "gemini")
        self._replies = {(dialect, kind): _replies(dialect, kind) for dialect in dialects for kind in _KINDS}
        self._faults = {dialect: _faults(dialect) for dialect in dialects}
        self._outage = {dialect: _refusal(dialect, "503 Service Unavailable") for dialect in dialects}
        self._order = dialects
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def cut(self) -> None:
        """Close every connection, whatever is under way."""
        for task, writer in list(self._connections.items()):
            writer.transport.abort()
            task.cancel()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """For `asyncio.start_server`."""
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, RuntimeError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()  # RuntimeError is what uvloop says of a connection that is closed
        finally:
            self._connections.pop(task, None)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        asked = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = asked.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        body = await reader.readexactly(int(length or 0))
        script, well = self._script(asked.partition(b"\r\n")[0].decode(), body)
        for step in script:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            else:
                await step(reader, writer)
        return well

    def _script(self, line: str, body: bytes) -> tuple[Script, bool]:
        """What is sent, and whether the connection is kept."""
        dialect: Dialect = "chat" if "/chat/" in line else "anthropic" if "/messages" in line else "gemini"
        stream = "streamgeneratecontent" in line or b'"stream":true' in body or b'"stream": true' in body
        if b'"probe"' in body:
            return self._replies["chat", "text"][stream], True
        if self._is_out(dialect):
            return self._outage[dialect], True
        if self._chance.random() < FAULTY:
            return self._chance.choice(self._faults[dialect])[stream], False
        return self._replies[dialect, _kind(body)][stream], True

    def _is_out(self, dialect: Dialect) -> bool:
        number, into_s = divmod(asyncio.get_running_loop().time(), OUTAGE_EVERY_S)
        return into_s < OUTAGE_S and self._order[int(number) % len(self._order)] == dialect


_RESULTS = (b'"tool_call_id"', b'"tool_result"', b'"functionResponse"')


def _kind(body: bytes) -> Kind:
    if TOOL.encode() in body and not any(mark in body for mark in _RESULTS):
        return "tools"
    return "long" if LONG.encode() in body else "text"


async def _serve(port: int, seed: int) -> None:
    vendors = Vendors(seed)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, vendors.cut)
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = await asyncio.start_server(vendors.connected, "127.0.0.1", port, backlog=512)
    await ended.wait()
    server.close()
    vendors.cut()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
