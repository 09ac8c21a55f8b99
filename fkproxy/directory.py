"""Who may call, and on which terms: pools, client keys and their limits. Floor 1. Values only.

A client key belongs to one pool; the pool says which upstreams its calls may go to, and which models it knows. Both are kept as JSON as
well, so a field is only ever added, with a default.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from fkproxy.routing import Strategy

__all__ = ["ClientKey", "Directory", "Document", "KeyLimits", "KeySecret", "KeyState", "Pool", "PoolState"]

PoolState = Literal["active", "paused", "disabled", "archived"]
KeyState = Literal["active", "paused", "revoked"]


class Pool(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A routing boundary. `name` is what it is called everywhere.

    `upstreams`: those its calls may go to, each `provider` (all of its credentials) or `provider/credential`; none: every one there is.
    `strategy`: which provider of one priority is next; None: as the providers file says. `models`: names and patterns (`*`, `?`) that its
    keys may ask for, `excluded_models` those they may not. `fallbacks`: model (or pattern) → models to ask for when everybody who has it
    failed, before those of the providers file. `paused` and `disabled` refuse calls, the first for now, the second until further notice;
    `archived` does as well and is left out of lists.
    """

    name: str
    label: str = ""
    state: PoolState = "active"
    upstreams: tuple[str, ...] = ()
    strategy: Strategy | None = None
    models: tuple[str, ...] = ("*",)
    excluded_models: tuple[str, ...] = ()
    fallbacks: dict[str, tuple[str, ...]] = {}
    created_s: float = 0.0


class KeyLimits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What calls with one key may use; None is no limit of the key's own, 0 is nothing at all.

    Days, weeks (from Monday) and months are those of the calendar, in UTC. `max_concurrency` counts calls under way.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    tokens_per_week: int | None = None
    spend_usd_per_day: float | None = None
    spend_usd_per_month: float | None = None
    max_concurrency: int | None = None


class KeySecret(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One secret of a key. `prefix` is its beginning, safe to show; `digest` its keyed hash; `expires_s` ends it, after a rotation."""

    prefix: str
    digest: bytes
    created_s: float = 0.0
    expires_s: float | None = None


class ClientKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One client. `id` stays through rotations and is what logs, limits and usage know it by.

    `models`: names and patterns it may ask for, within those of its pool; none: nothing. `enforced_model` is asked for whatever the
    call says. `enforced_thinking` and `maximum_thinking` are words as in `model(high)`: none, an effort, a number of tokens; at most one
    of both. Times in unix seconds. `revoked` is for ever.
    """

    id: str
    pool: str
    label: str = ""
    state: KeyState = "active"
    secrets: tuple[KeySecret, ...] = ()
    expires_s: float | None = None
    models: tuple[str, ...] = ("*",)
    enforced_model: str | None = None
    enforced_thinking: str | None = None
    maximum_thinking: str | None = None
    limits: KeyLimits = KeyLimits()
    created_s: float = 0.0
    revoked_s: float | None = None

    @property
    def prefix(self) -> str:
        """Of its newest secret."""
        return self.secrets[-1].prefix if self.secrets else ""


class Document(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is managed through the gateway itself and kept with its revisions.

    `providers`: entries as a providers file has them, in order of preference; in place of a secret stands `{"sealed": …}` (see
    `storage.secrets`). `settings`: `APP_<SECTION>__<NAME>` → value, as the environment would have it.
    """

    providers: tuple[dict[str, Any], ...] = ()
    pools: tuple[Pool, ...] = ()
    settings: dict[str, str] = {}


class Directory(msgspec.Struct, frozen=True, kw_only=True):
    """Everybody who may call: an immutable picture. `pepper` is the key of the keys' digests. `known` False: there may be others."""

    pools: tuple[Pool, ...] = ()
    keys: tuple[ClientKey, ...] = ()
    pepper: bytes = b""
    known: bool = True
