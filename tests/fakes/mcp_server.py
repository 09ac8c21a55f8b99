#!/usr/bin/env python3
"""An MCP server on its standard streams with one tool, which tells a secret word. Standard library only.

Source: modelcontextprotocol.io, specification 2025-06-18, "Lifecycle" and "Tools".
"""

from __future__ import annotations

import json
import sys
from typing import Any

TOOL = {
    "name": "secret_word",
    "description": "Tells the secret word of the birds.",
    "inputSchema": {"type": "object", "properties": {}},
    "annotations": {"readOnlyHint": True},
}


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    match method:
        case "initialize":
            server = {"name": "birds", "version": "1"}
            return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": server}
        case "tools/list":
            return {"tools": [TOOL]}
        case "tools/call":
            return {"content": [{"type": "text", "text": "the secret word is heron"}]}
    return {}


if __name__ == "__main__":
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" in asked:
            result = answer(asked["method"], asked.get("params") or {})
            sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}) + "\n")
            sys.stdout.flush()
