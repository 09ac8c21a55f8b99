"""Who calls: keys in, callers out. Floor 1. Pure."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable

import msgspec

from fkproxy.model.errors import NotAuthenticated

__all__ = ["ANONYMOUS", "Caller", "KeyRing", "digest", "key_id", "new_secret", "presented_key"]


class Caller(msgspec.Struct, frozen=True):
    """Who the key says it is. `key_id` is short and safe to log; None for a caller without a key."""

    key_id: str | None


ANONYMOUS = Caller(None)


def key_id(key: str) -> str:
    """Eight hex digits that tell keys apart in logs and give nothing of the key away."""
    return hashlib.sha256(key.encode()).hexdigest()[:8]


def presented_key(authorization: bytes | None, api_key: bytes | None, goog_api_key: bytes | None) -> bytes | None:
    """The key a request carries: `Authorization: Bearer`, else `x-api-key`, else `x-goog-api-key`; None when there is none.

    The scheme's case does not matter (RFC 9110 §11.1).
    """
    if authorization is not None:
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() == b"bearer":
            return token.strip()
    return api_key if api_key is not None else goog_api_key


def new_secret() -> tuple[str, str]:
    """(a client key, its prefix): `sk-fk-<12 hex>-<43 base64url>`. The prefix tells keys apart and may be shown, the rest is 256 bits."""
    prefix = f"sk-fk-{secrets.token_hex(6)}"
    return f"{prefix}-{secrets.token_urlsafe(32)}", prefix


def digest(pepper: bytes, raw: bytes) -> bytes:
    """32 bytes in place of a key: without the pepper nobody can tell whether a guess is right."""
    return hashlib.blake2b(raw, key=pepper, digest_size=32).digest()


class KeyRing:
    """Valid keys, kept as keyed hashes only.

    The check takes the same time for a wrong key and a right one, for one key and a thousand: the presented key is hashed under
    a secret made at start, so what a dictionary's timing could tell is about a value that nobody outside can predict or choose.
    """

    __slots__ = ("_callers", "_pepper", "required")

    def __init__(self, keys: Iterable[str], *, required: bool) -> None:
        self._pepper = secrets.token_bytes(32)
        self.required = required
        self._callers = {self._digest(key.encode()): Caller(key_id(key)) for key in keys}

    def _digest(self, key: bytes) -> bytes:
        return digest(self._pepper, key)

    def check(self, presented: bytes | None) -> Caller:
        """The caller, `ANONYMOUS` where no key is required. Raises `NotAuthenticated`, which never quotes the key."""
        if not self.required:
            return ANONYMOUS
        if not presented:
            raise NotAuthenticated("an API key is required: send it as 'Authorization: Bearer <key>', 'x-api-key' or 'x-goog-api-key'")
        caller = self._callers.get(self._digest(presented))
        if caller is None:
            raise NotAuthenticated("the API key is not valid")
        return caller
