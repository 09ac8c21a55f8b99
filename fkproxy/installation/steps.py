"""Install, upgrade, roll back: what the runbook does by hand, checked before it is done. Floor 4.

A file is copied beside the one in use, tried in the service's own conditions (version, configuration, self-test; that also unpacks it),
renamed into place, and takes over from the running process on the same socket. If it does not get ready, the file before it comes
back and the running process has never stopped.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import socket
import stat
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from fkproxy.installation.manager import Refused, require, show, started_s, tell
from fkproxy.installation.places import (
    BINARY,
    ENV_FILE,
    NEXT,
    PREVIOUS,
    REPLACED,
    RUNBOOK,
    SERVICE,
    SOCKET,
    UNITS,
    own_file,
    packaged,
    packaged_in,
    unit_file,
)
from fkproxy.installation.trial import try_out

__all__ = ["install", "prepare", "rollback", "upgrade"]

Say = Callable[[str], None]
_Before = dict[Path, tuple[bytes, int] | None]
"""What files held, and their modes, before they were written; None for those that were not there."""

_LOCK = Path("/run/fkllmproxy-install.lock")
_TAKEOVER_S = 210.0
"""A reload of somebody else goes first: 90 s to get ready and 10 to end (supervision.py). Then ours, and a little more."""

_LOOK_EVERY_S = 0.1
_TRIAL = ("version", "check", "selftest --quick")


def install(say: Say, *, start: bool = True, replace_units: bool = False) -> None:
    """This very file as a service of the host; an installation that is there already is brought to this version.

    An environment file that exists is kept, and so is a unit that differs, unless `replace_units`. Raises `Refused`.
    """
    require()
    own = own_file()
    if own is None:
        raise Refused("only the built file can install itself: run 'make build', then 'dist/fkllmproxy install'")
    with _alone(), _taken_back() as before:
        running = show("ActiveState")["ActiveState"] == "active"
        if start and not running and show("ActiveState", unit=SOCKET)["ActiveState"] != "active":
            _require_free_address()
        for unit in (SERVICE, SOCKET):
            _write(UNITS / unit, unit_file(unit), 0o644, say, before, replace=replace_units)
        _write(ENV_FILE, packaged("packaging/env.example"), 0o600, say, before, replace=False)
        _write(RUNBOOK, packaged("runbook.md"), 0o644, say, before, replace=True)
        tell("daemon-reload")
        if BINARY.exists() and _same(own, BINARY):
            say(f"trial passed: {try_out(BINARY, *_TRIAL)[0]}")
        else:
            _replace_by(own, say)
        before.clear()
        if start:
            tell("enable", "--now", "--quiet", SOCKET, SERVICE)
            say(f"the service runs: {show('StatusText')['StatusText']}")
        else:
            say(f"not started; 'systemctl enable --now {SOCKET} {SERVICE}' does that")
    say(f"settings: {ENV_FILE}, then 'systemctl reload fkllmproxy'; what to do when: {RUNBOOK}")


def upgrade(file: Path, say: Say) -> None:
    """Replace the file in use by another one, without dropping anything. Raises `Refused`."""
    require()
    with _alone():
        _require_installed()
        if not file.is_file() or not zipfile.is_zipfile(file):
            raise Refused(f"{file} is not a built fkllmproxy file")
        if _same(file, BINARY):
            raise Refused(f"{file} is the file that is installed already")
        _replace_by(file, say)
        for unit in (SERVICE, SOCKET):
            brought = packaged_in(BINARY, f"packaging/systemd/{unit}")
            if brought is not None and (UNITS / unit).is_file() and (UNITS / unit).read_text(errors="replace") != brought:
                say(f"note: {UNITS / unit} is not what the new version brings; 'fkllmproxy doctor' tells the difference")


def rollback(say: Say) -> None:
    """Go back to the file before the one in use, which becomes the one that another rollback goes back to. Raises `Refused`."""
    require()
    with _alone():
        _require_installed()
        if not PREVIOUS.is_file():
            raise Refused(f"there is no {PREVIOUS} to go back to")
        _replace_by(PREVIOUS, say)


def prepare(file: Path | None, say: Say) -> None:
    """Unpack a file where the service will look for it, and try it; nothing else changes. Raises `Refused`."""
    require()
    with _alone():
        if not (UNITS / SERVICE).is_file():
            raise Refused(f"there is no {UNITS / SERVICE}; 'fkllmproxy install' makes it")
        if file is None or file == BINARY:
            say(f"ready to start: {try_out(BINARY, *_TRIAL)[0]}")
            return
        if not file.is_file() or not zipfile.is_zipfile(file):
            raise Refused(f"{file} is not a built fkllmproxy file")
        with _staged(file):
            say(f"ready to start: {try_out(NEXT, *_TRIAL)[0]}")


# --- pieces


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One of these at a time, to its end: also when the terminal closes. Raises `Refused` while another one is under way."""
    with _LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Refused("another install, upgrade or rollback is under way") from error
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        # Folders that are missing are for everybody to look into, also where root's umask is 077: what is for root only gets its mode.
        mask = os.umask(0o022)
        try:
            _keep_replaced()
            yield
        finally:
            os.umask(mask)
            signal.signal(signal.SIGHUP, before)


@contextlib.contextmanager
def _taken_back() -> Iterator[_Before]:
    """What is noted in it when something fails is so again."""
    before: _Before = {}
    try:
        yield before
    except BaseException:
        for path, held in before.items():
            if held is None:
                path.unlink(missing_ok=True)
            else:
                _put(path, *held)
        if before:
            tell("daemon-reload")
        raise


def _note(path: Path, before: _Before) -> None:
    before[path] = (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) if path.is_file() else None


