"""The built-in upstream: it answers with no network, so that a first request works and tests, benches and demos have a partner.

Floor 2.

It speaks OpenAI chat completions and says in every reply what it is. What it does is written in the model name, which survives any
client: `sandbox?chunks=64&delay_ms=20`. Without a network in between, every behaviour is exact and repeatable.

    chunks=N        the text comes in N pieces (default 4)
    delay_ms=N      pause before each piece
    first_ms=N      pause before the reply's head
    status=N        answer with this HTTP status and an error body
    fail_after=N    break the connection after N pieces
    error_after=N   send an error event after N pieces (a 200 that fails)
    hang_after=N    say nothing more after N pieces
    tools=N         call the first N of the offered functions, with arguments {}
    reason=WORD     finish_reason (stop, length, content_filter)
    thoughts=N      think aloud first, in N pieces
    report=1        say as JSON what arrived: roles, texts, images, tools, results, format, stop, effort
    text=WORDS      say this (percent-encoded); the default describes the request in numbers
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from fkproxy.adapters.base import Exchange, Pulled, UpstreamCall
from fkproxy.adapters.secret import StaticSecret
from fkproxy.dialects.base import ModelEntry, Operation
from fkproxy.model.errors import UpstreamUnavailable
from fkproxy.wire import json, sse

__all__ = ["SANDBOX_MODEL", "Sandbox"]

SANDBOX_MODEL = "sandbox"

_CREATED_S = 1_700_000_000
_HANG_S = 24 * 3600.0
_MAX_CHUNKS = 100_000


class _Request(msgspec.Struct):
    messages: list[Any] = []
    tools: list[dict[str, Any]] | None = None


class _Script(msgspec.Struct, kw_only=True):
    """What one call shall do; see the top of this file."""

    chunks: int = 4
    delay_ms: float = 0.0
    first_ms: float = 0.0
    status: int = 200
    fail_after: int | None = None
    error_after: int | None = None
    hang_after: int | None = None
    tools: int = 0
    reason: str = "stop"
    thoughts: int = 0
    report: int = 0
    text: str | None = None


_THOUGHT = "Thinking. "

_BREAK = object()
_Step = tuple[float, bytes | object]


class _Scripted(Pulled):
    """An `Exchange` that plays steps of (pause in seconds, bytes or a broken connection)."""

    def __init__(self, status: int, content_type: str, first_s: float, steps: list[_Step]) -> None:
        self.status = status
        self.headers: Mapping[str, str] = {"content-type": content_type}
        self._first_s = first_s
        self._steps = steps
        self._position = 0
        self._waited_s = 0.0
        self._closed = False

    async def head(self, wait_s: float) -> bool:
        return await self._pause(self._first_s, wait_s)

    async def chunk(self, wait_s: float) -> bytes | None:
        if self._closed or self._position == len(self._steps):
            return b""
        pause_s, data = self._steps[self._position]
        if not await self._pause(pause_s, wait_s):
            return None
        self._position += 1
        if data is _BREAK:
            raise UpstreamUnavailable("the upstream closed the connection before the reply was complete")
        assert isinstance(data, bytes)
        return data

    async def _pause(self, pause_s: float, wait_s: float) -> bool:
        rest_s = pause_s - self._waited_s
        if rest_s > wait_s:
            await asyncio.sleep(wait_s)
            self._waited_s += wait_s
            return False
        if rest_s > 0:
            await asyncio.sleep(rest_s)
        self._waited_s = 0.0
        return True

    def close(self) -> None:
        self._closed = True


class Sandbox:
    """See the top of this file. `models` is `*` while no real provider is configured, so that any first request is answered."""

    dialect = "openai_chat"
    spoken = frozenset(("openai_chat",))
    address = None
    children = None
    operations: frozenset[Operation] = frozenset(("chat",))

    def __init__(self, *, provider_key: str = SANDBOX_MODEL, answer_everything: bool) -> None:
        self.provider_key = provider_key
        self.credential = StaticSecret("", "")
        self.models: tuple[str, ...] = ("*",) if answer_everything else (SANDBOX_MODEL, SANDBOX_MODEL + "[?]*")

    async def send(self, call: UpstreamCall) -> Exchange:
        """See `Adapter.send`."""
        script = _read_script(call.model)
        if script is None:
            return _error(400, "sandbox: the model name's options are name=number pairs; the documentation lists them")
        if script.status != 200:
            return _error(script.status, f"sandbox: asked to answer {script.status}", script.first_ms / 1000)
        try:
            request = msgspec.json.decode(call.body, type=_Request)
            text = script.text if script.text is not None else _report(call.body) if script.report else _describe(call.body, request)
            names = [str(tool["function"].get("name", "")) for tool in request.tools or () if tool.get("type") == "function"]
        except (*json.MALFORMED, AttributeError, LookupError, TypeError, ValueError):
            return _error(400, "sandbox: messages and tools must be arrays of what the documentation says")
        names = names[: script.tools]
        usage = _usage(call.body, text)
        reason = "tool_calls" if names else script.reason
        if call.stream:
            return _Scripted(200, "text/event-stream", script.first_ms / 1000, _stream(script, text, names, usage, reason))
        if script.hang_after is not None:
            return _Scripted(200, "application/json", _HANG_S, [])
        body = _whole(text, names, usage, reason, _THOUGHT * script.thoughts)
        step: _Step = (script.delay_ms / 1000, _BREAK if script.fail_after is not None else body)
        return _Scripted(200, "application/json", script.first_ms / 1000, [step])

    async def list_models(self) -> list[ModelEntry]:
        """See `Adapter.list_models`."""
        return [ModelEntry(id=SANDBOX_MODEL, owned_by=self.provider_key, created_s=_CREATED_S)]

    async def verify(self) -> None:
        """See `Adapter.verify`. There is nothing to prove."""

    async def aclose(self) -> None:
        """Nothing is open."""


def _read_script(model: str) -> _Script | None:
    _, _, options = model.partition("?")
    try:
        script = msgspec.convert(dict(parse_qsl(options)), _Script, strict=False)
    except msgspec.ValidationError:
        return None
    bounded = 0 <= script.chunks <= _MAX_CHUNKS and 0 <= script.thoughts <= _MAX_CHUNKS
    return script if bounded and 100 <= script.status <= 599 else None


def _describe(body: bytes, request: _Request) -> str:
    tools = f" and {len(request.tools)} tools" if request.tools else ""
    return (
        f"Hello from the sandbox, the built-in upstream that answers without a network. Your request held {len(request.messages)} "
        f"messages{tools} in {len(body)} bytes. Configure a provider to talk to a model."
    )


def _report(body: bytes) -> str:
    """What arrived, for who wants to know whether it did."""
    request = json.loads(body)
    parts = [part for message in request.get("messages", ()) for part in _parts(message)]
    output = request.get("response_format") or {}
    return json.encode(
        {
            "roles": [message.get("role") for message in request.get("messages", ())],
            "texts": [part["text"] for part in parts if part.get("type") == "text"],
            "images": sum(1 for part in parts if part.get("type") == "image_url"),
            "calls": [call.get("id") for message in request.get("messages", ()) for call in message.get("tool_calls") or ()],
            "results": [message.get("tool_call_id") for message in request.get("messages", ()) if message.get("role") == "tool"],
            "tools": [tool.get("function", {}).get("name") for tool in request.get("tools") or ()],
            "tool_choice": request.get("tool_choice"),
            "format": output.get("type"),
            "stop": request.get("stop"),
            "effort": request.get("reasoning_effort"),
        }
    ).decode()


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    return [{"type": "text", "text": content}] if isinstance(content, str) else content or []


def _usage(body: bytes, text: str) -> dict[str, int]:
    prompt, completion = max(1, len(body) // 4), max(1, len(text) // 4)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _tool_calls(names: list[str]) -> list[dict[str, Any]]:
    return [
        {"index": index, "id": f"call_sandbox_{index}", "type": "function", "function": {"name": name, "arguments": "{}"}}
        for index, name in enumerate(names)
    ]


def _frame(choices: list[dict[str, Any]], **more: Any) -> bytes:
    envelope = {"id": "chatcmpl-sandbox", "object": "chat.completion.chunk", "created": _CREATED_S, "model": SANDBOX_MODEL}
    return sse.encode_data(json.encode({**envelope, "system_fingerprint": "fkproxy-sandbox", "choices": choices, **more}))


def _delta(delta: dict[str, Any], reason: str | None = None) -> bytes:
    return _frame([{"index": 0, "delta": delta, "finish_reason": reason}])


def _stream(script: _Script, text: str, names: list[str], usage: dict[str, int], reason: str) -> list[_Step]:
    delay_s = script.delay_ms / 1000
    count = script.chunks
    pieces = [text[len(text) * index // count : len(text) * (index + 1) // count] for index in range(count)] if count else []
    steps: list[_Step] = [(0.0, _delta({"role": "assistant", "content": ""}))]
    steps += [(delay_s, _delta({"reasoning_content": _THOUGHT}))] * script.thoughts
    for index, piece in enumerate(pieces):
        if script.fail_after == index:
            return [*steps, (delay_s, _BREAK)]
        if script.error_after == index:
            return [*steps, (delay_s, sse.encode_data(json.encode(_error_body(503, "sandbox: asked to fail in the stream"))))]
        if script.hang_after == index:
            return [*steps, (_HANG_S, b"")]
        steps.append((delay_s, _delta({"content": piece})))
    if names:
        steps.append((delay_s, _delta({"tool_calls": _tool_calls(names)})))
    steps += [(0.0, _delta({}, reason)), (0.0, _frame([], usage=usage)), (0.0, sse.encode_data(b"[DONE]"))]
    return steps


def _whole(text: str, names: list[str], usage: dict[str, int], reason: str, thought: str) -> bytes:
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if thought:
        message["reasoning_content"] = thought
    if names:
        message["tool_calls"] = [{key: value for key, value in call.items() if key != "index"} for call in _tool_calls(names)]
    return json.encode(
        {
            "id": "chatcmpl-sandbox",
            "object": "chat.completion",
            "created": _CREATED_S,
            "model": SANDBOX_MODEL,
            "system_fingerprint": "fkproxy-sandbox",
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
            "usage": usage,
        }
    )


def _error_body(status: int, message: str) -> dict[str, Any]:
    kinds = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}
    return {"error": {"message": message, "type": kinds.get(status, "server_error"), "param": None, "code": status}}


def _error(status: int, message: str, first_s: float = 0.0) -> Exchange:
    return _Scripted(status, "application/json", first_s, [(0.0, json.encode(_error_body(status, message)))])
