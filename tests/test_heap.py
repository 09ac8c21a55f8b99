"""What is free again does not stay for ever."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import ctypes
from fkproxy import heap

def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 // 2**20

heap.keep_freed()
before = resident_mb()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
bodies = [libc.malloc(ctypes.c_size_t(2**20)) for _ in range(300)]
for body in bodies:
    ctypes.memset(body, 1, 2**20)
last = libc.malloc(ctypes.c_size_t(2**20))
full = resident_mb()
for body in bodies:
    libc.free(ctypes.c_void_p(body))
kept = resident_mb()
heap.give_back()
print(full - before, kept - before, resident_mb() - before)
"""


def test_one_block_at_the_end_of_the_heap_does_not_keep_what_is_free_before_it() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    full_mb, kept_mb, left_mb = map(int, done.stdout.split())
    assert full_mb > 250
    assert kept_mb > 250, "why it is done"
    assert left_mb < 100
