"""Files of the operator's that only root may read, and the copies of them that the unit makes for the service's own eyes. Floor 4.

The unit copies the files of `ETC` into the service's runtime directory at every start and every reload, readable by the service alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

__all__ = ["ETC", "is_older", "readable"]

ETC = Path("/etc/fkllmproxy")


def readable(path: Path, environ: Mapping[str, str], etc: Path = ETC) -> Path:
    """`path`, or its copy where the service may not read `path` itself and has one."""
    directory = environ.get("RUNTIME_DIRECTORY")
    if not directory or path.parent != etc or os.access(path, os.R_OK):
        return path
    copy = Path(directory, "etc", path.name)
    return copy if copy.is_file() else path


def is_older(copy: Path, path: Path) -> bool:
    """The original was changed after the copy was made, as far as can be seen.

    By the kernel's own times (inode(7), ctime): that of the content can be set, and a backup that is unpacked brings one along. A time that
    is still to come says only that the clock was wrong.
    """
    try:
        made_ns, changed_ns = copy.stat().st_ctime_ns, path.stat().st_ctime_ns
    except OSError:
        return False
    return made_ns < changed_ns <= time.time_ns()
