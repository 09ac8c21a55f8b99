"""A second process of this very program, serving on loopback for as long as a test takes. Floor 4."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from fkproxy.supervision import READY_VARIABLE, wait_until_ready
from fkproxy.systemd import LISTEN_VARIABLE

__all__ = ["NotReady", "Running", "serving"]

_READY_WITHIN_S = 60.0
_ENDS_WITHIN_S = 10.0
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "SHIV_ROOT")
_TAIL_BYTES = 1000


class NotReady(Exception):
    """It did not get ready. The message is the end of what it said."""


class Running:
    """Where it serves, with which key. `exit_code` is known once it was stopped."""

    def __init__(self, url: str, key: str, child: subprocess.Popen[bytes]) -> None:
        self.url = url
        self.key = key
        self.exit_code: int | None = None
        self._child = child

    def stop(self) -> None:
        """End it in an orderly way."""
        if self.exit_code is not None:
            return
        self._child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(_ENDS_WITHIN_S)
        self._child.kill()
        self.exit_code = self._child.wait()


@contextmanager
def serving(command: Sequence[str], variables: Mapping[str, str], **settings: str) -> Iterator[Running]:
    """The process, ready, with these settings and a key made for the occasion, and no others of the host. Raises `NotReady`."""
    key = f"sk-{secrets.token_hex(16)}"
    with socket.socket() as listener, tempfile.TemporaryFile() as output:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        given = {name: variables[name] for name in _KEPT if name in variables}
        given |= {"APP_AUTH__MASTER_KEY": key, "APP_SERVER__LAME_DUCK_SECS": "0", "APP_STORE__URL": "none", "NO_PROXY": "*"}
        given |= settings
        child = _start(command, given, listener, output.fileno())
        if child is None:
            raise NotReady(_tail(output.fileno()))
        running = Running(f"http://127.0.0.1:{listener.getsockname()[1]}", key, child)
        try:
            yield running
        finally:
            running.stop()


def _start(command: Sequence[str], given: Mapping[str, str], listener: socket.socket, output: int) -> subprocess.Popen[bytes] | None:
    read_end, write_end = os.pipe()
    variables = {**given, LISTEN_VARIABLE: str(listener.fileno()), READY_VARIABLE: str(write_end)}
    try:
        child = subprocess.Popen(  # noqa: S603 - our own file
            command, env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=(listener.fileno(), write_end)
        )
    except OSError as error:
        os.close(read_end)
        os.write(output, (error.strerror or "").encode())
        return None
    finally:
        os.close(write_end)
    try:
        if wait_until_ready(read_end, child, _READY_WITHIN_S) is not None:
            return child
    finally:
        os.close(read_end)
    child.kill()
    child.wait()
    return None


def _tail(output: int) -> str:
    size = os.lseek(output, 0, os.SEEK_END)
    return os.pread(output, _TAIL_BYTES, max(0, size - _TAIL_BYTES)).decode(errors="replace").strip() or "it said nothing"
