"""Files of the operator's that only root may read, and the copies of them that the unit makes for the service's own eyes. Floor 4.

The unit copies the files of `ETC` into the service's runtime directory at every start and every reload, readable by the service alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

__all__ = ["ETC", "Trust", "is_older", "is_outdated", "readable"]

ETC = Path("/etc/fkllmproxy")

Trust = Literal["whatever", "just_made", "seen"]
"""Which copies will do: of whatever time; any that is not seen to be out of date, for who starts and was given them a moment ago; those
alone that are seen to be as their files are."""

_AT_ONCE_NS = 1_000_000_000
"""A copy whose content is no older than this when its inode is done has no time but its own."""


def readable(path: Path, environ: Mapping[str, str], etc: Path = ETC) -> Path:
    """`path`, or its copy where the service may not read `path` itself and has one."""
    directory = environ.get("RUNTIME_DIRECTORY")
    if not directory or path.parent != etc or os.access(path, os.R_OK):
        return path
    copy = Path(directory, "etc", path.name)
    return copy if copy.is_file() else path


def is_outdated(path: Path, environ: Mapping[str, str]) -> bool | None:
    """What is read in its place is a copy of how it was before. None where that cannot be seen: the file is
    gone, or in a folder that is for root only."""
    copy = readable(path, environ)
    if copy == path:
        return False
    try:
        path.stat()
    except OSError:
        return None
    return is_older(copy, path)


def is_older(copy: Path, path: Path) -> bool:
    """The original was changed after the copy was made, as far as can be seen: its size or the time of its content is another one.

    That of the inode (inode(7), ctime) says nothing of the content: a backup, a hard link and a chmod change it, too. The unit copies the
    time of the content along, so that an older file, unpacked from a backup, is another one as well. Units that were installed before it
    did so give a copy the time at which it was made: there a later time tells, unless it is still to come and says only that a clock was
    wrong. `fkllmproxy upgrade` leaves such units as they are.
    """
    try:
        made, now = copy.stat(), path.stat()
    except OSError:
        return False
    if made.st_size != now.st_size:
        return True
    if made.st_ctime_ns - made.st_mtime_ns < _AT_ONCE_NS:
        return made.st_mtime_ns < now.st_mtime_ns <= time.time_ns()
    return made.st_mtime_ns != now.st_mtime_ns
