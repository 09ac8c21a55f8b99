"""Other vendors' seals in a field that a client sends back untouched. Floor 1. Pure.

`encrypted_content` of Responses and `signature` of Anthropic Messages hold what their own vendor sealed. Before another vendor they hold
that one's seal in an envelope that says whose it is: `fkproxy1.` and base64 of `{"d": dialect, "s": seal}`. It is opened on the way
back, and its content goes to nobody but that vendor. A summary that was written here in place of a vendor's travels in one as well.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from fkproxy.model.parts import Seal

__all__ = ["PREFIX", "close_envelope", "open_envelope"]

PREFIX = "fkproxy1."


class _Letter(msgspec.Struct):
    d: str
    s: str


def close_envelope(seal: Seal, own: str) -> str:
    """What stands in the field of the dialect `own`: its own seals as they are."""
    if seal.dialect == own:
        return seal.data
    return PREFIX + base64.b64encode(msgspec.json.encode(_Letter(seal.dialect, seal.data))).decode()


def open_envelope(text: str, own: str) -> Seal:
    """The seal that a client of the dialect `own` brings back; one that no envelope names is that dialect's."""
    if text.startswith(PREFIX):
        try:
            letter = msgspec.json.decode(base64.b64decode(text.removeprefix(PREFIX), validate=True), type=_Letter)
        except (binascii.Error, msgspec.DecodeError, ValueError):
            return Seal(dialect=own, data=text)
        return Seal(dialect=letter.d, data=letter.s)
    return Seal(dialect=own, data=text)
