"""Which of the served paths a client meant whose base URL is another one than it should be. Floor 4.

SDKs differ in what stands in a base URL: `/v1` belongs into OpenAI's, and Anthropic's and Google's put it behind theirs. So it is missing,
or there twice, or the whole address of a call is taken for the base.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from fkproxy.dialects.base import Dialect

__all__ = ["Meant", "Paths"]

_MAX_CHARS = 2048
"""Who sends more, with a base URL and the name of a model in it, means none of them; a server takes 64 KB from anybody."""


class Meant(msgspec.Struct, frozen=True):
    """A path that is served, `…` for what clients say in it themselves, and whose it is."""

    path: str
    dialect: Dialect


class Paths:
    """Those at which the dialects' calls and lists of models are."""

    def __init__(self, dialects: Sequence[Dialect]) -> None:
        paths = [(route.path, route.endings, dialect) for dialect in dialects for route in dialect.routes]
        paths += [(path, (), dialect) for dialect in dialects for path in dialect.models_paths]
        self._known = [(_pattern(path, endings), Meant(path.replace("{target}", "…"), dialect)) for path, endings, dialect in paths]

    def meant(self, path: str) -> list[Meant]:
        """Those that end as `path` does, behind a version, behind themselves or behind nothing; mostly none."""
        return [meant for pattern, meant in self._known if pattern.fullmatch(path)] if len(path) <= _MAX_CHARS else []


def _pattern(path: str, endings: Sequence[str]) -> re.Pattern[str]:
    head, target, _ = path.split("/", 2)[2].partition("{target}")
    tail = "/" + re.escape(head) + (f"[^/]+(?:{'|'.join(map(re.escape, endings))})" if target else "")
    return re.compile(f"(?:.*/v[0-9][a-z0-9]*|.*{tail})?/*{tail}/*", re.IGNORECASE | re.DOTALL)
