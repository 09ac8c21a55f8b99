"""The verbs of the system that `/v0/management` comes from, over ours. Floor 3.

Its scalars are settings of ours that take effect at once; its list of client keys are keys of one pool. `Malformed` says what it says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from fkproxy.control.calls import CallControl
from fkproxy.control.compat import auth_files, configuration, found, quota_of, usage
from fkproxy.control.key_views import KeyView, NewKey
from fkproxy.control.keys import KeyControl, is_prefix
from fkproxy.control.ledger import By, Ledger
from fkproxy.control.pools import NewPool, PoolControl
from fkproxy.control.providers import ProviderControl
from fkproxy.control.refusals import Refused
from fkproxy.control.settings import SettingControl, Value
from fkproxy.control.upstreams import UpstreamControl, UpstreamView
from fkproxy.routing import STRATEGIES
from fkproxy.storage.calls_values import UsageFilter

__all__ = ["POOL", "SCALARS", "CompatControl", "Malformed", "Scalar", "Wished"]

POOL = "default"
"""Where keys of such a list belong; made with the first one."""

_MAX_ROWS = 1000
_MAX_KEYS = 100
"""Whose models are told; each is a question to the store."""

_LEAST_KEY_CHARACTERS = 16


class Malformed(Refused):
    """In that system's words."""

    code = "invalid"


class Wished(msgspec.Struct, frozen=True, kw_only=True):
    """What routing does now, whoever said so: a setting, or the providers file."""

    strategy: str
    switch_project: bool
    switch_preview_model: bool


class Scalar(msgspec.Struct, frozen=True):
    """`setting` of ours. `read` its text as JSON; `write` gives ours for JSON, or raises `Malformed`."""

    setting: str
    read: Callable[[str], Any]
    write: Callable[[Any], Value]


def _is_bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Malformed("invalid body")
    return value


def _is_number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 2**31:
        raise Malformed("invalid body")
    return value


_STRATEGIES: Mapping[str, str] = {
    **{name: name for name in STRATEGIES},
    **dict.fromkeys(("rr", "roundrobin", "round-robin"), "round_robin"),
    **dict.fromkeys(("wrr", "weighted-round-robin", "weightedroundrobin"), "weighted"),
    **dict.fromkeys(("ff", "fillfirst", "fill-first"), "fill_first"),
}
"""Its names and short forms → ours."""


def _strategy(value: Any) -> str:
    if not isinstance(value, str):
        raise Malformed("invalid body")
    known = _STRATEGIES.get(value.strip().lower())
    if known is None:
        raise Malformed("invalid strategy")
    return known


SCALARS: Mapping[str, Scalar] = {
    "debug": Scalar("APP_LOG__LEVEL", lambda text: text == "debug", lambda value: "debug" if _is_bool(value) else "info"),
    "request-retry": Scalar("APP_ROUTING__MAX_ATTEMPTS", lambda text: int(text) - 1, lambda value: int(_is_number(value)) + 1),
    "max-retry-interval": Scalar("APP_ROUTING__MAX_WAIT_SECS", float, _is_number),
    "routing/strategy": Scalar("APP_ROUTING__STRATEGY", str, _strategy),
    "quota-exceeded/switch-project": Scalar("APP_ROUTING__SWITCH_PROJECT", lambda text: text == "true", _is_bool),
    "quota-exceeded/switch-preview-model": Scalar("APP_ROUTING__SWITCH_PREVIEW_MODEL", lambda text: text == "true", _is_bool),
}
"""Path → setting."""

_AS_IT_IS: Mapping[str, str] = {
    "routing/strategy": "strategy",
    "quota-exceeded/switch-project": "switch_project",
    "quota-exceeded/switch-preview-model": "switch_preview_model",
}
"""Path → field of `Wished`: where no setting speaks, something else does."""


