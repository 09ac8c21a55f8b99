"""A child process that cannot outlive its purpose: bounded pipes, a group of its own, and a guard that ends the group when we are gone.

Floor 2.

The child begins with SIGTERM blocked: `systemctl stop` sends it to every process of the service, and calls under way still need theirs.
It ends when its input is closed, and its whole group with SIGKILL if it does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from fkproxy.model.errors import UpstreamSpawnFailed

__all__ = ["MAX_LINE_BYTES", "Process", "find_binary", "whole"]

T = TypeVar("T")

MAX_LINE_BYTES = 64 * 1024 * 1024
"""A child that says more in one line is ended."""

_MAX_COMPLAINT_BYTES = 2000
"""Of what a child says on stderr before it is ready, which is about itself. Later it may be about what was said, and is dropped."""

_WRITE_S = 10.0
"""A child that does not read for so long hangs."""

_LOOK_S = 0.002

_LAST_WORDS_S = 0.5

_ENV = "/usr/bin/env"
_GUARD = 'trap "" TERM INT HUP; read -r _; kill -s KILL -- "-$1"'
"""Reads until our end of its pipe is closed, by us or by our death."""

_NOT_FOUND, _NOT_EXECUTABLE = 127, 126
"""Exit codes of env(1)."""


def find_binary(name: str, path: str | None) -> str:
    """The executable that `name` means; `path` is searched where it has no slash. Raises `UpstreamSpawnFailed`."""
    found = shutil.which(name, path=path)
    if found is not None:
        return str(Path(found).absolute())
    if "/" in name and Path(name).exists():
        raise UpstreamSpawnFailed(name, "permission denied: it may not be executed")
    raise UpstreamSpawnFailed(name, "no such file" if "/" in name else "not found in PATH")


class Process:
    """Started by `start`. `complaint` is what it said on stderr before `settled`."""

    def __init__(self, binary: str, child: asyncio.subprocess.Process, guard: asyncio.subprocess.Process) -> None:
        self.binary = binary
        self.pid = child.pid
        self.complaint = b""
        self.settled = False
        self.stderr_bytes = 0
        self._child = child
        self._guard = guard
        self._drain = asyncio.create_task(self._drain_stderr())
        self._writing = asyncio.Lock()

    @classmethod
    async def start(cls, binary: str, args: Sequence[str], environment: Mapping[str, str], directory: Path) -> Process:
        """Raises `UpstreamSpawnFailed`."""
        starting = asyncio.ensure_future(cls._start(binary, args, environment, directory))
        try:
            return await whole(starting)
        except asyncio.CancelledError:
            # A process that is being made is not called back: it is ended when it is there.
            if starting.exception() is None:
                await starting.result().stop(0.0)
            raise

    @classmethod
    async def _start(cls, binary: str, args: Sequence[str], environment: Mapping[str, str], directory: Path) -> Process:
        pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        try:
            child = await asyncio.create_subprocess_exec(
                _ENV,
                "--block-signal=TERM",
                binary,
                *args,
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                cwd=directory,
                env=dict(environment),
                limit=MAX_LINE_BYTES,
                start_new_session=True,
            )
        except OSError as error:
            raise UpstreamSpawnFailed(binary, os.strerror(error.errno) if error.errno else type(error).__name__) from None
        try:
            guard = await asyncio.create_subprocess_exec(
                "/bin/sh", "-c", _GUARD, "sh", str(child.pid), stdin=pipe, stdout=null, stderr=null, env={}, start_new_session=True
            )
        except OSError:
            kill_group(child.pid)
            await child.wait()
            raise UpstreamSpawnFailed(binary, "its guard, /bin/sh, could not be started") from None
        return cls(binary, child, guard)

    @property
    def running(self) -> bool:
        return self._child.returncode is None

    @property
    def exit_code(self) -> int | None:
        """Negative where a signal ended it; None while it runs."""
        return self._child.returncode

    def ended(self) -> str:
        """How it ended, in words for the log."""
        code = self._child.returncode
        if code is None:
            return "running"
        if code == _NOT_EXECUTABLE:
            return "it cannot be executed"
        if code == _NOT_FOUND:
            return "it was not found"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def why_ended(self) -> str:
        """How it ended, and its `complaint`."""
        complaint = self.complaint.decode(errors="replace").strip().replace("\n", "; ")
        return f"{self.ended()}{'; it said: ' + complaint if complaint else ''}"

    async def write(self, line: bytes, end: bytes = b"\n") -> None:
        """Raises `OSError` or `TimeoutError`."""
        stdin = self._child.stdin
        assert stdin is not None
        async with asyncio.timeout(_WRITE_S), self._writing:
            if stdin.is_closing():
                raise BrokenPipeError
            stdin.write(line + end)
            await stdin.drain()

    def end_input(self) -> None:
        """It has been told everything."""
        if self._child.stdin is not None:
            self._child.stdin.close()

    async def read_line(self) -> bytes:
        """The next line of its output, b"" at the end. Raises `ValueError` for one that is too long."""
        assert self._child.stdout is not None
        try:
            return await self._child.stdout.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            return b""
        except asyncio.LimitOverrunError as error:
            raise ValueError(f"more than {MAX_LINE_BYTES} bytes in one line") from error

    async def stop(self, grace_s: float) -> None:
        """Close its input, wait, end what is left of its group. Returns when it is gone.

        May be called by a task that was cancelled, and one that is cancelled meanwhile does not leave before the end either.
        """
        await whole(asyncio.ensure_future(self._stop(grace_s)))

    async def _stop(self, grace_s: float) -> None:
        self.end_input()
        # None of these waits is an `asyncio.timeout`: before Python 3.11.3 that one cannot be told from an earlier cancellation.
        ended = asyncio.ensure_future(self._child.wait())
        await asyncio.wait((ended,), timeout=grace_s)
        self.kill()
        # Its last words, unless a stranger that it left behind, out of its group, holds its pipes open.
        await asyncio.wait((self._drain,), timeout=_LAST_WORDS_S)
        self._drain.cancel()
        await asyncio.gather(self._drain, return_exceptions=True)
        while self._child.returncode is None:  # noqa: ASYNC110 - asyncio tells of an end only when all pipes are closed as well
            await asyncio.sleep(_LOOK_S)
        # Only this closes what a stranger holds, and until then it counts as not ended.
        self._child._transport.close()  # type: ignore[attr-defined]  # it has no public name
        await ended
        if (stdin := self._child.stdin) is not None:
            closing = asyncio.ensure_future(stdin.wait_closed())
            await asyncio.wait((closing,), timeout=_LAST_WORDS_S)
            closing.cancel()
            await asyncio.gather(closing, return_exceptions=True)
        # First the guard, so that it does not end a group which by then has another's number.
        _end(self._guard.kill)
        await self._guard.wait()

    def kill(self) -> None:
        """End the whole group at once."""
        kill_group(self.pid)

    async def _drain_stderr(self) -> None:
        stderr = self._child.stderr
        assert stderr is not None
        while chunk := await stderr.read(65536):
            self.stderr_bytes += len(chunk)
            if not self.settled and len(self.complaint) < _MAX_COMPLAINT_BYTES:
                self.complaint = (self.complaint + chunk)[:_MAX_COMPLAINT_BYTES]


async def whole(work: asyncio.Future[T]) -> T:
    """Its result. Who is cancelled meanwhile, once or more often, is cancelled when it is done, for half of it would leave something."""
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait((work,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return work.result()


def kill_group(leader: int) -> None:
    """End every process of the group that `leader` leads."""
    _end(lambda: os.killpg(leader, signal.SIGKILL))


def _end(end: Callable[[], None]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        end()
