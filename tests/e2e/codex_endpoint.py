"""A server that speaks Responses and does what the last thing that was said asks it to: `whatever?tools=2&delay_ms=20`.

text=…             what it says; the default says how many items it got
numbers=n          what it says: `numbers(n)`
chunks=n           in how many pieces; 3
delay_ms=x         before each piece
tools=n            calls of the first n tools, before it says anything; their results are then said back
thoughts=n         parts of a summary of its reasoning
seal=…             reasoning whose content is sealed
status=n           refuses with that status; `retry_after=n`, `code=…`, `type=…`
failed=code        the stream ends with response.failed
incomplete=why     the stream ends with response.incomplete
drop_after=n       the connection breaks after n pieces
hang_after=n       nothing more comes after n pieces
held=1             nothing is said before `release`
"""

from __future__ import annotations

import json
import select
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

__all__ = ["CACHED_TOKENS", "INPUT_TOKENS", "OUTPUT_TOKENS", "REASONING_TOKENS", "Asked", "Endpoint", "numbers"]

INPUT_TOKENS, CACHED_TOKENS, OUTPUT_TOKENS, REASONING_TOKENS = 11, 2, 7, 1
_ARGUMENTS = '{"city":"Paris"}', '{"city":"Oslo"}', '{"city":"Rome"}'
_HANG_S = 300.0


def numbers(count: int) -> str:
    """A long text whose every part differs from every other one."""
    return "".join(f"{number} is größer than {number - 1} 😀\n" for number in range(1, count + 1))


class Asked:
    """One request. `left`: the one who asked closed the connection before the answer was complete."""

    def __init__(self, body: dict[str, Any], authorization: str) -> None:
        self.body = body
        self.authorization = authorization
        self.left = False
        self.over = False

    @property
    def items(self) -> list[dict[str, Any]]:
        return list(self.body["input"])

    @property
    def said(self) -> list[tuple[str, str]]:
        """(role, text) of the messages."""
        messages = [item for item in self.items if item.get("type", "message") == "message"]
        return [(item["role"], "".join(part.get("text", "") for part in item["content"])) for item in messages]

    @property
    def tools(self) -> list[dict[str, Any]]:
        """What the model may use: those of the request, and for the newer models an item's, within their namespace."""
        told = [*self.body.get("tools", ()), *(tool for item in self.items for tool in item.get("tools", ()))]
        return [inner for tool in told for inner in tool.get("tools", (tool,))]

    def script(self) -> dict[str, str]:
        text = next((text for role, text in reversed(self.said) if role == "user"), "")
        return dict(parse_qsl(text.partition("?")[2], keep_blank_values=True))


