"""One ASGI application, asked without a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from fkproxy.app import create_app
from fkproxy.settings import load


class Reply:
    """Header names in lower case; a name that came twice is joined with a comma."""

    def __init__(self, messages: Iterable[Mapping[str, Any]]) -> None:
        start, *rest = messages
        assert start["type"] == "http.response.start"
        self.status: int = start["status"]
        self.headers: dict[str, str] = {}
        for name, value in start["headers"]:
            key = name.decode()
            self.headers[key] = f"{self.headers[key]}, {value.decode()}" if key in self.headers else value.decode()
        self.body = b"".join(message.get("body", b"") for message in rest)
        self.finished = not rest[-1].get("more_body", False)

    def json(self) -> Any:
        return json.loads(self.body)


class App:
    """The whole application as `settings` compose it, the sandbox behind it unless they say otherwise.

    `async with` starts and stops it, as a server would: with `APP_STORE__DIRECTORY` it has a store then.
    """

    def __init__(self, **settings: str) -> None:
        self._app = create_app(load(environ=settings))

    async def __aenter__(self) -> App:
        self._life = self._app.lifespan()
        await self._life.__aenter__()
        async with asyncio.timeout(60):
            while (await self.ask("GET", "/health")).json().get("store", {}).get("state", "open") != "open":  # noqa: ASYNC110 - asked from outside
                await asyncio.sleep(0.01)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._life.__aexit__(None, None, None)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes | Mapping[str, Any] = b"",
        headers: Mapping[str, str] = {},
        peer: str = "192.0.2.1",
    ) -> Reply:
        """One request, all of its body in one message."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        path, _, query = path.partition("?")
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "client": (peer, 40000),
            "server": ("127.0.0.1", 4000),
            "state": {},
        }
        inbox: list[dict[str, Any]] = [{"type": "http.request", "body": data, "more_body": False}]
        sent: list[Mapping[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return inbox.pop(0) if inbox else await asyncio.get_running_loop().create_future()

        async def send(message: Mapping[str, Any]) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        return Reply(sent)


def chat(model: str = "sandbox", **fields: Any) -> dict[str, Any]:
    """A chat completions body."""
    return {"model": model, "messages": [{"role": "user", "content": "hello"}], **fields}
