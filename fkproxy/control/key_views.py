"""What is said about a client key, to and by an administrator. Floor 3. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from fkproxy.directory import ClientKey, KeyLimits, KeyState, Pool

__all__ = [
    "EffectiveState",
    "KeyPatch",
    "KeyView",
    "LimitsPatch",
    "MadeKey",
    "NewKey",
    "SecretView",
    "Spending",
    "effective_state",
    "view_of",
]

EffectiveState = Literal["active", "paused", "revoked", "expired", "pool_paused", "pool_disabled", "pool_archived", "pool_missing"]


class LimitsPatch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The limits to change; null for none, 0 for nothing at all."""

    requests_per_minute: int | UnsetType | None = UNSET
    tokens_per_minute: int | UnsetType | None = UNSET
    tokens_per_day: int | UnsetType | None = UNSET
    tokens_per_week: int | UnsetType | None = UNSET
    spend_usd_per_day: float | UnsetType | None = UNSET
    spend_usd_per_month: float | UnsetType | None = UNSET
    max_concurrency: int | UnsetType | None = UNSET


class KeyPatch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The fields to change. `expires_s` in unix seconds, null for never."""

    label: str | UnsetType = UNSET
    expires_s: float | UnsetType | None = UNSET
    models: tuple[str, ...] | UnsetType = UNSET
    enforced_model: str | UnsetType | None = UNSET
    enforced_thinking: str | UnsetType | None = UNSET
    maximum_thinking: str | UnsetType | None = UNSET
    limits: LimitsPatch | UnsetType = UNSET


class NewKey(KeyPatch, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A key to be made; what is not said is as in `ClientKey`."""

    pool: str


class SecretView(msgspec.Struct, frozen=True, kw_only=True):
    """One secret of a key. `expires_s`: its end after a rotation."""

    prefix: str
    created_s: float
    expires_s: float | None


class Spending(msgspec.Struct, frozen=True, kw_only=True):
    """What a key has used in the windows that its limits count; None where nobody knows."""

    requests_this_minute: int | None = None
    tokens_this_minute: int | None = None
    tokens_today: int | None = None
    tokens_this_week: int | None = None
    spend_usd_today: float | None = None
    spend_usd_this_month: float | None = None
    calls_under_way: int | None = None


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """One key. `state` is what was set, `effective_state` what a call meets; times in unix seconds."""

    id: str
    pool: str
    label: str
    prefix: str
    state: KeyState
    effective_state: EffectiveState
    created_s: float
    expires_s: float | None
    revoked_s: float | None
    last_used_s: float | None
    models: tuple[str, ...]
    enforced_model: str | None
    enforced_thinking: str | None
    maximum_thinking: str | None
    limits: KeyLimits
    secrets: tuple[SecretView, ...]
    spent: Spending | None


class MadeKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key with its secret, which is shown this once. It does not show itself in logs."""

    key: KeyView
    secret: str

    def __repr__(self) -> str:
        return f"MadeKey({self.key.prefix}-…)"


_POOL_STATES: Mapping[str, EffectiveState] = {"paused": "pool_paused", "disabled": "pool_disabled", "archived": "pool_archived"}


def effective_state(key: ClientKey, pool: Pool | None, now_s: float) -> EffectiveState:
    """What a call with this key meets: the key's own end first, then its pool's."""
    if key.state == "revoked":
        return "revoked"
    if key.expires_s is not None and key.expires_s <= now_s:
        return "expired"
    if key.state == "paused":
        return "paused"
    if pool is None:
        return "pool_missing"
    return _POOL_STATES.get(pool.state, "active")


def view_of(key: ClientKey, pool: Pool | None, now_s: float, last_used_s: float | None, spent: Spending | None) -> KeyView:
    """The key as it may be shown; secrets that have ended are left out."""
    return KeyView(
        id=key.id,
        pool=key.pool,
        label=key.label,
        prefix=key.prefix,
        state=key.state,
        effective_state=effective_state(key, pool, now_s),
        created_s=key.created_s,
        expires_s=key.expires_s,
        revoked_s=key.revoked_s,
        last_used_s=last_used_s,
        models=key.models,
        enforced_model=key.enforced_model,
        enforced_thinking=key.enforced_thinking,
        maximum_thinking=key.maximum_thinking,
        limits=key.limits,
        secrets=tuple(
            SecretView(prefix=secret.prefix, created_s=secret.created_s, expires_s=secret.expires_s)
            for secret in key.secrets
            if secret.expires_s is None or secret.expires_s > now_s
        ),
        spent=spent,
    )
