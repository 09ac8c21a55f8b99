"""Many calls at once, in two dialects, whole and streamed, and what each of them came to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from tests.fakes.chaos import TEXT

__all__ = ["KINDS", "Answer", "Kind", "ask", "storm"]

CALL_LIMIT_S = 60.0
"""Longer than every deadline of the service under test together: a call that takes this long hangs."""

Verdict = Literal["ok", "told", "broken", "passed", "wrong"]
"""`told`: refused with an error, in the stream when its head had gone out already. `broken`: ended with an error behind some content.
`passed`: complete, and not readable throughout.
"""


class Kind(msgspec.Struct, frozen=True):
    """One way to ask. `end`: the mark of a stream that is complete. `error_of`: an error's (type, code or "") in a JSON value."""

    name: str
    path: str
    stream: bool
    end: str
    text_of: Callable[[Any], str]
    delta_of: Callable[[Any], str]
    is_error: Callable[[Any], bool]

    def body(self, model: str, words: str) -> bytes:
        fields = {"model": model, "stream": self.stream, "max_tokens": 100, "messages": [{"role": "user", "content": words}]}
        return json.dumps(fields).encode()


def _chat_error(value: Any) -> bool:
    error = value.get("error")
    return isinstance(error, dict) and bool(error["message"]) and "type" in error and "code" in error


def _anthropic_error(value: Any) -> bool:
    return value.get("type") == "error" and bool(value["error"]["message"]) and bool(value["error"]["type"])


def _chat(stream: bool) -> Kind:
    return Kind(
        "chat" + " stream" * stream,
        "/v1/chat/completions",
        stream,
        "[DONE]",
        lambda value: str(value["choices"][0]["message"]["content"]),
        lambda value: "".join(choice["delta"].get("content") or "" for choice in value.get("choices", [])),
        _chat_error,
    )


def _anthropic(stream: bool) -> Kind:
    return Kind(
        "anthropic" + " stream" * stream,
        "/v1/messages",
        stream,
        "message_stop",
        lambda value: "".join(part["text"] for part in value["content"]),
        lambda value: str(value["delta"].get("text", "")) if value["type"] == "content_block_delta" else "",
        _anthropic_error,
    )


KINDS = (_chat(False), _chat(True), _anthropic(False), _anthropic(True))


class Answer:
    """What a client got. `whole`: the framing of the reply was complete."""

    def __init__(self, kind: Kind, status: int, headers: dict[str, str], body: bytes, *, whole: bool, took_s: float) -> None:
        self.kind = kind
        self.status = status
        self.headers = headers
        self.body = body
        self.whole = whole
        self.took_s = took_s
        self.call_id = headers.get("x-request-id", "")

    def __repr__(self) -> str:
        return f"<{self.kind.name} {self.status} {self.verdict} {self.took_s:.2f} s {self.body[-300:]!r}>"

    @property
    def verdict(self) -> Verdict:
        """Anything that is not as the client's dialect has it is wrong."""
        kind = self.kind
        if not self.whole:
            return "wrong"
        if self.status != 200:
            return "told" if kind.is_error(json.loads(self.body)) else "wrong"
        if not kind.stream:
            return "ok" if kind.text_of(json.loads(self.body)) == TEXT else "wrong"
        return self._of_stream()

    def _of_stream(self) -> Verdict:
        kind = self.kind
        data = [line[6:] for line in self.body.split(b"\n") if line.startswith(b"data: ")]
        values = [_value(each) for each in data]
        ended = values[-1] == kind.end or (isinstance(values[-1], dict) and values[-1].get("type") == kind.end)
        readable = [value for value in values if isinstance(value, dict)]
        failed = [value for value in readable if value.get("error")]
        text = "".join(kind.delta_of(value) for value in readable if value not in failed)
        if failed:
            proper = len(failed) == 1 and values[-1] is failed[0] and kind.is_error(failed[0]) and TEXT.startswith(text)
            if not proper or text == TEXT:
                return "wrong"
            return "broken" if text else "told"
        if not ended:
            return "wrong"
        if None in values:
            return "passed"
        return "ok" if text == TEXT else "wrong"


def _value(data: bytes) -> Any:
    """None for what is no JSON."""
    if data == b"[DONE]":
        return "[DONE]"
    try:
        return json.loads(data)
    except ValueError:
        return None


async def ask(port: int, kind: Kind, model: str, words: str = "hello") -> Answer:
    """One call on a connection of its own. Raises `TimeoutError` when it hangs."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(CALL_LIMIT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            body = kind.body(model, words)
            fields = f"host: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            writer.write(f"POST {kind.path} HTTP/1.1\r\n{fields}\r\n".encode() + body)
            raw = await reader.read()
        finally:
            writer.close()
            await _closed(writer)
    head, _, rest = raw.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    if headers.get("transfer-encoding") == "chunked":
        data, complete = _dechunked(rest)
    else:
        data, complete = rest, len(rest) == int(headers["content-length"])
    return Answer(kind, int(lines[0].split(" ")[1]), headers, data, whole=complete, took_s=loop.time() - began)


async def _closed(writer: asyncio.StreamWriter) -> None:
    try:
        await writer.wait_closed()
    except ConnectionError:
        return


def _dechunked(raw: bytes) -> tuple[bytes, bool]:
    pieces: list[bytes] = []
    while raw:
        size, _, rest = raw.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return b"".join(pieces), True
        pieces.append(rest[:length])
        raw = rest[length + 2 :]
    return b"".join(pieces), False


async def storm(port: int, model: str, count: int = 50, kinds: Sequence[Kind] = KINDS) -> list[Answer]:
    """So many calls at once, of each kind in turn; the turns are shifted, for whoever serves them is asked in turn too."""
    turns = [kinds[(number + number // len(kinds)) % len(kinds)] for number in range(count)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(port, kind, model, f"call {number}")) for number, kind in enumerate(turns)]
    return [task.result() for task in tasks]
