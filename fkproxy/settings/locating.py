"""TOML and YAML as values, with the line of each: an error should say where to look. Floor 4. The only file with the YAML library."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

__all__ = ["Document", "NotADocument", "Place", "read_toml", "read_yaml"]

Place = tuple[str | int, ...]

_MAX_NODES = 100_000
"""A YAML document may name one node many times over; nobody's providers are so many."""

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]#]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_AT_LINE = re.compile(r"\(at line (\d+), column \d+\)")


class NotADocument(Exception):
    """It cannot be read. `line` counts from 1; None where nobody knows."""

    def __init__(self, message: str, line: int | None) -> None:
        super().__init__(message)
        self.line = line


class Document:
    """A value, and where its parts stand."""

    def __init__(self, value: Any, lines: Mapping[Place, int]) -> None:
        self.value = value
        self._lines = lines

    def line(self, place: Place) -> int:
        """Of the part at `place`, or of the nearest part around it; names match with hyphens and with underscores."""
        wanted = tuple(_plain(step) for step in place)
        while wanted:
            if wanted in self._lines:
                return self._lines[wanted]
            wanted = wanted[:-1]
        return 1


def _plain(step: str | int) -> str | int:
    return step.replace("-", "_") if isinstance(step, str) else step


def read_toml(text: str) -> Document:
    """Raises `NotADocument`."""
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _AT_LINE.search(str(error))
        raise NotADocument(_AT_LINE.sub("", str(error)).strip().rstrip("."), int(found[1]) if found else None) from None
    except RecursionError:
        raise NotADocument("it is nested deeper than any configuration", None) from None
    return Document(value, _toml_lines(text))


def _toml_lines(text: str) -> dict[Place, int]:
    """The lines of tables and keys of a document that is known to be right; what stands inside a value belongs to the value."""
    lines: dict[Place, int] = {}
    arrays: dict[Place, int] = {}
    table: Place = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _within(arrays, _steps(header[2]))
            if header[1] == "[[":
                arrays[table] = arrays.get(table, -1) + 1
                table = (*table, arrays[table])
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines.setdefault((*table, *_steps(key[1])), number)
    return lines


def _steps(name: str) -> Place:
    return tuple(_plain(step.strip().strip("\"'")) for step in re.findall(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""", name))


def _within(arrays: Mapping[Place, int], steps: Place) -> Place:
    """`providers.credentials` below the last `[[providers]]` is `providers, 2, credentials`."""
    found: Place = ()
    for position, step in enumerate(steps):
        found = (*found, step)
        if found in arrays and position < len(steps) - 1:
            found = (*found, arrays[found])
    return found


def read_yaml(text: str) -> Document:
    """Raises `NotADocument`: also for a name that stands twice in one mapping."""
    # Imported here: most installations have no YAML file, and every start would pay for it.
    import yaml

    try:
        loader = yaml.SafeLoader(text)
    except yaml.YAMLError:
        raise NotADocument("it is not YAML: it holds characters that no text has", None) from None
    try:
        node = loader.get_single_node()
        lines: dict[Place, int] = {}
        if node is not None:
            _walk(loader, node, (), lines)
        value = loader.construct_document(node) if node is not None else {}
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise NotADocument(error.problem or "it is not YAML", mark.line + 1 if mark is not None else None) from None
    except (yaml.YAMLError, RecursionError):
        raise NotADocument("it is not YAML", None) from None
    finally:
        loader.dispose()
    return Document(value, lines)


def _walk(loader: Any, node: Any, place: Place, lines: dict[Place, int]) -> None:
    if len(lines) > _MAX_NODES:
        raise NotADocument("it names more values than any configuration has", None)
    lines.setdefault(place, node.start_mark.line + 1)
    if node.id == "mapping":
        seen: set[str] = set()
        for key, value in node.value:
            if key.id != "scalar":
                raise NotADocument("a list or a table is no name", key.start_mark.line + 1)
            if key.value in seen:
                raise NotADocument(f"{key.value} stands here twice", key.start_mark.line + 1)
            seen.add(key.value)
            inner = (*place, _plain(str(key.value)))
            lines[inner] = key.start_mark.line + 1
            _walk(loader, value, inner, lines)
    elif node.id == "sequence":
        for position, value in enumerate(node.value):
            _walk(loader, value, (*place, position), lines)
    else:
        try:
            loader.construct_object(node)
        except (ValueError, AttributeError):
            # The library has these for a date that no calendar has, or a tag that the text does not bear out.
            raise NotADocument("the value is not what it looks like; quote it if it is a text", node.start_mark.line + 1) from None
