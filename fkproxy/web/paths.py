"""Which of the served paths a client meant whose base URL is another one than it should be. Floor 4.

SDKs differ in what stands in a base URL: `/v1` belongs into OpenAI's, and Anthropic's and Google's put it behind theirs, as Azure's do with
`/openai`. So it is missing, or there twice, or the whole address of a call is taken for the base. Google's own for OpenAI's SDKs has a word
behind the version (ai.google.dev/gemini-api/docs/openai, read 2026-11). @google/generative-ai and @ai-sdk/google put `models/` in front of
a model's name unless there is a slash in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from fkproxy.dialects.base import Dialect

__all__ = ["Meant", "Paths", "matcher"]

_MAX_CHARS = 2048
"""Who sends more, with a base URL and the name of a model in it, means none of them; a server takes 64 KB from anybody."""

_BRACES = re.compile(r"(\{\w+\})")


class Meant(msgspec.Struct, frozen=True):
    """A path that is served, `…` for what clients say in it themselves, and whose it is."""

    path: str
    dialect: Dialect


class Paths:
    """Those at which the dialects' calls and lists of models are."""

    def __init__(self, dialects: Sequence[Dialect]) -> None:
        paths = [(route.path, route.endings, dialect) for dialect in dialects for route in dialect.routes]
        paths += [(path, (), dialect) for dialect in dialects for path in dialect.models_paths]
        self._known = [(_pattern(path, endings), Meant(_BRACES.sub("…", path), dialect)) for path, endings, dialect in paths]

    def meant(self, path: str) -> list[Meant]:
        """Those that end as `path` does, behind a version, behind themselves or behind nothing; mostly none."""
        return [meant for pattern, meant in self._known if pattern.fullmatch(path)] if len(path) <= _MAX_CHARS else []


def matcher(path: str) -> re.Pattern[str]:
    """What a path matches that is served at `path`, percent-encoded as it came: `target` is what it says for `{target}` (see `Route`)."""
    return re.compile(_filled(path, "(?P<target>.+)"), re.DOTALL)


def _filled(path: str, target: str) -> str:
    """As a regular expression, with `target` for `{target}`."""
    filled = {piece: target if piece == "{target}" else "[^/]+" for piece in _BRACES.findall(path)}
    return "".join(filled.get(piece) or re.escape(piece) for piece in _BRACES.split(path))


def _pattern(path: str, endings: Sequence[str]) -> re.Pattern[str]:
    said = f"(?:[^/]+/)?[^/]+(?:{'|'.join(map(re.escape, endings))})"
    _, head, rest = path.split("/", 2)
    tail = "/" + _filled(rest, said).replace(f"models/{said}", f"(?:models/)?{said}")
    return re.compile(f"(?:.*/v[0-9][a-z0-9]*(?:/[a-z]+)?|.*/{head}|.*{tail})?/*{tail}/*", re.IGNORECASE | re.DOTALL)
