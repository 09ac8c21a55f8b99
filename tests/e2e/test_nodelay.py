"""Small pieces leave at once."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.e2e.processes import service


def test_no_piece_of_a_stream_waits_for_an_acknowledgement(directory: Path) -> None:
    """Nagle's algorithm is off on the sockets that are accepted: asked of the kernel, since time is no proof."""
    program = """
import os, socket, sys
pid, port = int(sys.argv[1]), int(sys.argv[2])
client = socket.create_connection(("127.0.0.1", port))
client.sendall(b"GET /livez HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n")
client.recv(4096)
found = []
workers = [int(entry) for entry in open(f"/proc/{pid}/task/{pid}/children").read().split()]
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for worker in workers:
    handle = libc.syscall(434, worker, 0)
    for entry in os.listdir(f"/proc/{worker}/fd"):
        copied = libc.syscall(438, handle, int(entry), 0)
        if copied < 0:
            continue
        try:
            sock = socket.socket(fileno=copied)
            if sock.family == socket.AF_INET and sock.getsockname()[1] == port and sock.getpeername() == client.getsockname():
                found.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        except OSError:
            continue
print(found)
"""
    with service(directory) as running:
        command = ["/usr/bin/python3", "-W", "ignore", "-c", program, str(running.pid), str(running.port)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    assert done.stdout.strip() in ("[1]", "[1, 1]")
