"""What several commands share: their parsers, the paths they ask, the results they show. Floor 4. Standard library only."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from fkproxy.remote.administrator import Administrator
from fkproxy.remote.tables import Column, item_lines, lines_of

__all__ = ["Act", "Result", "Run", "family", "item", "json_of", "leaf", "on_one", "path_of", "removal", "rows", "show"]


class Result(NamedTuple):
    """What an instance answered: as JSON would have it, as lines for people, and remarks beside it, which are no part of it."""

    value: object
    lines: Iterable[str]
    remarks: Sequence[str] = ()


Act = Callable[[Administrator, argparse.Namespace], Result]
Run = Callable[[Act], Callable[[argparse.Namespace], int]]
"""Makes of an act what argparse is to call."""


def family(commands: Any, name: str, told: str) -> Any:
    """A command with verbs."""
    return commands.add_parser(name, help=told, description=told).add_subparsers(title="verbs", metavar="VERB", required=True)


def leaf(verbs: Any, parents: Sequence[argparse.ArgumentParser], run: Run, name: str, told: str, act: Act) -> argparse.ArgumentParser:
    """One verb."""
    parser: argparse.ArgumentParser = verbs.add_parser(name, parents=list(parents), help=told, description=told)
    parser.set_defaults(run=run(act))
    return parser


def on_one(verbs: Any, parent: argparse.ArgumentParser, run: Run, kind: str, metavar: str, verb: str, told: str, columns: Any) -> None:
    """`POST /kind/name/verb`, which answers with the thing as it is then."""

    def act(administrator: Administrator, options: argparse.Namespace) -> Result:
        found = administrator.ask("POST", path_of(kind, options.name, verb))
        return Result(found, lines_of(columns, [found]))

    leaf(verbs, [parent], run, verb, told, act).add_argument("name", metavar=metavar)


def show(verbs: Any, parent: argparse.ArgumentParser, run: Run, kind: str, metavar: str) -> None:
    """`GET /kind/name`."""
    act: Act = lambda administrator, options: item(administrator.ask("GET", path_of(kind, options.name)))  # noqa: E731 - one line, as a table
    leaf(verbs, [parent], run, "show", "everything about one", act).add_argument("name", metavar=metavar)


def removal(verbs: Any, parent: argparse.ArgumentParser, run: Run, kind: str, metavar: str, told: str) -> argparse.ArgumentParser:
    """`DELETE /kind/name`; an option `confirm` goes along."""

    def act(administrator: Administrator, options: argparse.Namespace) -> Result:
        administrator.ask("DELETE", path_of(kind, options.name), confirm=getattr(options, "confirm", None))
        return Result(None, [f"deleted: {options.name}"])

    parser = leaf(verbs, [parent], run, "delete", told, act)
    parser.add_argument("name", metavar=metavar)
    return parser


def path_of(*parts: str) -> str:
    """`/keys/abc/pause`. Raises ValueError for a name that is empty: without it the path is another one."""
    if "" in parts:
        raise ValueError("a name is empty")
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def rows(columns: Sequence[Column], found: Any, remarks: Sequence[str] = ()) -> Result:
    """A table."""
    return Result(found, lines_of(columns, found), remarks)


def item(found: Any) -> Result:
    """One thing with all its fields."""
    return Result(found, item_lines(found))


def json_of(file: Path) -> Any:
    """What a file holds; `-` is standard input. Raises ValueError."""
    try:
        return json.loads(sys.stdin.read() if str(file) == "-" else file.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read as JSON: {error}") from error
