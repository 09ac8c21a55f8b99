"""Client keys: made, changed, held, rotated and ended. Floor 3."""

from __future__ import annotations

import fnmatch
import re
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Set
from typing import Any

import msgspec
from msgspec import UNSET

from fkproxy.access import digest, new_secret
from fkproxy.control import checks
from fkproxy.control.key_views import KeyPatch, KeyView, MadeKey, NewKey, Spending, view_of
from fkproxy.control.ledger import By, Ledger, safe_target
from fkproxy.control.refusals import Fault, Forbidden, Invalid, Refused, Unknown
from fkproxy.control.seams import Change
from fkproxy.directory import ClientKey, Document, KeyLimits, KeySecret, Pool
from fkproxy.storage.values import StoreError

__all__ = ["DAY_S", "MAX_KEYS", "MAX_OVERLAP_S", "KeyControl", "is_prefix"]

MAX_KEYS = 10_000
DAY_S = 86_400.0
MAX_OVERLAP_S = 30 * DAY_S
_MAX_SECRETS = 8
"""Of one key, valid at the same time: every call looks its secret up among all there are."""

_PREFIX = re.compile(r"sk-(?:fk|im)-[0-9a-f]{12}")

_COPIED = ("label", "expires_s", "models", "enforced_model", "enforced_thinking", "maximum_thinking")

Spent = Callable[[], Awaitable[Mapping[str, Spending]]]


async def _unknown() -> Mapping[str, Spending]:
    return {}


