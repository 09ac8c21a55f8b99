"""The administrator's verbs on the command line, against a running instance. Floor 4. Standard library only, as `smoke.py`."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

__all__ = ["LONG_S", "Administrator", "Refusal"]

_TIMEOUT_S = 30.0
LONG_S = 660.0
"""For what asks an upstream, or goes through all of the store: the gateway gives itself ten minutes for that, and then says so."""

_PIECE_BYTES = 64 * 1024


class Refusal(Exception):
    """It did not do what was asked, or could not be reached. The message says why; `status` is that of its answer, if there was one."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Administrator:
    """`/admin/api` of one instance. Raises `ValueError` for what is no address."""

    def __init__(self, url: str, key: str | None) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname or " " in parts.hostname:
            raise ValueError(f"{url!r} is not an http address")
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._host, self._port = parts.hostname, parts.port
        self._at = parts.netloc.rpartition("@")[2]
        self._headers = {"user-agent": "fkllmproxy-cli"}
        if key:
            self._headers["authorization"] = f"Bearer {key}"

    def upstreams(self) -> list[dict[str, Any]]:
        """Every upstream. Raises `Refusal`."""
        found: list[dict[str, Any]] = self.ask("GET", "/upstreams")
        return found

    def steer(self, verb: str, key: str | None) -> list[dict[str, Any]]:
        """`pause`, `resume` or `reset`; without a key, where that means all. Raises `Refusal`."""
        found = self.ask("POST", f"/upstreams/{verb}", key=key)
        return found if isinstance(found, list) else [found]

    def reload(self) -> dict[str, Any]:
        """Take the providers file as it is now. Raises `Refusal`."""
        found: dict[str, Any] = self.ask("POST", "/providers/reload")
        return found

    def explain(self, request_id: str) -> dict[str, Any]:
        """Why a call went where it went. Raises `Refusal`."""
        found: dict[str, Any] = self.ask("GET", f"/explain/{quote(request_id, safe='')}")
        return found

    def ask(self, method: str, path: str, body: object = None, *, timeout_s: float = _TIMEOUT_S, **query: object) -> Any:
        """Any route below `/admin/api`: JSON in and out, None for an answer without a body. Query values that are None are left out.

        Raises `Refusal`, also after `timeout_s` without an answer.
        """
        with closing(self._kind(self._host, self._port, timeout=timeout_s)) as connection:
            reply = self._send(connection, method, path, body, query)
            try:
                return _value(reply.status, reply.read())
            except (OSError, http.client.HTTPException) as error:
                raise Refusal(f"the answer of {self._at} broke off: {error}") from error

    def read(self, path: str, **query: object) -> Iterator[bytes]:
        """A long answer in pieces, as it comes. Raises `Refusal`."""
        with closing(self._kind(self._host, self._port, timeout=_TIMEOUT_S)) as connection:
            reply = self._send(connection, "GET", path, None, query)
            try:
                if reply.status != 200:
                    _value(reply.status, reply.read())
                while piece := reply.read(_PIECE_BYTES):
                    yield piece
            except (OSError, http.client.HTTPException) as error:
                raise Refusal(f"the answer of {self._at} broke off: {error}") from error

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: object, query: Mapping[str, object]
    ) -> http.client.HTTPResponse:
        given = {name: value for name, value in query.items() if value is not None}
        data = json.dumps(body).encode() if body is not None else b""
        headers = {**self._headers, "content-length": str(len(data))}
        if data:
            headers["content-type"] = "application/json"
        try:
            connection.request(method, f"/admin/api{path}{f'?{urlencode(given, doseq=True)}' if given else ''}", data, headers)
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            nothing = f"nothing came within {connection.timeout:g} s" if isinstance(error, TimeoutError) else error
            raise Refusal(f"no answer from {self._at}: {getattr(error, 'strerror', None) or nothing}") from error


def _value(status: int, data: bytes) -> Any:
    try:
        value = json.loads(data) if data else None
    except ValueError:
        raise Refusal(f"{status}, and no JSON; is this the right address?", status) from None
    if status >= 300:
        raise Refusal("\n".join(_told(status, value)), status)
    return value


def _told(status: int, value: Any) -> Iterator[str]:
    error = value.get("error") if isinstance(value, dict) else None
    error = error if isinstance(error, dict) else {}
    for problem in error.get("problems", ()):
        yield f"{problem.get('name')}: {problem.get('message')}{'; ' + problem['hint'] if problem.get('hint') else ''}"
    yield f"{status} {error.get('message', 'no reason given')}"
    if status == 401:
        yield "the master key opens it: name a file that holds it with --key-file, or ask as root on the gateway's own host"
