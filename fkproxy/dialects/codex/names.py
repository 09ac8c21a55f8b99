"""Names of tools that the child keeps for itself. Floor 1. Pure.

It refuses a client's tool whose name is `mcp` or begins with `mcp__` (0.169), which is how coding agents name those of their MCP servers,
and leaves out one that is called as its own shell is, which its model then does not hear of. An underscore more before them is neither
refused nor lost on the way back.
"""

from __future__ import annotations

import re

__all__ = ["name_for_child", "name_for_client"]

_RESERVED = re.compile(r"_*(mcp(__|$)|(exec|shell)_command$)")


def name_for_child(name: str) -> str:
    """What the child calls the client's tool `name`."""
    return f"_{name}" if _RESERVED.match(name) else name


def name_for_client(name: str) -> str:
    """What the client calls the child's tool `name`."""
    return name[1:] if name.startswith("_") and _RESERVED.match(name) else name
