"""Runs in the built file before the program: what may be cleared away.

shiv unpacks each build to `<root>/fkllmproxy_<build id>` and runs this before anything of it is imported, so with the standard library
only. The tree used last before this one stays for a rollback, and those that a process runs from; older ones go.
"""

import contextlib
import fcntl
import os
import shutil
from pathlib import Path


def clear(own: Path) -> None:
    """Remove unpacked trees of other builds beside `own`, all but the one used last. `.tmp` is one that is being unpacked."""
    os.utime(own)
    # For as long as this process, or one that was forked from it, lives: what it has not imported yet is not to be taken away.
    fcntl.flock(os.open(own, os.O_RDONLY | os.O_CLOEXEC), fcntl.LOCK_SH)
    name = own.name.rpartition("_")[0]
    trees = [path for path in own.parent.glob(f"{name}_*") if path.suffix != ".tmp" and (path / "site-packages").is_dir()]
    others = [path for path in trees if path != own]
    for path in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[1:]:
        with contextlib.suppress(OSError):
            remove(path)


def remove(tree: Path) -> None:
    """Raises `BlockingIOError` for one that is in use."""
    handle = os.open(tree, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(tree, ignore_errors=True)
    finally:
        os.close(handle)


# A read-only or vanished cache is no reason not to start.
with contextlib.suppress(OSError):
    clear(Path(globals()["site_packages"]).parent)
