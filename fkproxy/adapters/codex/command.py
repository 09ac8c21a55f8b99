"""What is started of an installation of the Codex CLI, in a directory of its own. Floor 2."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from fkproxy.adapters.codex.catalogue import Catalogue
from fkproxy.adapters.codex.process import Process, find_binary
from fkproxy.model.errors import UpstreamSpawnFailed
from fkproxy.wire import json

__all__ = ["Command", "Found"]

Found = tuple[tuple[int, int, int] | None, ...]
"""How the files of `_READ_AT_START` are; None for one that is not there."""

_READ_AT_START = ("auth.json", "config.toml")
"""Of its home. A child keeps the login that it found there, whoever signs in afterwards (0.169)."""

_OF_THE_HOST = Path("/etc/codex/config.toml")
"""Settings that it takes below those of its home."""


class Command(msgspec.Struct, frozen=True):
    """What is started, with `args` behind its subcommand. `home` is CODEX_HOME; children and calls have their directories in `directory`.

    Both are made where they are missing. `bare`: it has no tools but the client's.
    """

    binary: str
    args: tuple[str, ...]
    environment: Mapping[str, str]
    home: Path
    directory: Path
    bare: bool = False

    async def _arguments(self, binary: str, environment: Mapping[str, str], directory: Path, catalogue: Catalogue) -> tuple[str, ...]:
        """`args`, behind what one that is `bare` is told of its models, and of the MCP servers in its settings: it would offer their tools,
        and use them.
        """
        if not self.bare:
            return self.args
        about = (_seen(Path(binary)), _seen(_OF_THE_HOST), self.found())
        try:
            names = self._tool_servers()
        except ValueError:
            # It reads TOML 1.1 (0.142 to 0.169), which Python does not.
            names = await catalogue.servers(about, binary, self.args, environment, directory)
        off = ",".join(f"{json.encode(name).decode()}={{enabled=false}}" for name in sorted(names))
        arguments = ("-c", f"mcp_servers={{{off}}}", *self.args) if off else self.args
        return (*await catalogue.args(about, binary, arguments, environment, directory), *arguments)

    def _tool_servers(self) -> set[str]:
        """Their names. Raises `ValueError` for settings that cannot be read here."""
        names: set[str] = set()
        for path in (_OF_THE_HOST, self.home / "config.toml"):
            with contextlib.suppress(OSError):
                servers = tomllib.loads(path.read_text(encoding="utf-8-sig")).get("mcp_servers")
                names.update(servers if isinstance(servers, dict) else ())
        return names

    def found(self) -> Found:
        """What a child that starts now finds in its home: something else whenever its login or its settings have changed."""
        return tuple(_seen(self.home / name) for name in _READ_AT_START)

    async def start(self, args_in: Callable[[Path], Sequence[str]], catalogue: Catalogue, start_s: float) -> tuple[Process, Path]:
        """A process and its directory, which the caller removes. `args_in`: its subcommand, and what follows `args` in a directory,
        where it may write. `catalogue`: of this command.

        Raises `UpstreamSpawnFailed`, also where it is not started within `start_s`, and what `args_in` raises; nothing is left then.
        """
        binary = find_binary(self.binary, self.environment.get("PATH"))
        try:
            for path in (self.home, self.directory):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _remove_leftovers(self.directory)
            # Its name begins with who removes it.
            directory = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=self.directory))
        except OSError as error:
            raise UpstreamSpawnFailed(binary, f"{error.filename}: {error.strerror}") from None
        # What it would write down of each call grows without end, and is of no use to anybody.
        environment = {**self.environment, "CODEX_SQLITE_HOME": str(directory)}
        try:
            subcommand, *args = args_in(directory)
            async with asyncio.timeout(start_s):
                arguments = await self._arguments(binary, environment, directory, catalogue)
            return await Process.start(binary, (subcommand, *arguments, *args), environment, directory), directory
        except BaseException as error:
            shutil.rmtree(directory, ignore_errors=True)
            if isinstance(error, TimeoutError):
                raise UpstreamSpawnFailed(binary, f"no handshake within {start_s:g} s: it did not tell its models and servers") from None
            if isinstance(error, OSError):
                raise UpstreamSpawnFailed(binary, f"{directory}: {error.strerror}") from None
            raise


def _seen(path: Path) -> tuple[int, int, int] | None:
    try:
        seen = path.stat()
    except OSError:
        return None
    return seen.st_ino, seen.st_size, seen.st_mtime_ns


def _remove_leftovers(directory: Path) -> None:
    """Directories of children of processes that are no more. Their names begin with the process's number."""
    for path in directory.iterdir():
        owner = path.name.partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(path, ignore_errors=True)
