"""Other vendors' seals in `encrypted_content`. Floor 1. Pure.

A client that speaks this dialect sends a reasoning item's `encrypted_content` back untouched. So that is where the signature of another
vendor's thought travels, in an envelope that says whose it is: `fkproxy1.` and base64 of `{"d": dialect, "s": seal}`. It is opened on the
way back, and goes to nobody but that vendor.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from fkproxy.model.parts import Seal

__all__ = ["NAME", "close_envelope", "open_envelope"]

NAME = "openai_responses"

_PREFIX = "fkproxy1."


class _Letter(msgspec.Struct):
    d: str
    s: str


def close_envelope(seal: Seal) -> str:
    """What stands in `encrypted_content`."""
    if seal.dialect == NAME:
        return seal.data
    return _PREFIX + base64.b64encode(msgspec.json.encode(_Letter(seal.dialect, seal.data))).decode()


def open_envelope(text: str) -> Seal:
    """The seal that a client brings back; one that no envelope names is the dialect's own."""
    if text.startswith(_PREFIX):
        try:
            letter = msgspec.json.decode(base64.b64decode(text.removeprefix(_PREFIX), validate=True), type=_Letter)
        except (binascii.Error, msgspec.DecodeError, ValueError):
            return Seal(dialect=NAME, data=text)
        return Seal(dialect=letter.d, data=letter.s)
    return Seal(dialect=NAME, data=text)
