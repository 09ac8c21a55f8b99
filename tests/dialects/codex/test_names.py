"""Names of tools that the child keeps for itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkproxy.dialects.codex.names import name_for_child, name_for_client


@pytest.mark.parametrize(
    ("client", "child"),
    [
        ("get_weather", "get_weather"),
        ("mcp__files__read", "_mcp__files__read"),
        ("mcp", "_mcp"),
        ("_mcp__x", "__mcp__x"),
        ("mcp_x", "mcp_x"),
        ("mcpx", "mcpx"),
        ("_x", "_x"),
        ("exec_command", "_exec_command"),
        ("_shell_command", "__shell_command"),
        ("exec_commands", "exec_commands"),
        ("my_exec_command", "my_exec_command"),
    ],
)
def test_a_reserved_name_gets_an_underscore(client: str, child: str) -> None:
    assert name_for_child(client) == child
    assert name_for_client(child) == client


@given(st.from_regex(r"\A_{0,3}(mcp|exec_command|shell_command)?_{0,3}[a-z]{0,3}\Z"))
def test_every_name_comes_back(name: str) -> None:
    assert name_for_client(name_for_child(name)) == name
    assert name_for_child(name) not in ("mcp", "exec_command", "shell_command")
    assert not name_for_child(name).startswith("mcp__")
