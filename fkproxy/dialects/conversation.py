"""Which calls belong together: what tells one conversation from others, read from a client's request.

Floor 1. Pure.

A vendor's prompt cache and its encrypted thoughts belong to one account, so the calls of a conversation should meet the same one. Clients
say which conversation it is in a header or a field; where they do not, it is known by how it began, which later turns repeat.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from fkproxy.wire import json

__all__ = ["ABSENT", "ConversationMarks", "reply_key"]

_HEADERS = (b"session-id", b"session_id", b"x-session-id", b"x-session-affinity", b"x-conversation-id")
_MAX_KEY_BYTES = 256
_CACHE_CONTROL = re.compile(rb',\s*"cache_control"\s*:\s*\{[^{}]*\}|"cache_control"\s*:\s*\{[^{}]*\}\s*,\s*')
"""Moves from turn to turn."""
_CACHE_CONTROL_NAME = b'"cache_control"'


ABSENT = msgspec.Raw(b"")
"""In place of a field that is not there."""
_USUAL_OPENING_BYTES = 16 * 1024
"""Where most conversations have come to the user's first message."""
_FURTHER = 8
"""Times as many are looked at where they have not."""
_BETWEEN = re.compile(r"[\s,]*")
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode


class ConversationMarks:
    """Where a dialect's clients say it, the surest first.

    `headers` in lower case; `replies`: a field that names an earlier reply; `fields`: top-level fields, or `field.inner`; `opening`:
    fields that stand for the conversation's beginning: of an array everything up to the first message of the user, of anything else all.
    """

    __slots__ = ("_decode", "_headers", "_places", "opening", "replies")

    def __init__(
        self,
        *,
        headers: tuple[bytes, ...] = (),
        replies: tuple[str, ...] = (),
        fields: tuple[str, ...] = (),
        opening: tuple[str, ...] = (),
    ) -> None:
        self.replies = replies
        self.opening = opening
        self._headers = dict.fromkeys((*headers, *_HEADERS))
        self._places = [name.partition(".")[::2] for name in fields]
        looked_at = dict.fromkeys((*replies, *(outer for outer, _ in self._places), *opening))
        shape = msgspec.defstruct("Marked", [(name, msgspec.Raw, ABSENT) for name in looked_at], gc=False)
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(shape).decode

    def read(self, headers: Mapping[bytes, bytes] | None, body: bytes, found: object = None) -> bytes | None:
        """A key of 16 bytes or so; None when nothing tells. `found`: has the fields as attributes, where `body` was decoded already."""
        if headers and not self._headers.keys().isdisjoint(headers):
            for header in self._headers:
                value = headers.get(header)
                if value:
                    return _digest(value)
        if found is None:
            try:
                found = self._decode(body)
            except json.MALFORMED:
                return None
        for name in self.replies:
            if (raw := getattr(found, name)) is not ABSENT and (told := _text(raw)) is not None:
                return reply_key(told)
        for outer, inner in self._places:
            if (raw := getattr(found, outer)) is not ABSENT and (told := _text(_inner(raw, inner) if inner else raw)) is not None:
                return _digest(told.encode())
        opening = b"\x00".join([_opening(raw) for name in self.opening if (raw := getattr(found, name)) is not ABSENT])
        if not opening:
            return None
        return _digest(_CACHE_CONTROL.sub(b"", opening) if opening.find(_CACHE_CONTROL_NAME) >= 0 else opening, whole=True)


def reply_key(reply_id: str) -> bytes:
    """The key of the conversation in which this reply was given."""
    return _digest(b"reply\x00" + reply_id.encode())


def _digest(value: bytes, *, whole: bool = False) -> bytes:
    return hashlib.blake2b(value if whole else value[:_MAX_KEY_BYTES], digest_size=16).digest()


def _text(raw: msgspec.Raw) -> str | None:
    if raw is ABSENT:
        return None
    try:
        return _decode_text(raw) or None
    except json.MALFORMED:
        return None


def _inner(raw: msgspec.Raw, name: str) -> msgspec.Raw:
    try:
        return _decode_fields(raw).get(name, ABSENT)
    except json.MALFORMED:
        return ABSENT


def _opening(raw: msgspec.Raw) -> bytes:
    view = memoryview(raw)
    if view[:1].tobytes() == b"[":
        looked_at_bytes = _USUAL_OPENING_BYTES
        while True:
            try:
                return _until_user(view[:looked_at_bytes])
            except json.UNREADABLE:  # it goes on behind that, or cannot be told
                if looked_at_bytes >= len(view):
                    break
            looked_at_bytes *= _FURTHER
    return bytes(view)


def _until_user(array: memoryview) -> bytes:
    """The messages up to the first one of the user, or all. Raises one of `json.UNREADABLE` where the bytes end before."""
    # A character for each byte, so that places in the text are places in the bytes: what tells where a value ends is ASCII in any case.
    text = str(array, "latin-1")
    kept: list[memoryview] = []
    at = 1
    while True:
        if text[at] != "{":
            at = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]  # it matches everywhere
            if text[at] == "]":
                break
        message, end = json.scan(text, at)
        kept.append(array[at:end])
        if isinstance(message, dict) and message.get("role", "user") == "user":
            break
        at = end
    return b"\x00".join(kept)
