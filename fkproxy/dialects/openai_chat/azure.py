"""What clients of Azure OpenAI say otherwise than those of OpenAI. Floor 1. Pure.

The deployment, which is a model here, stands in the path, and whatever the body calls the model counts for nothing.

Sources: learn.microsoft.com/azure/ai-services/openai/reference; openai 3.52, `lib/azure.py`; read 2026-11.
"""

from __future__ import annotations

from urllib.parse import unquote

from fkproxy.dialects.base import Operation, Route
from fkproxy.wire import json

__all__ = ["routes"]


def _rewrite(body: bytes, target: str) -> bytes:
    return json.encode({**json.raw_fields(body), "model": unquote(target)})


def routes(path: str, name: str, operation: Operation = "chat") -> tuple[Route, ...]:
    """Where Azure has what OpenAI has at `/v1` and `path`: below a deployment, and since 2025 below a version of its own."""
    return (
        Route(f"/openai/deployments/{{target}}{path}", f"{name}_deployment", operation, rewrite=_rewrite),
        Route(f"/openai/v1{path}", f"{name}_azure", operation),
    )
