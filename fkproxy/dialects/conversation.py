"""Which calls belong together: what tells one conversation from others, read from a client's request.

Floor 1. Pure.

A vendor's prompt cache and its encrypted thoughts belong to one account, so the calls of a conversation should meet the same one. Clients
say which conversation it is in a header or a field; where they do not, it is known by how it began, which later turns repeat.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from fkproxy.wire import json

__all__ = ["ABSENT", "ConversationMarks", "opening_key", "reply_key"]

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
_MOST_OPENING_BYTES = _USUAL_OPENING_BYTES * _FURTHER**2
"""Who has said a megabyte before the user says anything has told enough, too: later turns repeat it."""
_MOST_MESSAGES = 1000
"""An opening has no more: who begins with thousands that are not the user's has told enough by then."""
_BETWEEN = re.compile(r"[\s,]*")
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


class _Turn(msgspec.Struct, gc=False):
    role: Any = "user"


_decode_turn = msgspec.json.Decoder(_Turn).decode


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
        """A key of at most 16 bytes; None when nothing tells. `found`: has the fields as attributes, where `body` was decoded already."""
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
        return opening_key(_CACHE_CONTROL.sub(b"", opening) if opening.find(_CACHE_CONTROL_NAME) >= 0 else opening)


def reply_key(reply_id: str) -> bytes:
    """The key of the conversation in which this reply was given."""
    return _digest(b"reply\x00" + reply_id.encode())


def opening_key(opening: bytes) -> bytes:
    """The key of the conversation that began so.

    No digest, which takes three times as long, and openings are long: two that are taken for one merely go to the same place.
    """
    return b"%x.%x" % (zlib.crc32(opening), len(opening))


def _digest(value: bytes) -> bytes:
    return hashlib.blake2b(value[:_MAX_KEY_BYTES], digest_size=16).digest()


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
    """Of an array the elements up to the user's first message, or all, or as many bytes as are looked at; of anything else everything."""
    view = memoryview(raw)
    if view[:1].tobytes() != b"[":
        return bytes(view)
    if len(view) <= _USUAL_OPENING_BYTES and (short := _short_opening(raw)) is not None:
        return short
    kept: list[str] = []
    at, size_bytes = 1, _USUAL_OPENING_BYTES
    try:
        while at:
            if size_bytes > _MOST_OPENING_BYTES:
                return bytes(view[:_MOST_OPENING_BYTES])
            # A character for each byte, which costs nothing: what tells where a value ends is ASCII in any case.
            text = str(view[:size_bytes], "latin-1")
            at = _until_user(text, at, kept, cut=size_bytes < len(view))
            size_bytes *= _FURTHER
    except json.UNREADABLE:
        return bytes(view)
    return "\x00".join(kept).encode("latin-1")


def _short_opening(raw: msgspec.Raw) -> bytes | None:
    """The same of an array that is looked at whole, with a decoder that finds ends faster but knows no beginnings; None where it cannot."""
    kept: list[msgspec.Raw] = []
    try:
        for message in _decode_array(raw):
            kept.append(message)
            if len(kept) >= _MOST_MESSAGES or _is_users(message):
                break
    except json.MALFORMED:
        return None
    return b"\x00".join(kept)


def _is_users(message: msgspec.Raw) -> bool:
    try:
        return bool(_decode_turn(message).role == "user")
    except msgspec.ValidationError:
        return False  # no object


def _until_user(text: str, at: int, kept: list[str], *, cut: bool) -> int:
    """Put elements into `kept`, from `at` up to the user's first message. Where to go on when more of a text that was `cut` is here; 0 when
    there is nothing to go on with. Raises one of `json.UNREADABLE` where the whole text ends before.
    """
    try:
        while len(kept) < _MOST_MESSAGES:
            if text[at] != "{":
                at = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]  # it matches everywhere
                if text[at] == "]":
                    break
            message, end = json.scan(text, at)
            if cut and len(text) - end <= len("e-"):
                return at  # a number may go on
            kept.append(text[at:end])
            at = end
            if isinstance(message, dict) and message.get("role", "user") == "user":
                break
    except json.UNREADABLE:
        if not cut:
            raise
        return at
    return 0