class KeyControl:
    """The verbs. A key is named by its id, or by the prefix of one of its secrets.

    `pepper` is the key of the digests; it raises `StoreUnavailable` while it is not known. `spent`: what keys have used, by id.
    `master`: the administrator's key, which is no client's. All raise `Refused` and `StoreUnavailable`.
    """

    def __init__(self, ledger: Ledger, pepper: Callable[[], bytes], spent: Spent = _unknown, master: str | None = None) -> None:
        self._ledger = ledger
        self._pepper = pepper
        self._spent = spent
        self._master = master

    async def all(self, *, pool: str | None = None) -> list[KeyView]:
        """All of them, or those of one pool, in the order in which they were made."""
        store = self._ledger.store()
        picture, uses, spent = await store.picture(), await store.key_uses(), await self._spent()
        chosen = [key for key in picture.keys if pool is None or key.pool == pool]
        pools = {each.name: each for each in picture.document.pools}
        now_s = self._ledger.now()
        chosen.sort(key=lambda key: (key.created_s, key.id))
        return [view_of(key, pools.get(key.pool), now_s, uses.get(key.id), spent.get(key.id)) for key in chosen]

    async def get(self, name: str) -> KeyView:
        """One."""
        store = self._ledger.store()
        picture = await store.picture()
        key = _find({key.id: key for key in picture.keys}, name)
        return await self._view(key, picture.document)

    async def presented(self, text: str) -> KeyView | None:
        """The key that this is the secret of, or the prefix; None for one that is not there, or revoked."""
        picture = await self._ledger.store().picture()
        key = self._holders([text], picture.keys).get(text)
        return await self._view(key, picture.document) if key is not None else None

    async def ids_presented(self, texts: Collection[str]) -> dict[str, str]:
        """Each of these that `presented` finds, with the id of its key. All are looked up in one picture: there may be thousands."""
        picture = await self._ledger.store().picture()
        return {text: key.id for text, key in self._holders(texts, picture.keys).items()}

    async def create(self, new: NewKey, *, by: By) -> MadeKey:
        """Make a key. Its secret is in the answer and nowhere else."""
        return await self._make(new, self._secret, by)

    async def check_adoption(self, raws: Collection[str], *, by: By) -> None:
        """Raise what would keep any of these from being let in, before the first one is. The refusal is written down."""
        digests = {digest(self._pepper(), raw.encode()) for raw in raws}
        try:
            self._may_join(digests, (await self._ledger.store().picture()).keys)
        except Refused as error:
            await self._ledger.note(by, "key.create", "key", outcome="refused", note=error.code)
            raise

    async def adopt(self, raw: str, new: NewKey, *, by: By) -> KeyView:
        """Let a key of another system go on. Nothing of it is shown: its prefix is made of its digest."""

        def secret(now_s: float) -> tuple[str, KeySecret]:
            hashed = digest(self._pepper(), raw.encode())
            return raw, KeySecret(prefix=f"sk-im-{hashed.hex()[:12]}", digest=hashed, created_s=now_s)

        return (await self._make(new, secret, by)).key

    async def _make(self, new: NewKey, make: Callable[[float], tuple[str, KeySecret]], by: By) -> MadeKey:
        now_s = self._ledger.now()
        id_ = secrets.token_hex(8)
        async with self._ledger.change(by, "key.create", "key", id_) as change:
            faults: list[Fault] = []
            _open_pool(change.document, new.pool, faults)
            key, changed = _patched(ClientKey(id=id_, pool=new.pool, created_s=now_s), new, now_s, faults)
            _refuse(faults)
            raw, secret = make(now_s)
            self._may_join({secret.digest}, change.keys.values())
            key = msgspec.structs.replace(key, secrets=(secret,))
            change.put_key(key)
            change.changed = ("pool", *changed)
            document = change.document
        return MadeKey(key=await self._changed(key, document), secret=raw)

    async def update(self, name: str, patch: KeyPatch, *, by: By) -> KeyView:
        """Change the fields that are given."""

        def act(key: ClientKey, change: Change, now_s: float) -> tuple[ClientKey, tuple[str, ...]]:
            _not_revoked(key)
            faults: list[Fault] = []
            new, changed = _patched(key, patch, now_s, faults)
            _refuse(faults)
            return new, changed

        return await self._steer(name, "key.update", act, by)

    async def pause(self, name: str, *, by: By) -> KeyView:
        """Refuse its calls until it is resumed."""
        return await self._steer(name, "key.pause", lambda key, change, now_s: _stated(key, "paused"), by)

    async def resume(self, name: str, *, by: By) -> KeyView:
        """End a pause."""
        return await self._steer(name, "key.resume", lambda key, change, now_s: _stated(key, "active"), by)

    async def revoke(self, name: str, *, by: By) -> KeyView:
        """End it for ever."""

        def act(key: ClientKey, change: Change, now_s: float) -> tuple[ClientKey, tuple[str, ...]]:
            if key.state == "revoked":
                return key, ()
            return msgspec.structs.replace(key, state="revoked", revoked_s=now_s), ("state",)

        return await self._steer(name, "key.revoke", act, by)

    async def move(self, name: str, pool: str, *, by: By) -> KeyView:
        """Put it into another pool."""

        def act(key: ClientKey, change: Change, now_s: float) -> tuple[ClientKey, tuple[str, ...]]:
            _not_revoked(key)
            faults: list[Fault] = []
            _open_pool(change.document, pool, faults)
            _refuse(faults)
            return msgspec.structs.replace(key, pool=pool), ("pool",) if pool != key.pool else ()

        return await self._steer(name, "key.update", act, by)

    async def rotate(self, name: str, *, overlap_s: float = DAY_S, by: By) -> MadeKey:
        """A new secret. Those before it are valid for `overlap_s` more seconds; 0: not any more."""
        made: list[str] = []

        def act(key: ClientKey, change: Change, now_s: float) -> tuple[ClientKey, tuple[str, ...]]:
            _not_revoked(key)
            if not 0 <= overlap_s <= MAX_OVERLAP_S:
                raise Invalid([Fault("overlap_s", "is out of range", f"0 to {MAX_OVERLAP_S:.0f} seconds")])
            end_s = now_s + overlap_s
            valid = [each for each in key.secrets if overlap_s and (each.expires_s is None or each.expires_s > now_s)]
            if len(valid) >= _MAX_SECRETS:
                raise Forbidden("too_many", f"{_MAX_SECRETS} secrets of this key are valid still; rotate it with an overlap of 0")
            before = [msgspec.structs.replace(each, expires_s=min(each.expires_s or end_s, end_s)) for each in valid]
            raw, secret = self._secret(now_s)
            made.append(raw)
            return msgspec.structs.replace(key, secrets=(*before, secret)), ("secrets",)

        view = await self._steer(name, "key.rotate", act, by)
        return MadeKey(key=view, secret=made[-1])

    async def delete(self, name: str, *, confirm: str | None = None, by: By) -> None:
        """Remove it; what it used stays booked. One that is not revoked needs its prefix as `confirm`."""
        async with self._ledger.change(by, "key.delete", "key", name) as change:
            key = _find(change.keys, name)
            change.target = key.id
            if key.state != "revoked" and confirm != key.prefix:
                raise Forbidden("not_confirmed", "the key is not revoked: revoke it first, or confirm with its prefix")
            change.delete_key(key.id)

    def _holders(self, texts: Collection[str], keys: Collection[ClientKey]) -> dict[str, ClientKey]:
        """Secret or prefix → the key that is not revoked and has it."""
        by_prefix = {secret.prefix: key for key in keys if key.state != "revoked" for secret in key.secrets}
        by_digest = {secret.digest: key for key in by_prefix.values() for secret in key.secrets}
        pepper = self._pepper()
        found = {text: by_prefix.get(text) or by_digest.get(digest(pepper, text.encode(errors="surrogatepass"))) for text in texts}
        return {text: key for text, key in found.items() if key is not None}

    def _may_join(self, digests: Set[bytes], keys: Collection[ClientKey]) -> None:
        """Raises `Forbidden` where keys with these secrets cannot join those that there are."""
        if self._master is not None and digest(self._pepper(), self._master.encode()) in digests:
            raise Forbidden("master_key", "this is the master key, which is the administrator's alone: whoever has it changes everything")
        if len(keys) + len(digests) > MAX_KEYS:
            raise Forbidden("too_many", f"there are {len(keys)} keys already, of {MAX_KEYS}; delete those that are revoked")
        if any(secret.digest in digests for key in keys for secret in key.secrets):
            raise Forbidden("exists", "there is such a key already, or was one until it was revoked")

    def _secret(self, now_s: float) -> tuple[str, KeySecret]:
        raw, prefix = new_secret()
        return raw, KeySecret(prefix=prefix, digest=digest(self._pepper(), raw.encode()), created_s=now_s)

    async def _steer(
        self, name: str, action: str, act: Callable[[ClientKey, Change, float], tuple[ClientKey, tuple[str, ...]]], by: By
    ) -> KeyView:
        async with self._ledger.change(by, action, "key", name) as change:
            before = _find(change.keys, name)
            change.target = before.id
            key, change.changed = act(before, change, self._ledger.now())
            if key != before:
                change.put_key(key)
            document = change.document
        return await self._changed(key, document)

    async def _changed(self, key: ClientKey, document: Document) -> KeyView:
        """What was done is told, with the only showing of a secret, although the store went away right after it."""
        try:
            return await self._view(key, document)
        except StoreError:
            return view_of(key, _pool_of(key, document), self._ledger.now(), None, None)

    async def _view(self, key: ClientKey, document: Document) -> KeyView:
        uses, spent = await self._ledger.store().key_uses(), await self._spent()
        return view_of(key, _pool_of(key, document), self._ledger.now(), uses.get(key.id), spent.get(key.id))


