"""Models that a request names beside its own. Floor 1. Pure.

A vendor asks them in its place or for advice, and bills them: `fallbacks` of Messages, `models` at OpenRouter, and what a plugin or a tool
that is the vendor's own has as `model` or `analysis_models`, such as `advisor_20260301`, `openrouter:fusion` and `image_generation`.
Items of Responses make tools known, too: `additional_tools` and `tool_search_output`.

Source: platform.claude.com/docs/en/build-with-claude/refusals-and-fallback and …/agents-and-tools/tool-use/advisor-tool;
openrouter.ai/docs/guides/routing/model-fallbacks, …/features/server-tools/advisor and …/features/plugins/fusion; `AdditionalTools` and
`ResponseToolSearchOutputItemParam` of openai 3.52; read 2026-11.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fkproxy.dialects.base import may_say, seen_by
from fkproxy.dialects.conversation import ABSENT
from fkproxy.model.errors import InvalidRequest
from fkproxy.wire import json

__all__ = ["other_models"]

_CLIENTS_OWN = (None, "function", "custom")
"""Types of tools that the client has: what is called a model in them is its own affair."""

_NAMING = ("model", "analysis_models")

_MOST = 100
"""Vendors take three or so."""


class _Named(msgspec.Struct):
    models: Any = None
    fallbacks: Any = None
    plugins: Any = None
    tools: Any = None
    input: msgspec.Raw = ABSENT


_decode = msgspec.json.Decoder(_Named).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


def other_models(body: bytes) -> list[str]:
    """Their names, each once. What a vendor chooses by itself (`"fallbacks": "default"`) has none. Raises `InvalidRequest`."""
    if not may_say(body, b'"models"', b'"fallbacks"', b'"plugins"', b'"tools"'):
        return []
    named = seen_by(_decode, body)
    found: dict[str, None] = {}
    try:
        for listed in (named.models, named.fallbacks):
            for each in listed if isinstance(listed, list) else ():
                if isinstance(each, str):
                    found[each] = None
                _gather(each, found)
        _gather(named.plugins if isinstance(named.plugins, list) else None, found)
        for tool in _tools(named):
            if isinstance(tool, dict) and tool.get("type") not in _CLIENTS_OWN:
                _gather(tool, found)
    except RecursionError as error:
        raise InvalidRequest(None, "the request body is nested too deeply") from error
    if len(found) > _MOST:
        raise InvalidRequest(None, f"the request names more than {_MOST} models")
    return list(found)


def _tools(named: _Named) -> list[Any]:
    """Those of the request, and those that its items make known. Raises `InvalidRequest`."""
    listed = [named.tools]
    if bytes(named.input).startswith(b"[") and may_say(bytes(named.input), b'"tools"'):
        items = map(bytes, _decode_items(named.input))
        listed += [json.decode_request(item).get("tools") for item in items if item.startswith(b"{") and may_say(item, b'"tools"')]
    return [tool for tools in listed if isinstance(tools, list) for tool in tools]


def _gather(value: Any, found: dict[str, None]) -> None:
    """The models that it names, at any depth."""
    if isinstance(value, list):
        for each in value:
            _gather(each, found)
    elif isinstance(value, dict) and value.get("type") not in _CLIENTS_OWN[1:]:
        for field, each in value.items():
            if field in _NAMING:
                found.update((name, None) for name in (each if isinstance(each, list) else [each]) if isinstance(name, str))
            _gather(each, found)
