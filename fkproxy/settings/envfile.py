"""Files of `NAME=value` lines, read as systemd reads an EnvironmentFile. Floor 4.

So one file serves both `EnvironmentFile=` and `--env-file`. Nothing is expanded, and quotes count at the start of a value only.
Source: systemd.exec(5), EnvironmentFile=, and src/basic/env-file.c, read 2026-11.
"""

from __future__ import annotations

import re
from pathlib import Path

from fkproxy.settings.problems import Problem, reason

__all__ = ["read_environment_file"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SKIPPED = re.compile(r"[ \t]*(?:[#;][^\n]*)?(?:\n|\Z)")
"""A blank line or a comment. A backslash does not carry a comment over the end of its line, as in systemd since version 254."""

_SINGLE = re.compile(r"'([^']*)'")
_DOUBLE = re.compile(r'"((?:\\.|[^"\\])*)"', re.DOTALL)
_BARE = re.compile(r"((?:\\.|[^\\\n])*?)[ \t]*(?:\n|\\?\Z)", re.DOTALL)

_GOES_ON = re.compile(r"\\\n\Z")
"""Of a comment; see the news of systemd 254: the line that follows is "a non comment line" since then."""

_UNDECODED = re.compile("[\udc80-\udcff]")
"""What stands for a byte that is not UTF-8 (PEP 383). systemd takes nothing of a file with a value that has one."""


def read_environment_file(path: Path, known_as: Path | None = None) -> tuple[dict[str, str], list[Problem]]:
    """The values, the last one where a name comes twice, and what is wrong with the file, by `path:line`.

    `known_as`: what the file is a copy of; its lines are named by that one.
    """
    try:
        # systemd reads bytes: in a comment anything may stand.
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        return {}, [Problem(str(path), f"the environment file cannot be read: {reason(error)}", "check --env-file, and who may read it")]
    told = known_as or path
    if "\0" in text:
        # Of such a file systemd takes nothing (read_full_file() in src/basic/fileio.c).
        number = text.count("\n", 0, text.index("\0")) + 1
        return {}, [Problem(f"{told}:{number}", "holds a zero byte", "save it as UTF-8 text")]
    values: dict[str, str] = {}
    problems: list[Problem] = []
    at = 0
    while at < len(text):
        if skipped := _SKIPPED.match(text, at):
            at = skipped.end()
            goes_on = _GOES_ON.search(skipped[0]) is not None
            if goes_on and text[at:].lstrip(" \t")[:1] not in ("", "\n", "#", ";"):
                number = text.count("\n", 0, at)
                words = "ends in a backslash: to systemd before 254 the next line is a part of this comment"
                problems.append(Problem(f"{told}:{number}", words, "leave out the backslash"))
            continue
        number = text.count("\n", 0, at) + 1
        end_of_line = text.find("\n", at) + 1 or len(text)
        name, equals, _ = text[at:end_of_line].partition("=")
        if not equals or not _NAME.fullmatch(name.strip()):
            hint = "leave out 'export'" if name.split()[:1] == ["export"] else ""
            problems.append(Problem(f"{told}:{number}", "expected NAME=value", hint))
            at = end_of_line
            continue
        value, at, closed = _value(text, at + len(name) + 1)
        if not closed:
            problems.append(Problem(f"{told}:{number}", f"the quote that opens the value of {name.strip()} is never closed"))
        if _UNDECODED.search(value):
            problems.append(Problem(f"{told}:{number}", f"the value of {name.strip()} is not UTF-8 text"))
            value = ""
        values[name.strip()] = value
    return values, problems


def _value(text: str, at: int) -> tuple[str, int, bool]:
    """(value, where the next line begins, whether its quotes are closed). Quoted pieces may follow each other; the rest is bare."""
    pieces: list[str] = []
    while True:
        while text[at : at + 1] in (" ", "\t"):
            at += 1
        if text[at : at + 1] not in ("'", '"'):
            break
        quoted = (_SINGLE if text[at] == "'" else _DOUBLE).match(text, at)
        if quoted is None:
            return "", text.find("\n", at) + 1 or len(text), False
        pieces.append(quoted[1] if text[at] == "'" else re.sub(r'\\(?:\n|(["\\`$]))', lambda found: found[1] or "", quoted[1]))
        at = quoted.end()
    bare = _BARE.match(text, at)
    assert bare is not None
    pieces.append(re.sub(r"\\(.)", lambda found: "" if found[1] == "\n" else found[1], bare[1], flags=re.DOTALL))
    return "".join(pieces), bare.end(), True
