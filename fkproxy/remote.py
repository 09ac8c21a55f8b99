"""The administrator's verbs on the command line, against a running instance. Floor 4. Standard library only, as `smoke.py`."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

__all__ = ["Administrator", "Refusal", "explanation_lines", "upstream_lines"]

_TIMEOUT_S = 30.0


class Refusal(Exception):
    """It did not do what was asked, or could not be reached. The message says why."""


class Administrator:
    """`/admin/api` of one instance. Raises `ValueError` for what is no address."""

    def __init__(self, url: str, key: str | None) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not an http address")
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._host, self._port = parts.hostname, parts.port
        self._headers = {"user-agent": "fkllmproxy-cli"}
        if key:
            self._headers["authorization"] = f"Bearer {key}"

    def upstreams(self) -> list[dict[str, Any]]:
        """Every upstream. Raises `Refusal`."""
        found: list[dict[str, Any]] = self._ask("GET", "/upstreams")
        return found

    def steer(self, verb: str, key: str | None) -> list[dict[str, Any]]:
        """`pause`, `resume` or `reset`; without a key, where that means all. Raises `Refusal`."""
        found = self._ask("POST", f"/upstreams/{verb}" + (f"?{urlencode({'key': key})}" if key is not None else ""))
        return found if isinstance(found, list) else [found]

    def reload(self) -> dict[str, Any]:
        """Take the providers file as it is now. Raises `Refusal`."""
        found: dict[str, Any] = self._ask("POST", "/providers/reload")
        return found

    def explain(self, request_id: str) -> dict[str, Any]:
        """Why a call went where it went. Raises `Refusal`."""
        found: dict[str, Any] = self._ask("GET", f"/explain/{quote(request_id, safe='')}")
        return found

    def _ask(self, method: str, path: str) -> Any:
        try:
            with closing(self._kind(self._host, self._port, timeout=_TIMEOUT_S)) as connection:
                connection.request(method, f"/admin/api{path}", headers={**self._headers, "content-length": "0"})
                reply = connection.getresponse()
                status, data = reply.status, reply.read()
        except (OSError, http.client.HTTPException) as error:
            raise Refusal(f"no answer from {self._host}: {error}") from error
        try:
            value = json.loads(data)
        except ValueError:
            raise Refusal(f"{status}, and no JSON; is this the right address?") from None
        if status != 200:
            raise Refusal("\n".join(_told(status, value)))
        return value


def _told(status: int, value: Any) -> Iterator[str]:
    error = value.get("error") if isinstance(value, dict) else None
    error = error if isinstance(error, dict) else {}
    for problem in error.get("problems", ()):
        yield f"{problem.get('name')}: {problem.get('message')}{'; ' + problem['hint'] if problem.get('hint') else ''}"
    yield f"{status} {error.get('message', 'no reason given')}"


def upstream_lines(upstreams: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A table for people; models that are kept out stand below their upstream."""
    rows: list[tuple[str, ...]] = [("UPSTREAM", "STATE", "BREAKER", "AGAIN IN", "FAILURES", "UNDER WAY", "LAST ERROR")]
    for each in upstreams:
        wait_s = each["retry_after_s"]
        again = "when resumed" if wait_s is None else f"{wait_s:g} s" if wait_s else "-"
        state = f"{each['state']} ({each['cause']})" if each["cause"] else each["state"]
        rows.append(
            (
                each["key"],
                state,
                each["breaker"],
                again,
                str(each["consecutive_failures"]),
                str(each["in_flight"]),
                each["last_error"] or "-",
            )
        )
        for model in each["models"]:
            held = f"{model['state']} ({model['cause']})"
            rows.append((f"  {model['model_id']}", held, "", f"{model['retry_after_s']:g} s", "", "", ""))
    yield from _table(rows)


def explanation_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """What happened to one call, for people."""
    yield f"{found['request_id']}: {found['route']} {found['status']}{' ' + found['error_code'] if found.get('error_code') else ''}"
    asked, got = found.get("model_requested"), found.get("model_id")
    yield f"asked for {asked}, {found.get('attempts', 0)} attempts, {found.get('duration_ms', 0):g} ms in all"
    rows: list[tuple[str, ...]] = [("UPSTREAM", "MODEL", "VERDICT", "REASON", "HTTP", "TOOK", "AGAIN IN")]
    for each in found["candidates"]:
        name = f"{each['provider_key']}/{each['credential']}" if each.get("credential") else each["provider_key"]
        took, wait = each.get("duration_ms"), each.get("retry_after_s")
        rows.append(
            (
                name,
                each.get("model_id", got or "-"),
                each["verdict"].replace("_", " "),
                each.get("reason") or "-",
                str(each.get("upstream_status") or "-"),
                f"{took:g} ms" if took is not None else "-",
                f"{wait:g} s" if wait is not None else "-",
            )
        )
    yield from _table(rows)
    for name in ("notes", "losses"):
        if found.get(name):
            yield f"{name}: {', '.join(found[name])}"
    if found.get("waited_ms"):
        yield f"waited: {found['waited_ms']:g} ms"
    if found.get("reasoning_requested") or found.get("reasoning_applied"):
        yield f"thinking: asked for {found.get('reasoning_requested') or '-'}, applied {found.get('reasoning_applied') or '-'}"


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
