"""A stream of events that is kept alive by the beginning of the next one. Floor 0.

Google's clients look for `data: ` where an event ends, and not all for anything else: @google/generative-ai 0.24, which LangChain.js
has, reads nothing of what stands behind a comment or a blank line, and ends the process of who uses it.
"""

from __future__ import annotations

__all__ = ["BEGINNING", "LateEvent"]

_FIELD = b"data:"
BEGINNING = _FIELD + b" "
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
        """The bytes for some events. What stands in front of the first data is left out: a comment, or nothing.

        JSON that is no event goes as it is: some errors of Google's come so.
        """
        if not self._begun or data.startswith((b"{", b"[")):
            return data
        _, found, rest = data.partition(_FIELD)
        self._begun = not found
        return rest

    def end(self) -> bytes:
        """The bytes for the end of the stream."""
        return b""
