"""Runs in the built file before the program: is this the right interpreter, and what may be cleared away.

shiv unpacks each build to `<root>/fkllmproxy_<build id>`. The newest other one stays for a rollback, older ones go. Here before
anything is imported from the unpacked tree, so with the standard library only.
"""

import contextlib
import platform
import shutil
import sys
from pathlib import Path


def check() -> None:
    """Leave with a plain message where the compiled parts could not be loaded."""
    libc, _ = platform.libc_ver()
    found = (
        f"{sys.implementation.name} {sys.version_info.major}.{sys.version_info.minor}, {platform.machine()}, {libc or 'another C library'}"
    )
    right = sys.implementation.name == "cpython" and sys.version_info[:2] == (3, 11) and platform.machine() == "x86_64" and libc == "glibc"
    if not right:
        print(
            "fkllmproxy: this file is for CPython 3.11 on x86_64 with glibc (Debian 12's /usr/bin/python3);\n"
            f"    it was started with {found} ({sys.executable})",
            file=sys.stderr,
        )
        raise SystemExit(1)


def clear(site_packages: Path) -> None:
    """Remove unpacked trees of older builds, all but the newest."""
    own = site_packages.parent
    name = own.name.rpartition("_")[0]
    others = [path for path in own.parent.glob(f"{name}_*") if path.is_dir() and path != own and (path / "site-packages").is_dir()]
    for path in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[1:]:
        shutil.rmtree(path, ignore_errors=True)


check()
# A read-only or vanished cache is no reason not to start.
with contextlib.suppress(OSError):
    clear(Path(globals()["site_packages"]))
