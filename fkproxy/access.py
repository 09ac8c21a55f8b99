"""Who calls: keys in, callers out. Floor 1. Pure.

Two kinds of keys. The master key is the administrator's, and the clients' as long as they have none of their own. A client key belongs to
a pool (`directory.py`); as long as there is one, though it be revoked, clients need one, and the master key does not open their routes.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable
from functools import partial

import msgspec

from fkproxy.directory import ClientKey, Directory, Pool
from fkproxy.model.errors import (
    AdministratorKey,
    FkproxyError,
    KeyExpired,
    KeyPaused,
    KeyRevoked,
    NotAllowed,
    NotAuthenticated,
    PoolInactive,
)
from fkproxy.terms import ModelPolicy, Terms

__all__ = ["ANONYMOUS", "Caller", "KeyRing", "digest", "key_id", "new_secret", "presented_key"]

_NEVER = float("inf")
_UNKNOWN = "the API key is not valid"
_MISSING = "an API key is required: send it as 'Authorization: Bearer <key>', 'x-api-key', 'x-goog-api-key' or 'api-key'"


class Caller(msgspec.Struct, frozen=True):
    """Who the key says it is. All of it is safe to log.

    `key_id` is short, and None for a caller without a key. `key_prefix`, `pool` and `terms` are those of a client key. `barred` makes the
    error of a key whose calls are not let in; `ends_s`: unix seconds from which none is. Both are for the clients' routes.
    """

    key_id: str | None
    key_prefix: str | None = None
    pool: str | None = None
    terms: Terms | None = None
    barred: Callable[[], FkproxyError] | None = None
    ends_s: float = _NEVER

    def refusal(self, now_s: float) -> FkproxyError | None:
        """Why its calls may not go on; None when they may. `now_s` is unix seconds."""
        if self.barred is not None:
            return self.barred()
        return KeyExpired() if now_s >= self.ends_s else None

    def check(self, now_s: float) -> None:
        """Raises why no call of it is let in. Who comes with a revoked key hears what strangers hear."""
        refusal = self.refusal(now_s)
        if isinstance(refusal, KeyRevoked):
            raise NotAuthenticated(_UNKNOWN)
        if refusal is not None:
            raise refusal


ANONYMOUS = Caller(None)


def key_id(key: str) -> str:
    """Eight hex digits that tell keys apart in logs and give nothing of the key away."""
    return hashlib.sha256(key.encode()).hexdigest()[:8]


def presented_key(authorization: bytes | None, *others: bytes | None) -> bytes | None:
    """The key a request carries: `Authorization: Bearer`, else the first of the `others` that is given; None when there is none.

    The scheme's case does not matter (RFC 9110 §11.1).
    """
    if authorization is not None:
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() == b"bearer":
            return token.strip()
    for key in others:
        if key is not None:
            return key
    return None


def new_secret() -> tuple[str, str]:
    """(a client key's secret, its prefix): `sk-fk-` and 12 hex digits, which may be shown, and 256 bits that may not."""
    prefix = f"sk-fk-{secrets.token_hex(6)}"
    return f"{prefix}-{secrets.token_urlsafe(32)}", prefix


def digest(pepper: bytes, raw: bytes) -> bytes:
    """What is kept of a secret. `pepper` is the directory's, at most 64 bytes."""
    return hashlib.blake2b(raw, key=pepper, digest_size=32).digest()


class KeyRing:
    """Valid keys, kept as keyed hashes only.

    The check takes the same time whatever a wrong key has in common with a right one, and for one key and a thousand: the presented key is
    hashed under a secret, so what a dictionary's timing could tell is about a value that nobody outside can predict or choose. The secret
    for the master key is made at start; that for client keys is the directory's, for their hashes are kept.

    `required`: clients need a key. `closed`: they did so before there was any client key. `ends_s`: when keys end, the next one first.
    """

    __slots__ = ("_again", "_clients", "_masters", "_pepper", "_peppered", "_terms", "closed", "ends_s", "required")

    def __init__(self, keys: Iterable[str], *, required: bool, directory: Directory | None = None) -> None:
        self._pepper = secrets.token_bytes(32)
        self.closed = required
        self._masters = {digest(self._pepper, key.encode()): Caller(key_id(key)) for key in keys}
        self.replace(directory or Directory())

    def replace(self, directory: Directory) -> None:
        """These are the client keys from now on."""
        pools = {pool.name: (pool, ModelPolicy(pool.models, pool.excluded_models)) for pool in directory.pools}
        clients: dict[bytes, Caller] = {}
        self._terms: dict[str, Terms] = {}
        for key in directory.keys:
            pool, policy = pools.get(key.pool) or (None, ModelPolicy(()))
            terms, barred = Terms(key, policy), _barred(key, pool)
            self._terms[key.id] = terms
            for secret in key.secrets:
                ends_s = min(_NEVER if end_s is None else end_s for end_s in (key.expires_s, secret.expires_s))
                clients[secret.digest] = Caller(key.id, secret.prefix, key.pool, terms, barred, ends_s)
        taken = bool(directory.keys)
        self._clients = clients
        self._peppered = directory.pepper
        self._again = {(caller.key_id, caller.key_prefix): caller for caller in clients.values()}
        self._masters = {
            hashed: Caller(master.key_id, barred=AdministratorKey if taken else None) for hashed, master in self._masters.items()
        }
        self.required = self.closed or taken or not directory.known
        self.ends_s = sorted({caller.ends_s for caller in clients.values()} - {_NEVER})

    def identify(self, presented: bytes | None) -> Caller:
        """Whose key it is, barred or not; `ANONYMOUS` where none is required. Raises `NotAuthenticated`, which never quotes the key."""
        if not self.required:
            return ANONYMOUS
        if not presented:
            raise NotAuthenticated(_MISSING)
        caller = self._clients.get(digest(self._peppered, presented)) if self._clients else None
        if caller is None:
            caller = self._masters.get(digest(self._pepper, presented))
            if caller is None:
                raise NotAuthenticated(_UNKNOWN)
        return caller

    def check(self, presented: bytes | None, now_s: float) -> Caller:
        """Who may look: the administrator, and a client whose calls would be let in. Raises as `identify` and `Caller.check`."""
        caller = self.identify(presented)
        if caller.terms is not None:
            caller.check(now_s)
        return caller

    def admit(self, presented: bytes | None, now_s: float) -> Caller:
        """Who may call. Raises as `identify` and `Caller.check`."""
        caller = self.identify(presented)
        caller.check(now_s)
        return caller

    def check_administrator(self, presented: bytes | None) -> Caller:
        """The administrator. Raises `NotAuthenticated`, and `NotAllowed` for a client key."""
        if not presented:
            raise NotAuthenticated(_MISSING)
        caller = self._masters.get(digest(self._pepper, presented))
        if caller is None:
            client = self._clients.get(digest(self._peppered, presented))
            if client is not None and client.barred is not KeyRevoked:
                raise NotAllowed("this is a client's key: the administrator's is needed")
            raise NotAuthenticated(_UNKNOWN)
        return caller

    def terms(self, key_id: str) -> Terms | None:
        """Of a client key, by its id; None when there is none."""
        return self._terms.get(key_id)

    def ended(self, caller: Caller, now_s: float) -> FkproxyError | None:
        """Why calls that `caller` began may not go on, by what is known of its secret now; None when they may."""
        again = self._again.get((caller.key_id, caller.key_prefix))
        return again.refusal(now_s) if again is not None else KeyRevoked()


def _barred(key: ClientKey, pool: Pool | None) -> Callable[[], FkproxyError] | None:
    """Of several reasons the one that lasts longest."""
    if key.state == "revoked":
        return KeyRevoked
    if key.state == "paused":
        return KeyPaused
    if pool is None or pool.state != "active":
        return partial(PoolInactive, pool.state if pool is not None else "missing")
    return None
