"""The store, looked after on its own host, with or without a running instance. Floor 4.

fkllmproxy migrate [--check]      bring it to this program's level
fkllmproxy store verify [FILE]    is it whole, and the audit log as it was written
fkllmproxy store rotate-key       a new key for secrets, and everything sealed anew with it
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fkproxy.place import Place, place_of
from fkproxy.settings import LoadedSettings
from fkproxy.storage.values import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from fkproxy.storage.maintenance import Report

__all__ = ["add_commands"]

_Act = Callable[[Place, argparse.Namespace], Coroutine[Any, Any, "Report"]]


def add_commands(
    commands: Any, store_verbs: Any, parent: argparse.ArgumentParser, load: Callable[[argparse.Namespace], LoadedSettings]
) -> None:
    """`load` gives the settings that are meant."""

    def leaf(verbs: Any, name: str, told: str, act: _Act) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = verbs.add_parser(name, parents=[parent], help=told, description=told)
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.set_defaults(run=lambda options: _run(load(options), act, options))
        return parser

    migrate = leaf(commands, "migrate", "bring the store to this version, which a start does by itself", _migrate)
    migrate.add_argument("--check", action="store_true", help="only say whether there is something to do; the exit code is 1 then")
    verify = leaf(store_verbs, "verify", "whether all of it is whole, served or not", _verify)
    verify.add_argument("file", nargs="?", type=Path, metavar="FILE", help="a copy of the database, with the keys of this host")
    leaf(store_verbs, "rotate-key", "a new key for secrets beside the old ones, and everything sealed anew with it", _rotate_key)


def _run(loaded: LoadedSettings, act: _Act, options: argparse.Namespace) -> int:
    place = place_of(loaded)
    if place is None:
        print("fkllmproxy: there is no store: APP_STORE__URL is none, or there is no directory to keep it in", file=sys.stderr)
        return 1
    try:
        report = asyncio.run(act(place, options))
    except (StoreError, ValueError, OSError) as error:
        print(f"fkllmproxy: {error}", file=sys.stderr)
        return 1
    told = json.dumps({"ok": report.ok, "lines": report.lines}, indent=2) if options.json else "\n".join(report.lines)
    print(told)
    return 0 if report.ok else 1


async def _migrate(place: Place, options: argparse.Namespace) -> Report:
    from fkproxy.storage import maintenance  # the database libraries: not for other commands

    if options.check:
        return await maintenance.standing(place.url)
    if place.database is not None and place.snapshot.exists() and not place.database.exists():
        raise StoreUnavailable("gone", f"{place.database} is not there, and {place.snapshot.name} says that there was one: put it back")
    return await maintenance.migrate(place.url, secret_keys=place.secret_keys, key_file=place.key_file)


async def _verify(place: Place, options: argparse.Namespace) -> Report:
    from fkproxy.storage import maintenance

    if options.file is not None:
        return await maintenance.verify_copy(options.file, secret_keys=place.secret_keys, key_file=place.key_file)
    return await maintenance.verify(place.url, secret_keys=place.secret_keys, key_file=place.key_file)


async def _rotate_key(place: Place, _: argparse.Namespace) -> Report:
    from fkproxy.storage import maintenance

    return await maintenance.rotate_secrets(place.url, secret_keys=place.secret_keys, key_file=place.key_file)
