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

__all__ = ["ConversationMarks", "reply_key"]

_HEADERS = (b"session-id", b"session_id", b"x-session-id", b"x-session-affinity", b"x-conversation-id")
_MAX_KEY_BYTES = 256
_CACHE_CONTROL = re.compile(rb',\s*"cache_control"\s*:\s*\{[^{}]*\}|"cache_control"\s*:\s*\{[^{}]*\}\s*,\s*')
"""Moves from turn to turn."""
_CACHE_CONTROL_NAME = b'"cache_control"'


class _Role(msgspec.Struct):
    role: str = "user"


_NOTHING = msgspec.Raw(b"")
"""In place of a field that is not there."""
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_messages = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_role = msgspec.json.Decoder(_Role).decode
_decode_text = msgspec.json.Decoder(str).decode


class ConversationMarks:
    """Where a dialect's clients say it, the surest first.

    `headers` in lower case; `replies`: a field that names an earlier reply; `fields`: top-level fields, or `field.inner`; `opening`:
    fields that stand for the conversation's beginning: of an array everything up to the first message of the user, of anything else all.
    """

    __slots__ = ("_decode", "_headers", "_places", "fields", "opening", "replies")

    def __init__(
        self,
        *,
        headers: tuple[bytes, ...] = (),
        replies: tuple[str, ...] = (),
        fields: tuple[str, ...] = (),
        opening: tuple[str, ...] = (),
    ) -> None:
        self.replies = replies
        self.fields = fields
        self.opening = opening
        self._headers = dict.fromkeys((*headers, *_HEADERS))
        self._places = [name.partition(".")[::2] for name in fields]
        looked_at = dict.fromkeys((*replies, *(outer for outer, _ in self._places), *opening))
        shape = msgspec.defstruct("Marked", [(name, msgspec.Raw, _NOTHING) for name in looked_at], gc=False)
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(shape).decode

    def read(self, headers: Mapping[bytes, bytes] | None, body: bytes) -> bytes | None:
        """A key of 16 bytes or so; None when nothing tells."""
        if headers and not self._headers.keys().isdisjoint(headers):
            for header in self._headers:
                value = headers.get(header)
                if value:
                    return _digest(value)
        try:
            found = self._decode(body)
        except json.MALFORMED:
            return None
        for name in self.replies:
            if (raw := getattr(found, name)) is not _NOTHING and (told := _text(raw)) is not None:
                return reply_key(told)
        for outer, inner in self._places:
            if (raw := getattr(found, outer)) is not _NOTHING and (told := _text(_inner(raw, inner) if inner else raw)) is not None:
                return _digest(told.encode())
        opening = b"\x00".join([_opening(raw) for name in self.opening if (raw := getattr(found, name)) is not _NOTHING])
        if not opening:
            return None
        return _digest(_CACHE_CONTROL.sub(b"", opening) if opening.find(_CACHE_CONTROL_NAME) >= 0 else opening, whole=True)


def reply_key(reply_id: str) -> bytes:
    """The key of the conversation in which this reply was given."""
    return _digest(b"reply\x00" + reply_id.encode())


def _digest(value: bytes, *, whole: bool = False) -> bytes:
    return hashlib.blake2b(value if whole else value[:_MAX_KEY_BYTES], digest_size=16).digest()


def _text(raw: msgspec.Raw) -> str | None:
    if raw is _NOTHING:
        return None
    try:
        return _decode_text(raw) or None
    except json.MALFORMED:
        return None


def _inner(raw: msgspec.Raw, name: str) -> msgspec.Raw:
    try:
        return _decode_fields(raw).get(name, _NOTHING)
    except json.MALFORMED:
        return _NOTHING


def _opening(raw: msgspec.Raw) -> bytes:
    whole = bytes(raw)
    if not whole.startswith(b"["):
        return whole
    try:
        messages = _decode_messages(raw)
    except json.MALFORMED:
        return whole
    kept: list[bytes] = []
    for message in messages:
        kept.append(bytes(message))
        try:
            if _decode_role(message).role == "user":
                break
        except json.MALFORMED:
            continue
    return b"\x00".join(kept)
