"""Models that a request names beside its own. Floor 1. Pure.

A vendor asks them in its place or for advice, and bills them: `fallbacks` of Messages, `models` at OpenRouter, and the `model` of a tool
that is the vendor's own, such as `advisor_20260301`, `openrouter:advisor` and `image_generation`.

Source: platform.claude.com/docs/en/build-with-claude/refusals-and-fallback and …/agents-and-tools/tool-use/advisor-tool;
openrouter.ai/docs/guides/routing/model-fallbacks and …/features/server-tools/advisor; read 2026-11.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fkproxy.dialects.base import may_say, seen_by
from fkproxy.model.errors import InvalidRequest

__all__ = ["other_models"]

_CLIENTS_OWN = (None, "function", "custom")
"""Types of tools that the client has: what is called a model in them is its own affair."""

_MOST = 100
"""Vendors take three or so."""


class _Named(msgspec.Struct):
    models: Any = None
    fallbacks: Any = None
    tools: Any = None


_decode = msgspec.json.Decoder(_Named).decode


def other_models(body: bytes) -> list[str]:
    """Their names, each once. What a vendor chooses by itself (`"fallbacks": "default"`) has none. Raises `InvalidRequest`."""
    if not may_say(body, b'"models"', b'"fallbacks"', b'"tools"'):
        return []
    named = seen_by(_decode, body)
    found: dict[str, None] = {}
    try:
        for listed in (named.models, named.fallbacks):
            for each in listed if isinstance(listed, list) else ():
                if isinstance(each, str):
                    found[each] = None
                _gather(each, found)
        for tool in named.tools if isinstance(named.tools, list) else ():
            if isinstance(tool, dict) and tool.get("type") not in _CLIENTS_OWN:
                _gather(tool, found)
    except RecursionError as error:
        raise InvalidRequest(None, "the request body is nested too deeply") from error
    if len(found) > _MOST:
        raise InvalidRequest(None, f"the request names more than {_MOST} models")
    return list(found)


def _gather(value: Any, found: dict[str, None]) -> None:
    """What is called `model` in it, at any depth."""
    if isinstance(value, list):
        for each in value:
            _gather(each, found)
    elif isinstance(value, dict) and value.get("type") not in _CLIENTS_OWN[1:]:
        if isinstance(name := value.get("model"), str):
            found[name] = None
        for each in value.values():
            _gather(each, found)
