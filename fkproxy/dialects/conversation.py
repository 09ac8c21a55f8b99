"""Which calls belong together: what tells one conversation from others, read from a client's request.

Floor 1. Pure.

A vendor's prompt cache and its encrypted thoughts belong to one account, so the calls of a conversation should meet the same one. Clients
say which conversation it is in a header or a field; where they do not, it is known by how it began, which later turns repeat.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import msgspec

from fkproxy.wire import json

__all__ = ["ConversationMarks", "reply_key"]

_HEADERS = (b"session-id", b"session_id", b"x-session-id", b"x-session-affinity", b"x-conversation-id")
_MAX_KEY_BYTES = 256
_CACHE_CONTROL = re.compile(rb',\s*"cache_control"\s*:\s*\{[^{}]*\}|"cache_control"\s*:\s*\{[^{}]*\}\s*,\s*')
"""Moves from turn to turn."""


class _Role(msgspec.Struct):
    role: str = "user"


class ConversationMarks(msgspec.Struct, frozen=True, kw_only=True):
    """Where a dialect's clients say it, the surest first.

    `headers` in lower case; `replies`: a field that names an earlier reply; `fields`: top-level fields, or `field.inner`; `opening`:
    fields that stand for the conversation's beginning: of an array everything up to the first message of the user, of anything else all.
    """

    headers: tuple[bytes, ...] = ()
    replies: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    opening: tuple[str, ...] = ()

    def read(self, headers: Mapping[bytes, bytes] | None, body: bytes) -> bytes | None:
        """A key of 16 bytes or so; None when nothing tells."""
        if headers:
            for header in (*self.headers, *_HEADERS):
                value = headers.get(header)
                if value:
                    return _digest(value)
        try:
            fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        except json.MALFORMED:
            return None
        for name in self.replies:
            told = _text(fields.get(name))
            if told is not None:
                return reply_key(told)
        for name in self.fields:
            outer, _, inner = name.partition(".")
            told = _text(_inner(fields.get(outer), inner) if inner else fields.get(outer))
            if told is not None:
                return _digest(told.encode())
        opening = b"\x00".join(_opening(fields[name]) for name in self.opening if name in fields)
        return _digest(_CACHE_CONTROL.sub(b"", opening), whole=True) if opening else None


def reply_key(reply_id: str) -> bytes:
    """The key of the conversation in which this reply was given."""
    return _digest(b"reply\x00" + reply_id.encode())


def _digest(value: bytes, *, whole: bool = False) -> bytes:
    return hashlib.blake2b(value if whole else value[:_MAX_KEY_BYTES], digest_size=16).digest()


def _text(raw: msgspec.Raw | None) -> str | None:
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=str) or None
    except json.MALFORMED:
        return None


def _inner(raw: msgspec.Raw | None, name: str) -> msgspec.Raw | None:
    try:
        return msgspec.json.decode(raw, type=dict[str, msgspec.Raw]).get(name) if raw is not None else None
    except json.MALFORMED:
        return None


def _opening(raw: msgspec.Raw) -> bytes:
    whole = bytes(raw)
    if not whole.startswith(b"["):
        return whole
    try:
        messages = msgspec.json.decode(raw, type=list[msgspec.Raw])
    except json.MALFORMED:
        return whole
    kept: list[bytes] = []
    for message in messages:
        kept.append(bytes(message))
        try:
            if msgspec.json.decode(message, type=_Role).role == "user":
                break
        except json.MALFORMED:
            continue
    return b"\x00".join(kept)
