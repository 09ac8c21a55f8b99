"""How many descriptors the process may have, and how many its streams need. Floor 4.

Where there is none left no connection is taken any more, not that of a health check either.
"""

from __future__ import annotations

import resource

__all__ = ["allowed", "needed"]

_PER_STREAM = 2
"""The client's connection and the upstream's."""

_BESIDE = 256
"""For all the rest: the store, the log, calls that are no streams, connections that are kept."""


def needed(max_streams: int) -> int:
    """For so many streams at once."""
    return max_streams * _PER_STREAM + _BESIDE


def allowed(pid: int = 0) -> int:
    """The hard limit, which Granian makes the worker's own. 0 is this process. Raises `OSError` where it may not be known."""
    return resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