def _pool_of(key: ClientKey, document: Document) -> Pool | None:
    return next((pool for pool in document.pools if pool.name == key.pool), None)


def is_prefix(text: str) -> bool:
    """It is how keys are shown, and none itself."""
    return _PREFIX.fullmatch(text) is not None


def _find(keys: Mapping[str, ClientKey], name: str) -> ClientKey:
    """By id or prefix; of a whole key only the prefix is looked at."""
    found = keys.get(name)
    prefix = safe_target(name)
    found = found or next((key for key in keys.values() if any(secret.prefix == prefix for secret in key.secrets)), None)
    if found is None:
        raise Unknown("key")
    return found


def _stated(key: ClientKey, state: Any) -> tuple[ClientKey, tuple[str, ...]]:
    _not_revoked(key)
    return msgspec.structs.replace(key, state=state), ("state",) if state != key.state else ()


def _not_revoked(key: ClientKey) -> None:
    if key.state == "revoked":
        raise Forbidden("revoked", "the key is revoked, which is for ever; make another one")


def _open_pool(document: Document, name: str, faults: list[Fault]) -> Pool | None:
    pools = {pool.name: pool for pool in document.pools}
    pool = pools.get(name)
    if pool is None:
        faults.append(
            Fault("pool", "is no pool", f"there are {', '.join(sorted(pools)[:20])}" if pools else "there is none yet: create one")
        )
    elif pool.state == "archived":
        faults.append(Fault("pool", "is archived"))
    return pool


def _refuse(faults: list[Fault]) -> None:
    if faults:
        raise Invalid(faults)


def _patched(key: ClientKey, patch: KeyPatch, now_s: float, faults: list[Fault]) -> tuple[ClientKey, tuple[str, ...]]:
    """The key with what the patch says, checked as a whole, and the names of the fields that differ."""
    values: dict[str, Any] = {name: value for name in _COPIED if (value := getattr(patch, name)) is not UNSET}
    if "label" in values:
        values["label"] = checks.label("label", values["label"], faults)
    if "expires_s" in values:
        checks.future("expires_s", values["expires_s"], now_s, faults)
    if "models" in values:
        values["models"] = checks.patterns("models", values["models"], faults)
    if "enforced_model" in values:
        checks.model_name("enforced_model", values["enforced_model"], faults)
    for field in ("enforced_thinking", "maximum_thinking"):
        if field in values:
            values[field] = checks.thinking(field, values[field], faults)
    if patch.limits is not UNSET:
        values["limits"] = _limits(key.limits, patch.limits, faults)
    new = msgspec.structs.replace(key, **values)
    if new.enforced_thinking is not None and new.maximum_thinking is not None:
        faults.append(Fault("maximum_thinking", "and enforced_thinking exclude each other", "clear one of them with null"))
    if new.enforced_model is not None and not any(fnmatch.fnmatchcase(new.enforced_model, pattern) for pattern in new.models):
        faults.append(Fault("enforced_model", "is none of the models that the key may ask for", "add it to models"))
    before, after = msgspec.structs.asdict(key), msgspec.structs.asdict(new)
    changed = [name for name in (*_COPIED, "limits") if before[name] != after[name]]
    if "limits" in changed:
        changed.remove("limits")
        was, now = msgspec.structs.asdict(key.limits), msgspec.structs.asdict(new.limits)
        changed += [f"limits.{name}" for name in was if was[name] != now[name]]
    return new, tuple(changed)


def _limits(limits: KeyLimits, patch: Any, faults: list[Fault]) -> KeyLimits:
    values = {name: value for name in patch.__struct_fields__ if (value := getattr(patch, name)) is not UNSET}
    for name, value in values.items():
        checks.amount(f"limits.{name}", value, faults)
    return msgspec.structs.replace(limits, **values)
