"""Models that a request names beside its own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fkproxy.dialects.other_models import other_models
from fkproxy.model.errors import InvalidRequest

_SCHEMA = {"type": "object", "properties": {"model": {"type": "string", "default": "x"}}, "examples": [{"model": "x"}]}


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, []),
        ({"models": ["a", "b", "a"], "fallbacks": [{"model": "c"}, "d"]}, ["a", "b", "c", "d"]),
        ({"models": "a", "fallbacks": "default", "tools": {"model": "a"}}, []),
        ({"models": None, "fallbacks": [None, 1, {"model": None}, {"model": {"name": "a"}}], "tools": [None]}, []),
        ({"tools": [{"type": "advisor_20260301", "name": "advisor", "model": "a"}, {"type": "web_search_20250305"}]}, ["a"]),
        ({"tools": [{"type": "vendor:agent", "parameters": {"tools": [{"type": "vendor:advisor", "model": "b"}]}}]}, ["b"]),
        ({"tools": [{"type": "vendor:panel", "parameters": {"analysis_models": ["a", "b"], "model": "c"}}]}, ["a", "b", "c"]),
        ({"plugins": [{"id": "panel", "analysis_models": ["a", 1], "model": "b"}, {"id": "web", "max_results": 1}, None]}, ["a", "b"]),
        ({"plugins": [{"id": "auto-router", "allowed_models": ["vendor/*"]}]}, []),
        ({"tools": [{"name": "f", "input_schema": _SCHEMA}, {"type": "custom", "input_schema": _SCHEMA}]}, []),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": _SCHEMA}}]}, []),
        ({"tools": [{"type": "namespace", "tools": [{"type": "function", "name": "f", "parameters": _SCHEMA}]}]}, []),
        ({"tools": [{"functionDeclarations": [{"name": "f", "parameters": _SCHEMA}]}]}, []),
        ({"messages": [{"role": "user", "content": '{"models": ["a"]}'}]}, []),
        ({"input": [{"type": "additional_tools", "tools": [{"type": "vendor:image", "model": "a", "svg": {"model": "b"}}]}]}, ["a", "b"]),
        ({"input": [{"type": "tool_search_output", "tools": [{"type": "vendor:image", "model": "a"}]}], "tools": None}, ["a"]),
        ({"input": [{"type": "additional_tools", "tools": [{"type": "function", "name": "f", "parameters": _SCHEMA}]}]}, []),
        ({"input": [{"role": "user", "content": '{"tools": [{"type": "vendor:image", "model": "a"}]}'}]}, []),
        ({"input": [None, "tools", {"tools": None}, {"tools": {"model": "a"}}, ["tools"]], "tools": []}, []),
        ({"input": "tools", "tools": []}, []),
        ({"input": None, "tools": []}, []),
    ],
)
def test_what_a_vendor_would_ask_too_is_found_and_what_is_the_clients_own_is_not(fields: dict[str, Any], names: list[str]) -> None:
    assert other_models(json.dumps({"model": "m", **fields}).encode()) == names


@pytest.mark.parametrize(
    "body",
    [
        b'{"models": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"tools": [{"type": "x", "a": ' + b"[" * 970 + b"]" * 970 + b"}]}",
        b'{"input": [{"tools": "\xff"}]}',
        b'{"input": [{"tools": ]}',
        b'{"input": [{"tools": [{"type": "x", "a": ' + b"[" * 970 + b"]" * 970 + b"}]}]}",
        json.dumps({"models": [str(number) for number in range(101)]}).encode(),
    ],
)
def test_more_than_anybody_means_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        other_models(body)
