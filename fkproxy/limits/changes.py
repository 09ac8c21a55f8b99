"""How often anything has begun, or ceased, to keep an upstream out. Floor 1.

Whoever must know for every call whether anything does, of hundreds of upstreams, looks at all of them only after this has moved on.
"""

from __future__ import annotations

__all__ = ["CHANGES", "Changes"]


class Changes:
    """`count` only ever grows."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


CHANGES = Changes()
"""Of all upstreams of this process: who looks once too often loses a few microseconds, who misses one would be wrong."""
