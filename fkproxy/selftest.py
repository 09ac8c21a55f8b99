"""The whole way through this very program, without a network: does this file work on this host? Floor 4.

A second process of it serves on a free port of the loopback interface with the built-in upstream and a key made for the occasion, in
an environment without any setting; then it is asked as a client would.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence

from fkproxy import smoke
from fkproxy.smoke import Step
from fkproxy.supervision import READY_VARIABLE, wait_until_ready
from fkproxy.systemd import LISTEN_VARIABLE

__all__ = ["run"]

_READY_WITHIN_S = 60.0
_ENDS_WITHIN_S = 10.0
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "SHIV_ROOT")


def run(command: Sequence[str], variables: Mapping[str, str]) -> Iterator[Step]:
    """Start, refuse a wrong key, answer, stream, end; each step as it is done, ending at the first that fails."""
    key = f"sk-{secrets.token_hex(16)}"
    with socket.socket() as listener, tempfile.TemporaryFile() as output:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        began = time.monotonic()
        child = _start(command, variables, listener, key, output.fileno())
        if child is None:
            said = _tail(output.fileno())
            yield Step(name="start", ok=False, duration_ms=_since(began), detail=f"it did not get ready: {said}")
            return
        try:
            yield Step(name="start", ok=True, duration_ms=_since(began), detail="it answers")
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            yield from _asked(url, key)
        finally:
            began = time.monotonic()
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_ENDS_WITHIN_S)
            child.kill()
            child.wait()
        yield Step(name="stop", ok=child.returncode == 0, duration_ms=_since(began), detail=f"exit code {child.returncode}")


def _asked(url: str, key: str) -> Iterator[Step]:
    wrong = [step for step in smoke.run(url, f"{key}-wrong", None) if step.name == "models"]
    refused = bool(wrong) and not wrong[0].ok and wrong[0].detail.startswith("401")
    duration_ms = wrong[0].duration_ms if wrong else 0.0
    yield Step(name="keys", ok=refused, duration_ms=duration_ms, detail="a wrong key is refused" if refused else "a wrong key was let in")
    yield from smoke.run(url, key, None)


def _start(
    command: Sequence[str], variables: Mapping[str, str], listener: socket.socket, key: str, output: int
) -> subprocess.Popen[bytes] | None:
    """The process, ready; None if it did not get so."""
    read_end, write_end = os.pipe()
    given = {name: variables[name] for name in _KEPT if name in variables}
    given |= {LISTEN_VARIABLE: str(listener.fileno()), READY_VARIABLE: str(write_end)}
    given |= {"APP_AUTH__MASTER_KEY": key, "APP_SERVER__LAME_DUCK_SECS": "0"}
    try:
        child = subprocess.Popen(  # noqa: S603 - our own file
            command, env=given, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=(listener.fileno(), write_end)
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
    return os.pread(output, 1000, max(0, size - 1000)).decode(errors="replace").strip() or "it said nothing"


def _since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 1)
