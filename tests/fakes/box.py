"""Boxes of secrets: one that opens what it seals, and one whose key nobody has any more."""

from __future__ import annotations

from fkproxy.storage.secrets import SecretBox

PEPPER = b"p" * 32


def box() -> SecretBox:
    """Version 1 of the key."""
    return SecretBox({1: b"k" * 32}, PEPPER)


def lost_box() -> SecretBox:
    """Seals with a version that `box` does not have."""
    return SecretBox({2: b"l" * 32}, PEPPER)
