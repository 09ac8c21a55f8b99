"""What the worker takes has a bound, and comes back."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.processes import Service, service

BODY_BYTES = 9_000_000
BEGUN = b'{"model": "sandbox", "messages": [{"role": "user", "content": "'
DECLARED = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {BODY_BYTES}\r\n\r\n".encode() + BEGUN
CHUNKED = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
MOMENT_S, HANGS_S = 0.05, 60.0


def resident_mb(running: Service) -> int:
    """Of the worker."""
    (worker,) = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    return int(Path(f"/proc/{worker}/statm").read_text().split()[1]) * 4096 // 2**20


@contextlib.contextmanager
def stalled(running: Service, count: int, *, chunked: bool = False) -> Iterator[None]:
    """So many clients that send as much of a body as is taken, but for its end."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", running.port))) for _ in range(count)]
        data = CHUNKED + b"100000\r\n" if chunked else DECLARED
        piece = b"a" * 2**20 + b"\r\n100000\r\n" if chunked else b"a" * 2**20
        for client in clients:
            client.sendall(data)
            client.setblocking(False)
        left = dict.fromkeys(clients, memoryview(piece * 8))
        quiet = 0
        while left and quiet < 20:
            quiet += 1
            time.sleep(MOMENT_S)
            for client, rest in list(left.items()):
                with contextlib.suppress(BlockingIOError):
                    left[client] = rest[client.send(rest) :]
                    quiet = 0
                if not left[client]:
                    del left[client]
        yield


def ask(running: Service, address: str, size: int) -> int:
    """The status of a call that comes from `address`: where no key is needed, that is whose it is."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=HANGS_S, source_address=(address, 0))
    with contextlib.closing(connection):
        call = {"model": "sandbox", "messages": [{"role": "user", "content": "x" * size}]}
        connection.request("POST", "/v1/chat/completions", json.dumps(call))
        return connection.getresponse().status


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_that_do_not_come_to_their_end_take_no_more_than_their_share_and_keep_nobody_else_out(
    directory: Path, chunked: bool
) -> None:
    with service(directory, APP_CONCURRENCY__MAX_BODY_BYTES="40000000", APP_TIMEOUT__FIRST_BYTE_SECS="300") as running:
        assert ask(running, "127.0.0.1", 10) == 200
        before_mb = resident_mb(running)
        with stalled(running, 40, chunked=chunked):
            assert resident_mb(running) - before_mb < 40 * BODY_BYTES / 2 / 2**20
            assert ask(running, "127.0.0.1", 10) == 200, "a small one is never in the way"
            assert ask(running, "127.0.0.2", BODY_BYTES) == 200, "nor is another's"
        assert ask(running, "127.0.0.1", BODY_BYTES) == 200, "who has left has no room"


def test_what_a_burst_took_is_given_back(directory: Path) -> None:
    with service(directory, APP_TIMEOUT__FIRST_BYTE_SECS="300") as running:
        assert ask(running, "127.0.0.1", 10) == 200
        before_mb = resident_mb(running)
        with stalled(running, 25):
            deadline = time.monotonic() + HANGS_S
            while (taken_mb := resident_mb(running) - before_mb) < 200:
                assert time.monotonic() < deadline, "they do not come"
                time.sleep(MOMENT_S)
        deadline = time.monotonic() + HANGS_S
        while resident_mb(running) - before_mb > taken_mb / 2:
            assert time.monotonic() < deadline, "it keeps them"
            time.sleep(MOMENT_S)
