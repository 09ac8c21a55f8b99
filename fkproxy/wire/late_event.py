"""A stream of events that is kept alive by the beginning of the next one. Floor 0.

Google's clients look for `data: ` where an event ends, and not all for anything else: @google/generative-ai 0.24, which LangChain.js
has, reads nothing of what stands behind a comment or a blank line, and ends the process of who uses it.
"""

from __future__ import annotations

import re

__all__ = ["BEGINNING", "LateEvent"]

BEGINNING = b"data: "
_FIELD = re.compile(rb"(?:\A|[\r\n])data:")
_BLANK = b" "
"""Means nothing in front of the event's JSON."""


class LateEvent:
    """Events in, events out, the first one behind a `pad` without its beginning, which is out already."""

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        self._begun = False

    def pad(self) -> bytes:
        """What keeps the stream alive, between two events."""
        padding = _BLANK if self._begun else BEGINNING
        self._begun = True
        return padding

    def feed(self, data: bytes) -> bytes:
        """The bytes for some events. What stands in front of the first data is left out: a comment, or nothing."""
        if not self._begun:
            return data
        field = _FIELD.search(data)
        if field is None:
            return b""
        self._begun = False
        return data[field.end() :]

    def end(self) -> bytes:
        """The bytes for the end of the stream."""
        return b""
