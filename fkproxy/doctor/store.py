"""What the gateway remembers: the directory, the database, the keys for secrets, and what waits. Floor 4."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from fkproxy.doctor.finding import Finding, error, note, ok, warning
from fkproxy.doctor.host import kept
from fkproxy.doctor.situation import Situation
from fkproxy.place import Place, place_of
from fkproxy.storage.inspection import inspect
from fkproxy.storage.values import StoreError

__all__ = ["check"]

_LOOK_S = 5.0
"""For the structure of a database; a larger one takes 'fkllmproxy store verify'."""
_WAITING_SHARE = 0.1
"""Of what may wait for the database. So much does not wait while it is there."""
_PUT_BACK = "put it back, or a copy: see 'The store' in the runbook"


def check(situation: Situation) -> Iterable[Finding]:
    """All of it, as it lies on the disk."""
    place = place_of(situation.loaded) if situation.loaded is not None else None
    if situation.loaded is None:
        return
    if place is None:
        yield note("store", "nothing is remembered: no pools, no keys but the master key, no log of calls", "see APP_STORE__URL")
        return
    if not place.directory.is_dir():
        yield note("store", f"{place.directory} is not there yet; a start makes it")
        return
    yield from _directory(place.directory)
    yield from _keys(place)
    yield from _database(place) if place.database is not None else asyncio.run(_server(place))
    yield from _waiting(place, situation.loaded.settings.store.journal_max_size)


def _directory(directory: Path) -> Iterator[Finding]:
    """Everything in it must be its owner's: what root has put there by hand is often not."""
    fix = f"chown -R --reference={directory}/ {directory}/*"
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        yield error("store", f"{directory} is on a file system that is mounted read-only", "look at 'dmesg' and at /etc/fstab")
    owner, strangers = directory.stat().st_uid, []
    for path in [*directory.iterdir(), *(directory / "journal").glob("*")]:
        if path.lstat().st_uid != owner:
            strangers.append(path.name)
    if strangers:
        more = f" and {len(strangers) - 3} more" if len(strangers) > 3 else ""
        yield error("store", f"the service cannot write {', '.join(sorted(strangers)[:3])}{more}: not of the owner of {directory}", fix)
    else:
        yield ok("store", f"{directory} and what is in it belong together")


def _keys(place: Place) -> Iterator[Finding]:
    if place.secret_keys is not None:
        yield ok("store", "keys for secrets come from the settings")
    elif not place.key_file.exists():
        if place.snapshot.exists():
            fix = f"put it back: without it neither secrets nor client keys can be read; {place.backups} does not have it"
            yield error("store", f"{place.key_file} is not there", fix)
    elif place.key_file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield from kept(place.key_file)
    else:
        yield ok("store", f"{place.key_file.name} is for its owner only; a copy of it belongs to every backup")


def _database(place: Place) -> Iterator[Finding]:
    assert place.database is not None
    was_there = _was_there(place)
    if not place.database.exists():
        if was_there:
            yield error("store", f"{place.database} is not there, and {place.snapshot.name} says that there was one", _PUT_BACK)
        else:
            yield note("store", f"{place.database} is not there yet; a start makes it")
        return
    try:
        found = inspect(place.database, _LOOK_S)
    except StoreError as failure:
        yield error("store", str(failure), "see 'The store cannot be used' in the runbook")
        return
    if found.faults:
        yield error("store", f"{place.database} is damaged: {found.faults[0]}", "restore a copy: see 'The store' in the runbook")
        return
    size = f"{place.database.stat().st_size / 1e6:.1f} MB"
    if found.faults is None:
        yield note("store", f"{place.database}, {size}, is too large to be looked through here", "fkllmproxy store verify")
    else:
        yield ok("store", f"{place.database}, {size}, is whole")
    yield _level(place, was_there, found.level, found.oldest_reader, found.written_by)


def _was_there(place: Place) -> bool:
    """Whether there was a store. To be asked before one looks at the database: a first start makes that, and then the copy."""
    return place.snapshot.exists()


async def _level_of_server(place: Place) -> Finding:
    from fkproxy.storage.database import Database
    from fkproxy.storage.schema import level_of

    database, was_there = Database(place.url), _was_there(place)
    try:
        found = await level_of(database)
    except StoreError as failure:
        return error("store", f"{place}: {failure}", "see 'The store cannot be used' in the runbook")
    finally:
        await database.close()
    return _level(place, was_there, found.level, found.oldest_reader, found.written_by)


async def _server(place: Place) -> list[Finding]:
    found = await _level_of_server(place)
    return [found] if found.severity == "error" else [ok("store", f"{place}: it answers"), found]


def _level(place: Place, was_there: bool, level: int, oldest_reader: int, written_by: str) -> Finding:
    """The schema against what this program knows."""
    from fkproxy.storage.tables import LEVEL  # a database library, which only this check needs

    if not level and was_there:
        return error("store", f"the database is empty, and {place.snapshot.name} says that there was a store in it", _PUT_BACK)
    told = f"schema level {level}, written by version {written_by}; this version knows {LEVEL}"
    if oldest_reader > LEVEL:
        return error("store", told, f"use version {written_by} or a newer one, or see 'After a rollback: too_new' in the runbook")
    if level < LEVEL:
        return note("store", told, "the next start brings it up, or 'fkllmproxy migrate'")
    return ok("store", told)


def _waiting(place: Place, most_bytes: int) -> Iterator[Finding]:
    waiting = sum(path.stat().st_size for path in place.journal.glob("*.jsonl"))
    told = f"journal files hold {waiting / 1e6:.1f} MB, with the records of calls that are not in the database yet"
    if waiting > most_bytes * _WAITING_SHARE:
        yield warning("store", told, "curl -s http://127.0.0.1:4000/health | jq .store")
    else:
        yield ok("store", told)
