"""Where the clients of this shell really go. Floor 4."""

from __future__ import annotations

import http.client
from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

from fkproxy.doctor.finding import Finding, error, note, ok, warning
from fkproxy.doctor.service import start
from fkproxy.doctor.shell import CLIENTS, Client
from fkproxy.doctor.situation import Situation
from fkproxy.settings.checks import is_own_address

__all__ = ["check"]

_TIMEOUT_S = 5.0


def check(situation: Situation) -> Iterable[Finding]:
    """Each variable that is set: does it lead here, with the right path, and is its key let in."""
    host, port = situation.address
    here = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    unset: list[str] = []
    for client in CLIENTS:
        value = situation.variables.get(client.variable, "").strip()
        if not value:
            unset.append(client.variable)
            continue
        name = f"${client.variable}"
        fix = f"export {client.variable}={here}{client.path}"
        parts = _parts(value)
        if parts is None:
            yield error("clients", f"{name} is not an http address", fix)
        elif not is_own_address(value, host, port):
            yield note("clients", f"{name} leads to {parts.hostname}, not to this gateway", fix)
        elif parts.scheme == "https":
            yield error("clients", f"{name} leads here with https, and http is spoken here", fix)
        elif parts.path.rstrip("/") != client.path:
            yield error("clients", f"{name} leads here with the path {parts.path or '/'!r} instead of {client.path or '/'!r}", fix)
        else:
            yield from _let_in(situation, client, host, port)
    if unset:
        yield note("clients", f"not set in this shell: {', '.join(unset)}")


def _parts(url: str) -> SplitResult | None:
    """None for what is no http address."""
    try:
        parts = urlsplit(url)
        # Its port is read only when it is asked for.
        return parts if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 else None
    except ValueError:
        return None


def _let_in(situation: Situation, client: Client, host: str, port: int) -> Iterable[Finding]:
    held = next((name for name in client.keys if situation.variables.get(name)), None)
    headers = {"authorization": f"Bearer {situation.variables[held]}"} if held is not None else {}
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
    try:
        # Not the list of models: that one an administrator may see whose calls are refused.
        connection.request("HEAD", "/v1/chat/completions", headers=headers)
        with connection.getresponse() as reply:
            status = reply.status
    except (OSError, http.client.HTTPException, ValueError):
        yield warning("clients", f"${client.variable} leads here, and nothing answers", start(situation))
        return
    finally:
        connection.close()
    which = f"the key in ${held}" if held is not None else f"no key (none of {', '.join(client.keys)} is set)"
    if status == 401:
        fix = f"export {held or client.keys[-1]}=<a key of the gateway>"
        yield error("clients", f"${client.variable} leads here with {which}, which is not let in", fix)
    elif status == 403:
        words = "whose calls are refused: it is the administrator's, or it or its pool is paused"
        yield error("clients", f"${client.variable} leads here with {which}, {words}", "fkllmproxy keys list; fkllmproxy keys create")
    else:
        yield ok("clients", f"${client.variable} leads here and is let in")
