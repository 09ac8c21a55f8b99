"""What the child says of itself: its models, without what it would do for them on its own, and its MCP servers. Floor 2.

Its catalogue gives nearly every model of its vendor tools that no setting turns off: `exec`, from whose scripts alone a client's tools can
be called, `apply_patch`, a clock. And it asks for an effort, a verbosity and a service tier that nobody has named (0.142 to 0.169).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from fkproxy.adapters.codex.process import Process
from fkproxy.model.errors import UpstreamSpawnFailed
from fkproxy.wire import json

__all__ = ["Catalogue"]

T = TypeVar("T")

_KEPT_S = 300.0
"""It takes a tenth of a second to be told, and longer where the program may ask its vendor, whose answer it keeps for as long itself."""

_MAX_LINES = 10_000

_GRACE_S = 1.0
"""In which one that has said everything ends."""

_TELLS_NONE = (0, 2)
"""Exit codes of a program that has nothing to tell, and of one that is asked for what it does not know (clap's `USAGE_CODE`)."""

_NOTHING_OF_ITS_OWN: dict[str, Any] = {
    "tool_mode": "direct",
    "apply_patch_tool_type": None,
    "experimental_supported_tools": [],
    "multi_agent_version": None,
    "default_reasoning_level": None,
    "default_service_tier": None,
    "default_verbosity": None,
    # In its vendor's lighter form it repeats the instructions where there are no tools, and never asks for calls at once (0.169).
    "use_responses_lite": False,
}
"""What a model is taken for of which the catalogue knows nothing. Only what an entry has is changed: other releases have other fields."""


class _Catalogue(msgspec.Struct):
    models: list[dict[str, Any]]


class _Server(msgspec.Struct):
    name: str


logger = logging.getLogger("fkproxy.codex")


class _Kept(Generic[T]):
    """What a program said last, for some time, as long as `about` is the same; None is asked for again."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._said: T | None = None
        self._about: Hashable = None
        self._until = 0.0
        self._asking = asyncio.Lock()

    async def get(self, about: Hashable, ask: Callable[[], Awaitable[T | None]]) -> T | None:
        async with self._asking:
            if self._said is None or about != self._about or self._now() >= self._until:
                self._said = await ask()
                self._about, self._until = about, self._now() + _KEPT_S
            return self._said


class Catalogue:
    """Of one program, as it told it last."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._models: _Kept[bytes] = _Kept(now)
        self._servers: _Kept[set[str]] = _Kept(now)

    async def args(
        self, about: Hashable, binary: str, args: Sequence[str], environment: Mapping[str, str], directory: Path
    ) -> tuple[str, ...]:
        """What tells the program to take its own catalogue so; `args` are what it is started with. The file lies in `directory`.

        It is asked again when `about` is something else, and in any case after some time. Nothing for a program that does not tell its
        catalogue. Raises `UpstreamSpawnFailed` for one that cannot be started or fails, and `OSError`; its caller has a deadline.
        """
        changed = await self._models.get(about, lambda: _changed(binary, args, environment, directory))
        if changed is None:
            return ()
        path = directory / "models.json"
        path.write_bytes(changed)
        return ("-c", f"model_catalog_json={json.encode(str(path)).decode()}")

    async def servers(self, about: Hashable, binary: str, args: Sequence[str], environment: Mapping[str, str], directory: Path) -> set[str]:
        """The names of its MCP servers, asked for as seldom: it asks each one how to sign in, and waits 5 s for one that is silent (0.169).

        Raises `UpstreamSpawnFailed` where it does not tell them, and `OSError`; its caller has a deadline.
        """
        return await self._servers.get(about, lambda: _tool_servers(binary, args, environment, directory)) or set()


async def _changed(binary: str, args: Sequence[str], environment: Mapping[str, str], directory: Path) -> bytes | None:
    """Its catalogue without what it would do on its own; None where it tells none."""
    said, process = await _told(binary, ("debug", "models", *args), environment, directory, 1)
    if not said and process.exit_code not in _TELLS_NONE:
        # For want of memory, threads or files: it has one, and without it the child would use tools of its own as long as it lives.
        raise UpstreamSpawnFailed(binary, f"its models are not known: {process.why_ended()}")
    try:
        told = msgspec.json.decode(said, type=_Catalogue)
    except json.MALFORMED:
        logger.warning("its models are not known, and it may use tools of its own", extra={"binary": binary})
        return None
    models = [{name: _NOTHING_OF_ITS_OWN.get(name, value) for name, value in entry.items()} for entry in told.models]
    # It refuses a file without any, and knows nothing then that could be taken away.
    return json.encode({"models": models}) if models else None


async def _tool_servers(binary: str, args: Sequence[str], environment: Mapping[str, str], directory: Path) -> set[str]:
    said, process = await _told(binary, ("mcp", "list", "--json", *args), environment, directory, _MAX_LINES)
    try:
        return {server.name for server in msgspec.json.decode(said, type=list[_Server])}
    except json.MALFORMED:
        raise UpstreamSpawnFailed(binary, f"its MCP servers are not known: {process.why_ended()}") from None


async def _told(binary: str, args: Sequence[str], environment: Mapping[str, str], directory: Path, lines: int) -> tuple[bytes, Process]:
    """At most so many lines of what it says, b"" where one is too long, and the process, which has ended."""
    process = await Process.start(binary, args, environment, directory)
    said: list[bytes] = []
    grace_s = 0.0
    try:
        process.end_input()
        while len(said) < lines and (line := await process.read_line()):
            said.append(line)
        grace_s = _GRACE_S if len(said) < lines else 0.0
    except ValueError:
        said.clear()
    finally:
        await process.stop(grace_s)
    return b"".join(said), process
