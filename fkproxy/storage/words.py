"""Stored JSON, read by a program that may be older than the one that wrote it. Floor 2. Pure, but for the log.

A newer program may use words that this one does not have: for the state of a pool or of a key, for a strategy. One of them must not make
everything unreadable, for a rollback is a promise. Each is read as what is safe: a pool or a key that is not served, the usual strategy.
What is written is checked where it comes in.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, get_args

import msgspec

from fkproxy.directory import ClientKey, Document, KeyState, PoolState
from fkproxy.routing import STRATEGIES
from fkproxy.storage.values import Actor, Picture

__all__ = ["actor_of", "document_of", "fields_of", "key_of", "picture_of"]

logger = logging.getLogger("fkproxy.storage")

T = TypeVar("T", bound=msgspec.Struct)
_Words = Mapping[str, tuple[tuple[str, ...], str | None]]

_POOL: _Words = {"state": (get_args(PoolState), "disabled"), "strategy": (STRATEGIES, None)}
_KEY: _Words = {"state": (get_args(KeyState), "paused")}
"""Field → the words that this program has, and what stands for another one; None: as if nothing were said."""


def document_of(text: str) -> Document:
    """Raises `msgspec.DecodeError`."""
    return _read(text, Document, _pools)


def key_of(text: str) -> ClientKey:
    """Raises `msgspec.DecodeError`."""
    return _read(text, ClientKey, lambda found: _mend(found, "client key", "id", _KEY))


def picture_of(text: bytes) -> Picture:
    """Raises `msgspec.DecodeError`."""

    def mend(found: Any) -> None:
        _pools(found.get("document"))
        for key in _tables(found, "keys"):
            _mend(key, "client key", "id", _KEY)

    return _read(text, Picture, mend)


def actor_of(text: str) -> Actor:
    """A kind of a newer program is shown as it is. Raises `msgspec.DecodeError`."""
    return Actor(**fields_of(msgspec.json.decode(text, type=dict[str, Any]), Actor))


def fields_of(found: Mapping[str, Any], kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Those that `kind` has, as they are."""
    return {name: value for name, value in found.items() if name in kind.__struct_fields__}


def _read(text: str | bytes, kind: type[T], mend: Callable[[Any], None]) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError:
        found = msgspec.json.decode(text)
        if not isinstance(found, dict):
            raise
        mend(found)
        return msgspec.json.decode(msgspec.json.encode(found), type=kind)


def _pools(document: Any) -> None:
    for pool in _tables(document, "pools"):
        _mend(pool, "pool", "name", _POOL)


def _tables(found: Any, name: str) -> Iterator[dict[str, Any]]:
    inner = found.get(name) if isinstance(found, dict) else None
    return (each for each in inner if isinstance(each, dict)) if isinstance(inner, list) else iter(())


def _mend(table: dict[str, Any], what: str, naming: str, fields: _Words) -> None:
    for field, (known, instead) in fields.items():
        word = table.get(field)
        if not isinstance(word, str) or word in known:
            continue
        if instead is None:
            del table[field]
        else:
            table[field] = instead
        told = f"its {field} is a word of another version, and is read as {instead or 'not set'}"
        logger.warning("%s %s: %s", what, table.get(naming), told)
