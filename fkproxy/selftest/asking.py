"""A client of any dialect: a request of the hub goes out in the dialect's words, and the reply comes back as one of the hub's. Floor 4."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from fkproxy.dialects import DIALECTS
from fkproxy.model.errors import FkproxyError
from fkproxy.model.events import Failed, Reply, collect
from fkproxy.model.request import ChatRequest
from fkproxy.wire.sse import SseDecoder

__all__ = ["Answer", "Client"]

_TIMEOUT_S = 60.0


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came. `reply` is there for a whole reply; `error` says in a word why it is not."""

    status: int
    headers: dict[str, str]
    reply: Reply | None = None
    error: str | None = None
    message: str = ""

    @property
    def losses(self) -> str:
        """What the gateway says it left out."""
        return self.headers.get("x-fkproxy-losses", "")


class Client:
    """Speaks one dialect to one address."""

    def __init__(self, dialect: str, url: str, key: str | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not an http address")
        self.dialect = DIALECTS[dialect]
        self._tls = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._prefix = parts.path.rstrip("/").removesuffix("/v1")
        self._headers = {"content-type": "application/json", "user-agent": "fkllmproxy-selftest", "connection": "close"}
        if key is not None:
            self._headers["authorization"] = f"Bearer {key}"

    def connect(self) -> http.client.HTTPConnection:
        """A connection of its own for each request."""
        kind = http.client.HTTPSConnection if self._tls else http.client.HTTPConnection
        return kind(self._host, self._port, timeout=_TIMEOUT_S)

    def send(self, connection: http.client.HTTPConnection, request: ChatRequest, model: str) -> http.client.HTTPResponse:
        """The head of the reply."""
        body = self.dialect.encode_request(request, model).body
        prefix, target, _ = self.dialect.routes[0].path.partition("{target}")
        method = "streamGenerateContent?alt=sse" if request.stream else "generateContent"
        path = f"{prefix}{quote(model, safe='')}:{method}" if target else prefix
        if target:
            body = json.dumps({name: value for name, value in json.loads(body).items() if name != "model"}).encode()
        connection.request("POST", self._prefix + path, body, self._headers)
        return connection.getresponse()

    def ask(self, request: ChatRequest, model: str) -> Answer:
        """The whole answer. Raises `OSError` and `http.client.HTTPException` when there is none."""
        with closing(self.connect()) as connection, self.send(connection, request, model) as response:
            headers = {name.lower(): value for name, value in response.getheaders()}
            data = response.read()
        if response.status != 200:
            return Answer(status=response.status, headers=headers, error="refused", message=_message(data))
        try:
            return Answer(status=200, headers=headers, reply=self._read(data, stream=request.stream))
        except FkproxyError as error:
            return Answer(status=200, headers=headers, error=error.code, message=str(error))

    def _read(self, data: bytes, *, stream: bool) -> Reply:
        if not stream:
            return collect(self.dialect.decode_reply(data))
        framer, decoder = SseDecoder(), self.dialect.stream_decoder()
        events = [event for frame in [*framer.feed(data), *framer.tail()] for event in decoder.feed(frame)]
        if not events or not isinstance(events[-1], Failed):
            events += decoder.end()
        return collect(events)


def _message(data: bytes) -> str:
    """The words of an error, wherever a dialect has them."""
    try:
        value: Any = json.loads(data)
    except ValueError:
        return "the answer is not JSON"
    inner = value.get("error") if isinstance(value, dict) else None
    return str(inner.get("message")) if isinstance(inner, dict) else "an error without a message"