class CompatControl:
    """`wished`: see there. `clients`: dialects that are understood. All raise `Refused` and `StoreUnavailable`."""

    def __init__(
        self,
        *,
        settings: SettingControl,
        keys: KeyControl,
        pools: PoolControl,
        providers: ProviderControl,
        upstreams: UpstreamControl,
        calls: CallControl,
        wished: Callable[[], Wished],
        clients: Sequence[str],
        ledger: Ledger,
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._pools = pools
        self._providers = providers
        self._upstreams = upstreams
        self._calls = calls
        self._wished = wished
        self._clients = clients
        self._ledger = ledger

    # --- what is seen

    async def auth_files(self, name: str | None = None) -> list[dict[str, Any]]:
        """One for each upstream, or that of one index, id or file name: none if there is no such."""
        files = auth_files(self._upstreams.all(), await self._providers.all(), self._ledger.now())
        return [file for file in files if name is None or name in (file["auth_index"], file["id"], file["filename"])]

    async def quota(self, name: str | None = None) -> dict[str, Any]:
        """What is left of one credential's quota."""
        return quota_of(self._upstreams.all(), await self._providers.all(), name)

    async def config(self) -> dict[str, Any]:
        """All scalars, the keys' prefixes and the providers."""
        scalars = {path: await self.scalar(path) for path in SCALARS}
        return configuration(await self._providers.all(), scalars, await self.api_keys(), self._clients)

    async def usage(self) -> dict[str, Any]:
        """Sums since the log of calls begins; by key for those with most calls."""
        everything = UsageFilter()
        by_key = await self._calls.usage("key", since_s=0.0, until_s=None, which=everything, limit=_MAX_ROWS)
        by_hour = await self._calls.usage("hour", since_s=0.0, until_s=None, which=everything, limit=2**31)
        models = {}
        for row in by_key.rows[:_MAX_KEYS]:
            name = str(row.group)
            if name:
                which = UsageFilter(key_id=name)
                models[name] = (await self._calls.usage("model", since_s=0.0, until_s=None, which=which, limit=_MAX_ROWS)).rows
        names = {id_: key.prefix for id_, key in by_key.keys.items()}
        return usage(by_key.rows, models, by_hour.rows, names)

    # --- scalars

    async def scalar(self, path: str) -> Any:
        """What is in force. Raises `KeyError` for a path that is none of `SCALARS`."""
        known = SCALARS[path]
        if path in _AS_IT_IS:
            return getattr(self._wished(), _AS_IT_IS[path])
        return known.read((await self._settings.get(known.setting)).value)

    async def set_scalar(self, path: str, body: Any, *, by: By) -> None:
        """`{"value": …}`. Kept as a managed setting, and in force at once."""
        known = SCALARS[path]
        if not isinstance(body, Mapping) or "value" not in body:
            raise Malformed("invalid body")
        await self._settings.change({known.setting: known.write(body["value"])}, by=by)

    # --- one credential

    async def set_disabled(self, body: Any, *, by: By) -> bool:
        """`{"name", "disabled"}`: pause or resume its upstream."""
        if not isinstance(body, Mapping) or not isinstance(body.get("disabled"), bool):
            raise Malformed("invalid body")
        disabled: bool = body["disabled"]
        action = "upstream.pause" if disabled else "upstream.resume"
        key = (await self._found(body.get("auth_index") or body.get("name"), action, by)).key
        (self._upstreams.pause if disabled else self._upstreams.resume)(key)
        await self._ledger.note(by, action, "upstream", key)
        return disabled

    async def reset_quota(self, body: Any, *, by: By) -> dict[str, Any]:
        """`{"auth_index"}`: end its cooldowns."""
        view = await self._found(body.get("auth_index") if isinstance(body, Mapping) else None, "upstream.reset", by)
        self._upstreams.reset(view.key)
        await self._ledger.note(by, "upstream.reset", "upstream", view.key)
        return {"status": "ok", "auth_index": body["auth_index"], "models": [model.model_id for model in view.models]}

    async def _found(self, name: Any, action: str, by: By) -> UpstreamView:
        if not isinstance(name, str) or not name:
            raise Malformed("invalid body")
        async with self._ledger.refusals(by, action, "upstream"):
            return found(self._upstreams.all(), await self._providers.all(), name)

    # --- client keys

    async def api_keys(self) -> list[str]:
        """Prefixes of the keys that are not revoked: keys themselves are never shown."""
        return [view.prefix for view in await self._living()]

    async def put_api_keys(self, body: Any, *, by: By) -> None:
        """A list, or `{"items": […]}`: prefixes stand for keys there are, anything else is a new key, and those not in it are revoked.

        Nothing is done where one of the new ones cannot be let in.
        """
        items = body.get("items") if isinstance(body, Mapping) else body
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items) or (isinstance(body, Mapping) and not items):
            raise Malformed("invalid body")
        for item in items:
            _acceptable(item)
        found = await self._keys.ids_presented(items)
        new = [_no_prefix(item) for item in dict.fromkeys(items) if item not in found]
        await self._keys.check_adoption(new, by=by)
        kept = {*found.values(), *await self._adopt(new, by)}
        for view in await self._living():
            if view.id not in kept:
                await self._keys.revoke(view.id, by=by)

    async def patch_api_keys(self, body: Any, *, by: By) -> None:
        """`{"index", "value"}` or `{"old", "new"}`: the old one is revoked, the new one is let in."""
        if not isinstance(body, Mapping):
            raise Malformed("invalid body")
        new = body.get("value") if "index" in body else body.get("new")
        if not isinstance(new, str):
            raise Malformed("invalid body")
        _acceptable(new)
        old = await self._indexed(body["index"]) if "index" in body else await self._named(body.get("old"))
        view = await self._keys.presented(new)
        (kept,) = await self._adopt([_no_prefix(new)], by) if view is None else [view.id]
        if old is not None and old.id != kept:
            await self._keys.revoke(old.id, by=by)

    async def delete_api_key(self, *, index: int | None = None, value: str | None = None, by: By) -> None:
        """Revoke one, by its place in the list, its prefix or all of it."""
        view = await self._indexed(index) if index is not None else await self._named(value)
        if view is None:
            raise Malformed("missing index or value" if index is None and not value else "item not found")
        await self._keys.revoke(view.id, by=by)

    async def _living(self) -> list[KeyView]:
        return [view for view in await self._keys.all() if view.state != "revoked"]

    async def _indexed(self, index: Any) -> KeyView:
        living = await self._living()
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(living):
            raise Malformed("item not found")
        return living[index]

    async def _named(self, value: Any) -> KeyView | None:
        return await self._keys.presented(value) if isinstance(value, str) and value else None

    async def _adopt(self, raws: Sequence[str], by: By) -> list[str]:
        """The ids of these keys, which are let in from now on."""
        if raws and all(pool.name != POOL for pool in await self._pools.all()):
            await self._pools.create(NewPool(name=POOL), by=by)
        return [(await self._keys.adopt(raw, NewKey(pool=POOL, label="brought from another system"), by=by)).id for raw in raws]


def _acceptable(raw: str) -> None:
    """A key has to be hard to guess, and to travel in a header; a prefix stands for a key."""
    if not re.fullmatch(rf"[!-~]{{{_LEAST_KEY_CHARACTERS},512}}", raw):
        raise Malformed(f"a key has {_LEAST_KEY_CHARACTERS} or more printable characters, and no spaces")


def _no_prefix(raw: str) -> str:
    """A new key."""
    if is_prefix(raw):
        raise Malformed("this is the prefix of a key that is not there, and no key")
    return raw
