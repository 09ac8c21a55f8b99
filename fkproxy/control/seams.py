"""What the verbs stand on, as far as they use it: the store, the box of secrets, the configuration beside the store. Floor 3.

The verbs know neither the database nor the schema of the configuration: the first must not be loaded to start, the second lies above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol, Unpack

import msgspec

from fkproxy.control.refusals import Fault
from fkproxy.directory import ClientKey, Document
from fkproxy.storage.values import AuditEntry, AuditQuery, AuditRow, AuditVerdict, Picture, RevisionInfo, Tombstone

__all__ = ["Box", "Change", "Configuration", "NamedProvider", "SettingView", "Source", "Store", "Verdict"]

Source = Literal["default", "environment", "file", "managed", "profile"]
"""Where something is said. `profile`: by nobody, but as a default of the profile that was chosen; only settings have that."""


class Change(Protocol):
    """One transaction: what is put here is written with its audit entry, or not at all."""

    changed: tuple[str, ...]
    target: str

    @property
    def revision(self) -> int: ...
    @property
    def document(self) -> Document: ...
    @property
    def keys(self) -> Mapping[str, ClientKey]: ...

    def put_document(self, document: Document, summary: str) -> None: ...
    def put_key(self, key: ClientKey) -> None: ...
    def delete_key(self, key_id: str, /) -> None: ...


class Store(Protocol):
    """See `storage.store`."""

    async def picture(self) -> Picture: ...
    def change(self, entry: AuditEntry, *, based_on: int | None = None) -> AbstractAsyncContextManager[Change]: ...
    async def revisions(self, *, limit: int = 50, before: int | None = None) -> list[RevisionInfo]: ...
    async def document(self, revision: int) -> Document | None: ...
    async def record(self, entries: Sequence[AuditEntry]) -> None: ...
    async def audit(self, **asked: Unpack[AuditQuery]) -> list[AuditRow]: ...
    async def verify_audit(self) -> AuditVerdict: ...
    async def key_uses(self) -> Mapping[str, float]: ...
    async def tombstones(self) -> Mapping[str, Tombstone]: ...


class Box(Protocol):
    """See `storage.secrets`. `open` raises `SecretLost`."""

    def seal(self, value: str) -> dict[str, Any]: ...
    def open(self, sealed: Mapping[str, Any]) -> str: ...
    def fingerprint(self, value: str) -> str: ...


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Of a whole document: `problems` keep it from being taken, `warnings` do not."""

    problems: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()


class NamedProvider(msgspec.Struct, frozen=True, kw_only=True):
    """A provider in force and who named it. `entry` as a providers file has it, secrets masked; `upstreams` as pools name them."""

    name: str
    source: Source
    disabled: bool
    upstreams: tuple[str, ...]
    entry: dict[str, Any]


class SettingView(msgspec.Struct, frozen=True, kw_only=True):
    """One setting: what is in force and where it comes from; texts as the environment would have them, "-" for none.

    `source_detail` names the variable and its file. `managed`: what is kept for it although the environment says something else, which
    wins. `limits` and `choices` say what it may be, `live` that it may be managed.
    """

    name: str
    section: str
    value: str
    default: str
    source: Source
    source_detail: str
    managed: str | None
    unit: str | None
    limits: str
    choices: tuple[str, ...]
    help: str
    live: bool


class Configuration(Protocol):
    """The settings and providers that were declared outside of the store, and what a document would make of them."""

    @property
    def provider_fields(self) -> frozenset[str]:
        """That an entry may have."""

    def judge(self, document: Document) -> Verdict:
        """Everything that is wrong with a document, the declared ones considered."""

    def providers(self, document: Document) -> list[NamedProvider]:
        """All that would be in force, in order of preference."""

    def settings(self, document: Document) -> list[SettingView]:
        """All of them, in the order of the schema."""