class Endpoint:
    """Answers on loopback until `close`. `asked` is everything that it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.release = threading.Event()
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._whole(200, {"object": "list", "data": [], "models": []})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                asked = Asked(body, self.headers.get("authorization", ""))
                with outer._lock:
                    outer.asked.append(asked)
                    number = len(outer.asked)
                script = asked.script()
                if status := int(script.get("status", 0)):
                    headers = {"retry-after": script["retry_after"]} if "retry_after" in script else {}
                    error = {
                        "message": f"it was asked to answer {status}",
                        "type": script.get("type", "server_error"),
                        "code": script.get("code"),
                    }
                    self._whole(status, {"error": error}, headers)
                else:
                    self._stream(asked, script, number)
                asked.over = True

            def _whole(self, status: int, body: object, headers: dict[str, str] = {}) -> None:  # noqa: B006 - never changed
                data = json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"content-type": "application/json", "content-length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def _stream(self, asked: Asked, script: dict[str, str], number: int) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.end_headers()
                delay_s = float(script.get("delay_ms", 0)) / 1000
                drop, hang = int(script.get("drop_after", -1)), int(script.get("hang_after", -1))
                pieces = 0
                try:
                    for event in _events(asked, script, number):
                        if event["type"] == "response.output_text.delta":
                            if pieces == drop:
                                return
                            if pieces == hang:
                                asked.left = self._left_within(_HANG_S)
                                return
                            pieces += 1
                            if "held" in script:
                                outer.release.wait(_HANG_S)
                            if delay_s:
                                time.sleep(delay_s)
                                if self._left_within(0.0):
                                    asked.left = True
                                    return
                        self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
                except OSError:
                    asked.left = True

            def _left_within(self, wait_s: float) -> bool:
                return bool(select.select([self.connection], [], [], wait_s)[0])

            def log_message(self, *_: object) -> None:
                return

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 256

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _events(asked: Asked, script: dict[str, str], number: int) -> Iterator[dict[str, Any]]:
    yield {"type": "response.created", "response": {"id": f"resp_{number}"}}
    output: list[dict[str, Any]] = []
    for item in _output(asked, script, number):
        yield from _told(item, len(output), int(script.get("chunks", 3)))
        output.append(item)
    if code := script.get("failed"):
        yield {"type": "response.failed", "response": {"id": f"resp_{number}", "error": {"code": code, "message": "asked to fail"}}}
        return
    counts = {
        "input_tokens": INPUT_TOKENS,
        "input_tokens_details": {"cached_tokens": CACHED_TOKENS},
        "output_tokens": OUTPUT_TOKENS,
        "output_tokens_details": {"reasoning_tokens": REASONING_TOKENS},
        "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
    }
    ended: dict[str, Any] = {"id": f"resp_{number}", "status": "completed", "output": output, "usage": counts}
    if why := script.get("incomplete"):
        ended |= {"status": "incomplete", "incomplete_details": {"reason": why}}
    yield {"type": f"response.{ended['status']}", "response": ended}


def _output(asked: Asked, script: dict[str, str], number: int) -> Iterator[dict[str, Any]]:
    items = asked.items
    last = max((index for index, item in enumerate(items) if item.get("role") == "user"), default=-1)
    results = [item["output"] for item in items[last + 1 :] if item["type"] == "function_call_output"]
    thoughts, seal = int(script.get("thoughts", 0)), script.get("seal")
    if thoughts or seal:
        summary = [{"type": "summary_text", "text": f"thought {index}"} for index in range(thoughts)]
        yield {"type": "reasoning", "id": f"rs_{number}", "summary": summary, "encrypted_content": seal}
    names = [tool["name"] for tool in asked.tools if tool["type"] == "function"]
    count = 0 if results else int(script.get("tools", 0))
    for index in range(count):
        call = {
            "call_id": f"call_{number}_{index}",
            "name": names[index % len(names)],
            "arguments": script.get("arguments") or _ARGUMENTS[index % 3],
        }
        yield {"type": "function_call", "id": f"fc_{number}_{index}", **call}
    if not count:
        said = script.get("text") or numbers(int(script.get("numbers", 0))) or f"I got {len(items)} items."
        text = f"results: {json.dumps(results)}" if results else said
        content = [{"type": "output_text", "text": text, "annotations": []}]
        yield {"type": "message", "id": f"msg_{number}", "role": "assistant", "content": content}


def _told(item: dict[str, Any], index: int, chunks: int) -> Iterator[dict[str, Any]]:
    """The events of one item."""
    about = {"output_index": index, "item_id": item["id"]}
    empty = {"message": {"content": []}, "function_call": {"arguments": ""}, "reasoning": {"summary": []}}[item["type"]]
    yield {"type": "response.output_item.added", "output_index": index, "item": {**item, **empty}}
    for number, part in enumerate(item.get("summary", ())):
        yield {"type": "response.reasoning_summary_part.added", **about, "summary_index": number, "part": {**part, "text": ""}}
        yield {"type": "response.reasoning_summary_text.delta", **about, "summary_index": number, "delta": part["text"]}
    if item["type"] == "message":
        text = item["content"][0]["text"]
        for piece in range(chunks):
            delta = text[len(text) * piece // chunks : len(text) * (piece + 1) // chunks]
            yield {"type": "response.output_text.delta", **about, "content_index": 0, "delta": delta}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}
