"""Changes of the document: each is judged before it is written. Floor 3."""

from __future__ import annotations

import asyncio
import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import msgspec

from fkproxy.control.ledger import Ledger
from fkproxy.control.refusals import Fault, Invalid
from fkproxy.control.seams import Box, Configuration
from fkproxy.control.secret_fields import is_sealed
from fkproxy.directory import ClientKey, Document
from fkproxy.storage.values import Picture

__all__ = ["SANDBOX", "Documents", "changed_fields", "pool_faults", "upstream_faults"]

SANDBOX = "sandbox"
"""The built-in upstream, which is there when nothing else is."""

_AT_PROVIDER = re.compile(r"\bproviders\[(\d{1,9})\]")
_MAX_CHANGED = 100
_USER_KEYED = frozenset(("headers", "model_mapping", "preview_models", "prices", "fallbacks"))
"""Tables whose names are the user's own: what changed in them is not told by name."""


class Documents:
    """What all verbs over the document share."""

    def __init__(self, ledger: Ledger, configuration: Configuration, box: Callable[[], Box]) -> None:
        self.ledger = ledger
        self.configuration = configuration
        self._box = box

    @property
    def box(self) -> Box:
        """Raises `StoreUnavailable` while there is none."""
        return self._box()

    async def picture(self) -> Picture:
        """What is in the store."""
        return await self.ledger.store().picture()

    async def check(self, after: Document, before: Document | None = None, keys: Mapping[str, ClientKey] | None = None) -> None:
        """Raise `Invalid` with all that is wrong with `after`.

        `before`: what was wrong with that already is passed over. `keys`: those that must have a pool. In a thread: a judge may have to
        read files, and to load what reads them.
        """
        faults = await asyncio.to_thread(self._faults, after)
        if before is not None and faults:
            old = {_by_name(fault, before) for fault in await asyncio.to_thread(self._faults, before)}
            faults = [fault for fault in faults if _by_name(fault, after) not in old]
        faults += [] if keys is None else _homeless(after, keys)
        if faults:
            raise Invalid(faults)

    def _faults(self, document: Document) -> list[Fault]:
        return [*self.configuration.judge(document).problems, *pool_faults(document, self.upstreams(document))]

    def upstreams(self, document: Document) -> frozenset[str]:
        """What a pool may name: providers, and upstreams of them."""
        found = self.configuration.providers(document)
        return frozenset({each.name for each in found} | {upstream for each in found for upstream in each.upstreams} | {SANDBOX})


def _by_name(fault: Fault, document: Document) -> tuple[str, str]:
    """What it is about and says, with the names of providers in place of their positions, which other changes move."""

    def name(found: re.Match[str]) -> str:
        position = int(found[1])
        return f"providers.{document.providers[position].get('name')}" if position < len(document.providers) else found[0]

    return _AT_PROVIDER.sub(name, fault.field), _AT_PROVIDER.sub(name, fault.message)


def pool_faults(document: Document, known: Collection[str]) -> list[Fault]:
    """Upstreams that pools name and nobody has."""
    return [fault for pool in document.pools for fault in upstream_faults(f"pools.{pool.name}.upstreams", pool.upstreams, known)]


def upstream_faults(field: str, names: Collection[str], known: Collection[str]) -> Iterator[Fault]:
    """One for each name that is none of `known`."""
    for position, name in enumerate(names):
        if name not in known:
            near = difflib.get_close_matches(name, list(known), n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known)[:20])}"
            yield Fault(f"{field}[{position}]", "is no upstream", hint)


def _homeless(document: Document, keys: Mapping[str, ClientKey]) -> list[Fault]:
    pools = {pool.name for pool in document.pools}
    lost = sorted({key.pool for key in keys.values() if key.state != "revoked" and key.pool not in pools})
    return [Fault("pools", f"{name} is missing, and has keys that are not revoked", "keep it, or revoke or move its keys") for name in lost]


def changed_fields(before: Any, after: Any) -> tuple[str, ...]:
    """The paths of what differs between two entries or documents, without any value."""
    found = list(dict.fromkeys(_differences(_plain(before), _plain(after), "")))
    return tuple(found if len(found) <= _MAX_CHANGED else [*found[:_MAX_CHANGED], "…"])


def _plain(value: Any) -> Any:
    if isinstance(value, Document):
        return {
            "providers": {str(entry.get("name", "")): entry for entry in value.providers},
            "pools": {pool.name: msgspec.structs.asdict(pool) for pool in value.pools},
            "settings": value.settings,
            "order": [entry.get("name") for entry in value.providers],
        }
    return value


def _differences(before: Any, after: Any, path: str) -> Iterator[str]:
    if before == after:
        return
    name = path.rpartition(".")[2]
    if isinstance(before, dict) and isinstance(after, dict) and name not in _USER_KEYED and not (is_sealed(before) or is_sealed(after)):
        for step in [*before, *(step for step in after if step not in before)]:
            yield from _differences(before.get(step), after.get(step), f"{path}.{step}" if path else str(step))
    elif isinstance(before, list) and isinstance(after, list) and name == "credentials" and len(before) == len(after):
        for position, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _differences(old, new, f"{path}[{position}]")
    else:
        yield path
