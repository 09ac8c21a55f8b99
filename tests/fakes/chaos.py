"""A vendor on loopback that fails on demand: bytes as they come, and what comes instead of them.

It speaks chat completions. Who asks is known by the key, so one key may have a fault while the others are served well.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

__all__ = [
    "HANG",
    "OPENING",
    "REFUSED",
    "RESET",
    "TEXT",
    "Script",
    "Step",
    "Vendor",
    "bare",
    "chunk",
    "completion",
    "delta",
    "flood",
    "head",
    "one_by_one",
    "pause",
    "repeat",
    "stream",
    "whole",
]

Step = bytes | Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Script = Sequence[Step]
"""What is sent for one request, in order. A script that does not keep the connection ends it: with FIN, unless a step did otherwise."""

PIECES = ("All is ", "well — ", "naïve, ", "costs 3 €.")
TEXT = "".join(PIECES)

_LINGER_AWAY = struct.pack("ii", 1, 0)


class Vendor:
    """One listener. `faults`: key → (script for whole replies, script for streams); a key that is not there is served well."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.port = port
        self.faults: dict[str, tuple[Script, Script]] = {}
        self.resets = False
        self.at_once = False
        """Whoever is served well gets all of a stream with one write, between whose parts no busy machine can make a pause."""
        self.asked: Counter[str] = Counter()
        self.accepts: Callable[[str], bool] = lambda _: True
        self.tls = tls
        self._server: asyncio.Server | None = None
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{'localhost' if self.tls else '127.0.0.1'}:{self.port}/v1"

    @property
    def connections(self) -> int:
        return len(self._connections)

    async def up(self) -> None:
        """Listen."""
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, sock=self._socket.dup(), ssl=self.tls, backlog=512)

    async def down(self) -> None:
        """Refuse connections, and cut those there are. The port stays ours."""
        if self._server is not None:
            self._socket.shutdown(socket.SHUT_RDWR)
            self._server.close()
            self._server = None
        await self.cut()

    async def aclose(self) -> None:
        """Give the port back."""
        await self.down()
        self._socket.close()

    async def cut(self) -> None:
        """Close every connection, whatever is under way."""
        tasks = list(self._connections)
        for task, writer in list(self._connections.items()):
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            if self.resets:
                await RESET(reader, writer)
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._connections.pop(task, None)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        if "content-length" not in headers:
            writer.writelines(whole(b"{}", "404 Not Found"))
            return True
        asked = json.loads(await reader.readexactly(int(headers["content-length"])))
        key = headers["authorization"].removeprefix("bearer ")
        self.asked[key] += 1
        fault = self.faults.get(key) if self.accepts(key) else REFUSED
        scripts = fault or (whole(completion(asked["model"])), self._well(asked["model"]))
        for step in scripts[bool(asked.get("stream"))]:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            else:
                await step(reader, writer)
        return fault is None

    def _well(self, model: str) -> Script:
        return [b"".join(stream(model))] if self.at_once else stream(model)


# --- steps


async def HANG(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:  # noqa: N802 - a step, as bytes are
    """Say nothing until the other side closes."""
    while await reader.read(4096):
        pass


async def RESET(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:  # noqa: N802 - a step, as bytes are
    """RST instead of FIN."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_AWAY)
    writer.transport.abort()
    raise ConnectionResetError


def one_by_one(data: bytes) -> Step:
    """Each byte in a packet of its own."""

    async def step(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for position in range(len(data)):
            writer.write(data[position : position + 1])
            await writer.drain()
            await asyncio.sleep(0)

    return step


def pause(seconds: float) -> Step:
    """Think."""

    async def step(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)

    return step


def repeat(data: bytes, every_s: float) -> Step:
    """The same again and again until the other side closes."""

    async def step(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not reader.at_eof():
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(every_s)

    return step


def flood(size_bytes: int, piece: bytes) -> Step:
    """So many bytes as fast as they are taken."""

    async def step(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(size_bytes // len(piece)):
            writer.write(piece)
            await writer.drain()

    return step


# --- bytes


def head(status: str = "200 OK", kind: str = "application/json", **headers: Any) -> bytes:
    """A reply's head."""
    named = {"content-type": kind, **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode()


def whole(body: bytes, status: str = "200 OK", **headers: Any) -> list[bytes]:
    """A reply with its length."""
    return [head(status, content_length=len(body), **headers) + body]


def bare(data: bytes) -> bytes:
    """A chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def chunk(value: Mapping[str, Any] | bytes) -> bytes:
    """One event of a stream."""
    data = value if isinstance(value, bytes) else json.dumps(value, ensure_ascii=False).encode()
    return bare(b"data: " + data + b"\n\n")


def delta(text: str | None = None, *, model: str = "m", finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk of a completion."""
    said = {"role": "assistant"} if text is None and finish is None else ({} if text is None else {"content": text})
    choice = {"index": 0, "delta": said, "finish_reason": finish}
    return {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [choice], **more}


def completion(model: str = "m") -> bytes:
    """A whole reply's body."""
    choice = {"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    value = {"id": "c-1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice], "usage": usage}
    return json.dumps(value, ensure_ascii=False).encode()


OPENING = head(kind="text/event-stream", transfer_encoding="chunked") + chunk(delta())
"""The head of a stream and a first event without content."""


def stream(model: str = "m") -> list[bytes]:
    """A stream that goes well."""
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}}
    events = [*(delta(piece, model=model) for piece in PIECES), delta(model=model, finish="stop"), {**delta(model=model), **usage}]
    return [OPENING, *map(chunk, events), chunk(b"[DONE]") + b"0\r\n\r\n"]


_REFUSAL = b'{"error":{"message":"this token has ended","type":"authentication_error","code":"token_expired"}}'
REFUSED: tuple[Script, Script] = (whole(_REFUSAL, "401 Unauthorized"), whole(_REFUSAL, "401 Unauthorized"))
"""For keys that are not accepted."""
