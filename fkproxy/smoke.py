"""A real round trip against a running instance, as a client would make it. Floor 4.

Standard library only, over a plain socket: it must work on a host that has nothing but the one file.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import msgspec

__all__ = ["Step", "run"]

_TIMEOUT_S = 60.0
_PROMPT = "Say hello in one short sentence."


_HINTS = {"administrator_key": "; put one into a file and name that with --key-file"}
"""What to do about a refusal, by its code."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was tried. `detail` says what came or what to do; it never quotes a key or what the model said."""

    name: str
    ok: bool
    duration_ms: float
    detail: str


class _Unexpected(Exception):
    """The answer was not what it must be."""


def run(url: str, key: str | None, model: str | None) -> Iterator[Step]:
    """Health, model list, one answer, one stream; each step as it is done, ending at the first that fails."""
    target = _Target(url, key)
    chosen = model
    for name, action in (("health", target.health), ("models", target.models)):
        step, found = _timed(name, action)
        yield step
        if not step.ok:
            return
        chosen = chosen or found
    if chosen is None:
        yield Step(name="chat", ok=False, duration_ms=0.0, detail="no model is listed; name one with --model")
        return
    for name, action in (("chat", lambda: target.chat(chosen)), ("stream", lambda: target.stream(chosen))):
        step, _ = _timed(name, action)
        yield step
        if not step.ok:
            return


def _timed(name: str, action: Callable[[], tuple[str, str | None]]) -> tuple[Step, str | None]:
    began = time.monotonic()
    found: str | None = None
    try:
        detail, found = action()
        ok = True
    except _Unexpected as error:
        ok, detail = False, str(error)
    except TimeoutError:
        ok, detail = False, f"no answer within {_TIMEOUT_S:g} s"
    except (OSError, http.client.HTTPException) as error:
        ok, detail = False, f"no connection: {error}"
    except (AttributeError, LookupError, TypeError) as error:
        ok, detail = False, f"the answer has another shape than it must ({type(error).__name__}); is this the right address?"
    return Step(name=name, ok=ok, duration_ms=round((time.monotonic() - began) * 1000, 1), detail=detail), found


class _Target:
    def __init__(self, url: str, key: str | None) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not an http address")
        self._tls = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._prefix = parts.path.rstrip("/").removesuffix("/v1")
        self._headers = {"content-type": "application/json", "user-agent": "fkllmproxy-smoke"}
        if key:
            self._headers["authorization"] = f"Bearer {key}"

    @contextmanager
    def _open(self, method: str, path: str, body: dict[str, Any] | None = None) -> Iterator[http.client.HTTPResponse]:
        kind = http.client.HTTPSConnection if self._tls else http.client.HTTPConnection
        with closing(kind(self._host, self._port, timeout=_TIMEOUT_S)) as connection:
            connection.request(method, self._prefix + path, json.dumps(body) if body is not None else None, self._headers)
            with connection.getresponse() as reply:
                yield reply

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        with self._open(method, path, body) as reply:
            data = reply.read()
        if reply.status != 200:
            raise _Unexpected(_refusal(reply.status, data))
        return _object(data)

    def health(self) -> tuple[str, str | None]:
        with self._open("GET", "/health") as reply:
            body = _object(reply.read())
        if reply.status != 200:
            raise _Unexpected(f"{body.get('status')}: no upstream can be called; see /health")
        keys = ", ".join(f"{entry['provider_key']} ({entry['breaker']})" for entry in body.get("upstreams", ()))
        return f"{body.get('status')}, version {body.get('version')}, upstreams: {keys}", None

    def models(self) -> tuple[str, str | None]:
        names = [entry["id"] for entry in self._ask("GET", "/v1/models")["data"]]
        return f"{len(names)} models", names[0] if names else None

    def chat(self, model: str) -> tuple[str, str | None]:
        body = self._ask("POST", "/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": _PROMPT}]})
        choice = body["choices"][0]
        usage = body.get("usage") or {}
        return f"{model}: finish_reason {choice['finish_reason']}, {usage.get('total_tokens', 'unknown')} tokens", None

    def stream(self, model: str) -> tuple[str, str | None]:
        asked = {"model": model, "stream": True, "messages": [{"role": "user", "content": _PROMPT}]}
        events = 0
        with self._open("POST", "/v1/chat/completions", asked) as reply:
            if reply.status != 200:
                raise _Unexpected(_refusal(reply.status, reply.read()))
            for line in reply:
                if line.startswith(b"data: "):
                    events += 1
                    if line.startswith(b"data: [DONE]"):
                        return f"{model}: {events} events, ended as it must", None
                    if line.find(b'"error"', 0, 20) >= 0:
                        raise _Unexpected("the stream ended with an error event")
        raise _Unexpected(f"the stream broke off after {events} events")


def _refusal(status: int, data: bytes) -> str:
    try:
        error = _object(data).get("error") or {}
    except _Unexpected:
        error = {}
    hint = _HINTS.get(str(error.get("code")), "")
    return f"{status} {error.get('code', '')}: {error.get('message', 'no reason given')}{hint}"


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise _Unexpected("the answer is not JSON; is this the right address?") from error
    if not isinstance(value, dict):
        raise _Unexpected("the answer is not a JSON object; is this the right address?")
    return value
