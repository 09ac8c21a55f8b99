"""What is started of an installation: that the MCP servers in its settings are none of the clients' tools."""

from __future__ import annotations

from pathlib import Path

import pytest

from fkproxy.adapters.codex.catalogue import Catalogue
from fkproxy.model.errors import UpstreamSpawnFailed
from tests.adapters.codex.playing import WAIT_S, command, until

BOTH = '{"a.b"={enabled=false},"files"={enabled=false}}'
TELLS = """echo '[{"name": "files", "enabled": true},'; echo '{"name": "a.b"}]'"""


async def servers_off(directory: Path, settings: bytes, *, tells: str = "exit 9", own_tools: bool = False) -> str | None:
    """What a child is told of the servers in its settings. `tells`: how its program tells of them."""
    home = directory / "home"
    home.mkdir()
    (home / "config.toml").write_bytes(settings)
    program, said = directory / "codex", directory / "said"
    runs = f'printf "%s\\n" "$@" > {said}.new; mv {said}.new {said}'
    program.write_text(f"#!/bin/sh\ncase $1 in mcp) {tells};; run) {runs};; esac\n")
    program.chmod(0o755)
    started = command(home, binary=str(program), own_tools=own_tools)
    process, _ = await started.start(lambda _: ("run",), Catalogue(), WAIT_S)
    try:
        await until(said.exists)
    finally:
        await process.stop(0.0)
    return next((line.removeprefix("mcp_servers=") for line in said.read_text().splitlines() if line.startswith("mcp_servers=")), None)


@pytest.mark.parametrize(
    ("settings", "off"),
    [
        (b"[mcp_servers.files]\ncommand = 'cat'\n[mcp_servers.'a.b']\nurl = 'http://a'", BOTH),
        (b"\xef\xbb\xbf[mcp_servers.files]\ncommand = 'cat'\n[mcp_servers.'a.b']\nurl = 'http://a'", BOTH),
        (b"model = 'm'", None),
        (b"mcp_servers = 5", None),
    ],
)
async def test_what_servers_of_its_home_offer_is_none_of_the_clients_tools(
    tmp_path: Path, tidy: None, settings: bytes, off: str | None
) -> None:
    assert await servers_off(tmp_path, settings) == off


@pytest.mark.parametrize(("tells", "off"), [(TELLS, BOTH), ("echo '[]'", None)])
async def test_settings_that_only_the_program_can_read_it_is_asked_for(tmp_path: Path, tidy: None, tells: str, off: str | None) -> None:
    assert await servers_off(tmp_path, b"mcp_servers.files = { command = 'cat', }", tells=tells) == off


async def test_one_with_tools_of_its_own_keeps_its_servers(tmp_path: Path, tidy: None) -> None:
    assert await servers_off(tmp_path, b"mcp_servers.files = { command = 'cat', }", own_tools=True) is None


@pytest.mark.parametrize("tells", ["echo no such key >&2; exit 1", "echo no servers; echo no such key >&2; exit 1"])
async def test_without_their_names_nothing_is_started(tmp_path: Path, tidy: None, tells: str) -> None:
    with pytest.raises(UpstreamSpawnFailed) as caught:
        await servers_off(tmp_path, b"no TOML", tells=tells)
    assert caught.value.why == "its MCP servers are not known: exit code 1; it said: no such key"
    assert list((tmp_path / "home" / "calls").iterdir()) == []
