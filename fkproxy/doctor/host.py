"""The host: permissions, disk, memory, clock. Floor 4."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from fkproxy.doctor.finding import Finding, error, note, ok, warning
from fkproxy.doctor.situation import Situation

__all__ = ["CHECKS", "check_secrets", "kept"]

_DISK_BYTES = 64 * 1024 * 1024
"""Less is an error, and less than so many times that a warning; of files that can still be made likewise."""
_DISK_FILES = 1_000
_TIMES = 8
_MEMORY_WARNING_BYTES = 256 * 1024 * 1024
_PLACES = {
    "/var/lib/fkllmproxy": _DISK_BYTES,
    "/var/cache/fkllmproxy": _DISK_BYTES,
    "/var/log/journal": _DISK_BYTES,
    "/tmp": _DISK_BYTES,  # noqa: S108 - looked at, not written to
    "/run": 1024 * 1024,  # the unit's copies of /etc/fkllmproxy: without them nothing is started or reloaded
}
_COMMAND_TIMEOUT_S = 5.0


def check_secrets(situation: Situation) -> Iterable[Finding]:
    """Who may read the file that holds secrets."""
    if situation.env_file is not None:
        yield from kept(situation.env_file)


def kept(path: Path) -> Iterable[Finding]:
    """Whether a file with secrets is for its owner only."""
    try:
        found = path.stat()
    except OSError as failure:
        yield error("secrets", f"{path} cannot be looked at: {failure.strerror}", "correct the path, or run as root")
        return
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO) & ~stat.S_IXGRP & ~stat.S_IXOTH:
        yield error(
            "secrets", f"{path} can be read or written by other users (mode {stat.S_IMODE(found.st_mode):03o})", f"chmod 600 {path}"
        )
    elif found.st_uid not in (0, os.geteuid()):
        yield warning("secrets", f"{path} belongs to user {found.st_uid}", f"chown root: {path}")
    else:
        yield ok("secrets", f"{path} is for its owner only")


def _check_disk(situation: Situation) -> Iterable[Finding]:
    seen: set[int] = set()
    store = situation.loaded.environment.state_directory if situation.loaded is not None else None
    for name, needed in {**({str(store): _DISK_BYTES} if store is not None else {}), **_PLACES}.items():
        place = Path(name)
        try:
            while not place.exists():
                place = place.parent
            device = place.stat().st_dev
        except PermissionError:
            yield note("disk", f"{name} can only be looked at by root")
            continue
        if device in seen:
            continue
        seen.add(device)
        yield from _room(name, place, needed)


def _room(name: str, place: Path, needed: int) -> Iterable[Finding]:
    free, system, mount = shutil.disk_usage(place).free, os.statvfs(place), place.resolve()
    while not mount.is_mount():
        mount = mount.parent
    fix = f"journalctl --vacuum-size=200M, then 'du -xh --max-depth=2 {mount} | sort -h | tail'"
    yield _enough(free, needed, f"{free / 1e9:.1f} GB free for {name}", fix)
    # Some file systems have no bound of files, and say 0 of 0.
    if system.f_files and system.f_favail < _DISK_FILES * _TIMES:
        fix = f"'du -x --inodes --max-depth=3 {mount} | sort -n | tail' tells where files are"
        yield _enough(system.f_favail, _DISK_FILES, f"only {system.f_favail} more files for {name}", fix)


def _enough(free: int, needed: int, told: str, fix: str) -> Finding:
    if free >= needed * _TIMES:
        return ok("disk", told)
    return (error if free < needed else warning)("disk", told, fix)


def _check_memory(_: Situation) -> Iterable[Finding]:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
            told = f"{available / 1e9:.1f} GB available"
            if available < _MEMORY_WARNING_BYTES:
                yield warning("memory", told, "ps -eo rss,comm --sort -rss | head")
            else:
                yield ok("memory", told)


def _check_clock(_: Situation) -> Iterable[Finding]:
    """Signed tokens and certificates need the right time; the upstreams' own clocks are compared with where they are asked."""
    if shutil.which("timedatectl") is None:
        return
    done = subprocess.run(["timedatectl", "show", "-P", "NTPSynchronized"], capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S)  # noqa: S607 - fixed words
    if done.returncode == 0 and done.stdout.strip() == "no":
        yield note("clock", "it is not synchronised by this host (a container may have its host's)", "timedatectl set-ntp true")
    elif done.returncode == 0:
        yield ok("clock", "synchronised")


CHECKS: dict[str, Callable[[Situation], Iterable[Finding]]] = {"disk": _check_disk, "memory": _check_memory, "clock": _check_clock}
