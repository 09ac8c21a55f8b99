"""What the C library keeps of the memory that is free again. Floor 4.

glibc's; other C libraries are left as they are.
"""

from __future__ import annotations

import ctypes

__all__ = ["GIVE_BACK_EVERY_S", "give_back", "keep_freed"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""malloc.h"""
_HEAP_BLOCK_BYTES = 4 * 1024 * 1024
_KEPT_FREE_BYTES = 16 * 1024 * 1024

GIVE_BACK_EVERY_S = 15.0
"""0.2 ms where there is nothing to give back, 65 ms for 340 MB."""


def keep_freed() -> None:
    """Do not give the memory of a large prompt back to the system after each call: to get it anew costs more than to read it.

    glibc gives back what is free at the end of its heap beyond twice the largest block that it saw (mallopt(3)).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _HEAP_BLOCK_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_FREE_BYTES)


def give_back() -> None:
    """Now and then, and in any thread: without the interpreter's lock.

    By itself glibc gives back only the end of a heap, and one small block that lives there keeps all before it. The server's thread, which
    reads the bodies, has heaps of its own. malloc_trim(3) gives back whole pages wherever they are.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(_KEPT_FREE_BYTES))