def _require_installed() -> None:
    if not BINARY.is_file() or not (UNITS / SERVICE).is_file():
        raise Refused(f"there is no installation here ({BINARY}, {UNITS / SERVICE}); 'fkllmproxy install' makes one")


def _require_free_address() -> None:
    """Raise `Refused` if somebody else listens where the socket unit will."""
    # With all that an operator has put beside a unit that is there.
    known = show("Listen", unit=SOCKET)["Listen"].partition(" ")[0]
    for line in (f"ListenStream={known}" if known else unit_file(SOCKET)).splitlines():
        address = line.removeprefix("ListenStream=")
        host, _, port = address.rpartition(":")
        if address == line or not port.isdigit():
            continue
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host.strip("[]"), int(port)))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise Refused(f"somebody listens on {address} already: 'ss -ltnp sport = :{port}' tells who") from error


def _same(one: Path, other: Path) -> bool:
    return one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()


def _write(path: Path, text: str, mode: int, say: Say, before: _Before, *, replace: bool) -> None:
    """A file of the installation. One that is there and differs is kept, or replaced with a copy left behind."""
    if path.is_file():
        if path.read_text(errors="replace") == text:
            return
        if not replace:
            say(f"kept as it is: {path}")
            return
        if path != RUNBOOK:
            copy = path.with_name(path.name + ".bak")
            _note(copy, before)
            shutil.copy2(path, copy)
    _note(path, before)
    path.parent.mkdir(parents=True, exist_ok=True)
    _put(path, text.encode(), mode)
    say(f"written: {path}")


def _put(path: Path, data: bytes, mode: int) -> None:
    """Whole or not at all."""
    fresh = path.with_name(path.name + ".new")
    fresh.touch(mode=0o600)
    fresh.write_bytes(data)
    fresh.chmod(mode)
    fresh.replace(path)


@contextlib.contextmanager
def _staged(file: Path) -> Iterator[None]:
    """`file` as `NEXT`, which goes again unless it is renamed. Raises `Refused`.

    Copied: the service's sandbox does not see homes and temporary folders. A file that somebody has put there already is
    taken as it is, and stays.
    """
    put_there = NEXT.exists() and NEXT.samefile(file)
    try:
        if not put_there:
            _copy(file)
        NEXT.chmod(0o755)
        yield
    finally:
        if not put_there:
            NEXT.unlink(missing_ok=True)


def _copy(file: Path) -> None:
    """`file` as `NEXT`, on the disk."""
    try:
        BINARY.parent.mkdir(parents=True, exist_ok=True)
        NEXT.unlink(missing_ok=True)
        with file.open("rb") as source, NEXT.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
            target.flush()
            os.fsync(target.fileno())
    except OSError as error:
        raise Refused(f"{file} cannot be copied to {NEXT}: {error.strerror}; nothing was changed") from error


def _replace_by(file: Path, say: Say) -> None:
    """Try `file`, and put it into the place of the one in use, and its runbook. Raises `Refused`, with nothing changed."""
    with _staged(file):
        say(f"trial passed: {try_out(NEXT, *_TRIAL)[0]}")
        _activate(say)
    runbook = packaged_in(BINARY, "runbook.md")
    try:
        if runbook is not None:
            _write(RUNBOOK, runbook, 0o644, say, {}, replace=True)
    except OSError as error:
        say(f"note: {RUNBOOK} is not that of the version in use, and cannot be written: {error.strerror}")


def _activate(say: Say) -> None:
    """Put `NEXT` into place and let it take over if the service runs. Raises `Refused`, with the file before it back in place.

    Where it does not come to know how that ended, the new file stays, and the one before it is kept.
    """
    if BINARY.exists():
        REPLACED.hardlink_to(BINARY)
    NEXT.replace(BINARY)
    try:
        state = show("ActiveState")["ActiveState"]
        if state == "active":
            say(f"the new file has taken over: {_take_over()}")
        elif state in ("failed", "activating"):
            tell("reset-failed", SERVICE)
            if state == "failed" and show("ActiveState", unit=SOCKET)["ActiveState"] == "failed":
                # systemd gives it up together with the service, and opens it only while that one does not run.
                tell("start", SOCKET)
            tell("restart", SERVICE)
            say(f"the service runs again: {show('StatusText')['StatusText']}")
    except Refused:
        if REPLACED.exists():
            REPLACED.replace(BINARY)
        raise
    finally:
        kept = _keep_replaced()
    if kept:
        say(f"the file before it is kept: {PREVIOUS}")


def _keep_replaced() -> bool:
    """What was replaced, just now or by one that was killed, is what `rollback` goes back to; False where there is nothing."""
    if not REPLACED.exists():
        return False
    replaced = not (BINARY.exists() and REPLACED.samefile(BINARY))
    if replaced:
        REPLACED.replace(PREVIOUS)
    # rename(2) leaves two names of one file as they are.
    REPLACED.unlink(missing_ok=True)
    return replaced


def _take_over() -> str:
    """Reload, and wait for a process that was started since. Returns its status line.

    One that takes over and is older is that of another reload, under way before: it may be of the file before, and ours comes after it.
    """
    text, begun_s = show("StatusText")["StatusText"], time.clock_gettime(time.CLOCK_BOOTTIME)
    tell("reload", SERVICE)
    deadline = time.monotonic() + _TAKEOVER_S
    while time.monotonic() < deadline:
        now = show("MainPID", "ActiveState", "StatusText")
        if now["ActiveState"] == "active" and started_s(int(now["MainPID"] or 0)) >= begun_s:
            return now["StatusText"]
        if "did not get ready" in now["StatusText"] and now["StatusText"] != text:
            break
        time.sleep(_LOOK_EVERY_S)
    raise Refused("the new file did not get ready; the old one goes on serving and is back in place: see 'journalctl -t fkllmproxy -n 20'")
