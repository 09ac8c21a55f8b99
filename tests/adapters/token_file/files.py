"""Token files as other programs write them, and what a token endpoint answers."""

from __future__ import annotations

import json
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fkproxy.adapters.token_file import TokenFile
from tests.fakes.upstream import Step, reply

NOW_S = 1_800_000_000.0
"""2027-01-15T08:00:00Z."""
LOOK_S = 2.0
"""The file is looked at again after this."""

Make = Callable[..., TokenFile]


def granted(number: int, **more: Any) -> list[Step]:
    """The endpoint's reply number so-and-so, with a new refresh token."""
    tokens = {"access_token": f"access-{number}", "refresh_token": f"refresh-{number}", "token_type": "Bearer", "expires_in": 3600}
    return reply(json.dumps(tokens | more).encode())


REFUSED = reply(b'{"error":"invalid_grant","error_description":"canary"}', status="400 Bad Request")
BROKEN = reply(b"canary", status="503 Service Unavailable")


def write(path: Path, *, ends_s: float = NOW_S + 3600, number: int = 0, **more: Any) -> None:
    """A file as another program writes it: moved into its place."""
    tokens = {"access_token": f"access-{number}", "refresh_token": f"refresh-{number}", "expires_at": int(ends_s), "email": "canary@x"}
    fresh = path.with_suffix(".fresh")
    fresh.write_text(json.dumps(tokens | more))
    fresh.replace(path)


def put(path: Path, text: str) -> None:
    path.write_text(text)


def raw(path: Path) -> bytes:
    return path.read_bytes()


def remove(path: Path) -> None:
    path.unlink()


def held(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


_HOLD_LOCK = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


async def another_with_the_lock(path: Path) -> Callable[[], Awaitable[None]]:
    """Another process holds the lock of this file, until what this gives is called."""
    lock = path.with_name(path.name + ".lock")
    other = await create_subprocess_exec(sys.executable, "-c", _HOLD_LOCK, lock, stdin=PIPE, stdout=PIPE)
    assert other.stdout is not None
    assert await other.stdout.readline() == b"held\n"

    async def end() -> None:
        await other.communicate(b"")
        assert other.returncode == 0

    return end
