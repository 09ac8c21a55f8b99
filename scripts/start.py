"""The built file's first lines: is this the right interpreter, and a plain message where its parts cannot be unpacked.

They stand in the file in the place of shiv's own, and do what those do. Nothing is unpacked yet: with the standard library only.
"""

import json
import os
import platform
import sys
import zipfile
import zlib
from pathlib import Path

import _bootstrap

unpack = _bootstrap.extract_site_packages
place_by_name = _bootstrap.cache_path


def leave(told: str) -> None:
    """End with a plain message. In the journal every line is JSON, this too, with its priority (sd-daemon(3))."""
    line = json.dumps({"level": "CRITICAL", "msg": f"not started: {told}"})
    print(f"<2>{line}" if "JOURNAL_STREAM" in os.environ else f"fkllmproxy: {told}", file=sys.stderr)
    raise SystemExit(1)


def fill() -> None:
    """Where input, output or errors were closed, the next file that is opened would be taken for them."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def keep_to_ourselves() -> None:
    """What is unpacked, and what Python compiles of it later, is run: others may not write there, whatever umask we were started with."""
    os.umask(os.umask(0o022) | 0o022)


def check() -> None:
    """Leave where the compiled parts could not be loaded."""
    libc, _ = platform.libc_ver()
    found = (sys.implementation.name, f"{sys.version_info.major}.{sys.version_info.minor}", platform.machine(), libc)
    if found != ("cpython", "3.11", "x86_64", "glibc"):
        leave(
            "this file is for CPython 3.11 on x86_64 with glibc (Debian 12's /usr/bin/python3);"
            f" it was started by {sys.executable}: {found[0]} {found[1]}, {found[2]}, {libc or 'another C library'}"
        )


def unpack_or_leave(archive: object, target: Path, *options: object) -> None:
    """What shiv calls when the parts are not there yet; leave where the disk does not let it, or the file is damaged."""
    try:
        unpack(archive, target, *options)
    except OSError as error:
        leave(f"this file cannot be unpacked to {target.parent}: {error.strerror or error}")
    except (zipfile.BadZipFile, zlib.error):
        leave("this file is damaged and cannot be unpacked; fetch it anew")


def place(archive: object, root: object, build_id: str) -> Path:
    """Where shiv unpacks, by the build alone: a file that was tried under another name is not unpacked again.

    Leave where nobody may look, or nothing may be run.
    """
    try:
        target = place_by_name(archive, root, build_id).with_name(f"fkllmproxy_{build_id}")
    except RuntimeError:
        leave("this file is unpacked below the home of who starts it, and this user has none; SHIV_ROOT names another folder")
    try:
        there = next(folder for folder in (target, *target.absolute().parents) if folder.exists())
        if os.statvfs(there).f_flag & os.ST_NOEXEC:
            leave(f"{there} is mounted noexec, and the compiled parts of this file are run from there; SHIV_ROOT names another folder")
    except OSError as error:
        leave(f"this file cannot be unpacked to {target.parent}: {error.strerror or error}")
    return target


fill()
keep_to_ourselves()
check()
_bootstrap.cache_path = place
_bootstrap.extract_site_packages = unpack_or_leave
_bootstrap.bootstrap()
