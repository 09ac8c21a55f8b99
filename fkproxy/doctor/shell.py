"""What in a shell's environment is for its clients. Floor 4."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fkproxy.settings.checks import is_own_address
from fkproxy.settings.schema import slots

__all__ = ["CLIENTS", "Client", "without_clients"]


class Client(msgspec.Struct, frozen=True):
    """A variable that clients read their address from, what must follow the authority in it, and the variables of their key: of two that
    are set they take the first."""

    variable: str
    path: str
    keys: tuple[str, ...]


CLIENTS = (
    Client("OPENAI_BASE_URL", "/v1", ("OPENAI_API_KEY",)),
    Client("OPENAI_API_BASE", "/v1", ("OPENAI_API_KEY",)),
    Client("AZURE_OPENAI_ENDPOINT", "", ("AZURE_OPENAI_API_KEY",)),
    Client("ANTHROPIC_BASE_URL", "", ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY")),
    Client("ANTHROPIC_VERTEX_BASE_URL", "/v1", ("ANTHROPIC_AUTH_TOKEN",)),
    Client("GOOGLE_GEMINI_BASE_URL", "", ("GOOGLE_API_KEY", "GEMINI_API_KEY")),
    Client("GOOGLE_VERTEX_BASE_URL", "", ("GOOGLE_API_KEY",)),
)
"""Sources: READMEs of openai-python, anthropic-sdk-python, python-genai and gemini-cli, read 2026-11."""


def without_clients(variables: Mapping[str, str], host: str, port: int) -> dict[str, str]:
    """An environment without the addresses that are for clients alone, and the keys that go there.

    Taken for settings, one that leads to the gateway at this host and port would lead it to itself, and a key for this gateway or for
    another one would be shown to a vendor.
    """
    settings = {name for slot in slots() for name in slot.names}
    theirs: set[str] = set()
    for client in CLIENTS:
        value = variables.get(client.variable, "").strip()
        if value and (client.variable not in settings or _leads_here(value, host, port)):
            theirs.update((client.variable, *client.keys))
    return {name: value for name, value in variables.items() if name not in theirs}


def _leads_here(value: str, host: str, port: int) -> bool:
    try:
        return is_own_address(value, host, port)
    except ValueError:
        return False
