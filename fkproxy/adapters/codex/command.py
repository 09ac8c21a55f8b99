"""What is started of an installation of the Codex CLI, in a directory of its own. Floor 2."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from fkproxy.adapters.codex.process import Process, find_binary
from fkproxy.model.errors import UpstreamSpawnFailed

__all__ = ["Command"]


class Command(msgspec.Struct, frozen=True):
    """What is started, with `args` behind its subcommand. `home` is CODEX_HOME; children and calls have their directories in `directory`.

    Both are made where they are missing.
    """

    binary: str
    args: tuple[str, ...]
    environment: Mapping[str, str]
    home: Path
    directory: Path

    async def start(self, args_in: Callable[[Path], Sequence[str]]) -> tuple[Process, Path]:
        """A process and its directory, which the caller removes. `args_in`: what it is started with in a directory, where it may write.

        Raises `UpstreamSpawnFailed`, and what `args_in` raises; nothing is left then.
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
            return await Process.start(binary, args_in(directory), environment, directory), directory
        except OSError as error:
            shutil.rmtree(directory, ignore_errors=True)
            raise UpstreamSpawnFailed(binary, f"{directory}: {error.strerror}") from None
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise


def _remove_leftovers(directory: Path) -> None:
    """Directories of children of processes that are no more. Their names begin with the process's number."""
    for path in directory.iterdir():
        owner = path.name.partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(path, ignore_errors=True)
