"""What the store takes and gives, and how it fails. Floor 2. Values only: nothing here loads a database library.

Rows are kept for years and read by older and newer programs: a field is only ever added, with a default.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypedDict

import msgspec

from fkproxy.directory import ClientKey, Document

__all__ = [
    "ACTIONS",
    "Actor",
    "ActorKind",
    "AuditEntry",
    "AuditQuery",
    "AuditRow",
    "AuditVerdict",
    "BackupFailed",
    "Conflict",
    "Opened",
    "Outcome",
    "Picture",
    "Reason",
    "RevisionInfo",
    "SecretLost",
    "StoreError",
    "StoreUnavailable",
    "Tombstone",
]

ActorKind = Literal["administrator", "local", "client_key", "system"]
Outcome = Literal["done", "refused", "failed"]
Reason = Literal["locked", "full", "read_only", "gone", "unreachable", "timeout", "too_new", "broken"]

_VERBS: dict[str, tuple[str, ...]] = {
    "admin": ("login", "logout", "refuse", "slow_down"),
    "audit": ("export", "prune", "verify"),
    "config": ("clear", "export", "export_secrets", "restore", "roll_back"),
    "key": ("create", "delete", "pause", "resume", "revoke", "rotate", "update"),
    "log": ("export", "search"),
    "pool": ("archive", "create", "delete", "disable", "pause", "resume", "update"),
    "provider": ("create", "delete", "reload", "reorder", "test", "update"),
    "secret": ("make", "rotate"),
    "settings": ("clear", "update"),
    "store": ("backup", "create", "migrate"),
    "upstream": ("pause", "reset", "resume", "test"),
}

ACTIONS: frozenset[str] = frozenset(f"{family}.{verb}" for family, verbs in _VERBS.items() for verb in verbs)
"""Everything that the audit log can say happened. An older program may read actions of a newer one; it only writes these."""


class StoreError(Exception):
    """The store did not do what it was asked. Messages hold no value of a row, no secret and no password."""


class StoreUnavailable(StoreError):
    """The store cannot be used now; nothing was changed.

    `reason`: `locked` (somebody else writes for too long), `full`, `read_only`, `gone` (its file), `unreachable` (its server),
    `timeout`, `too_new` (written by a program that this one cannot follow), `broken` (everything else; `code` is the database's own).
    """

    def __init__(self, reason: Reason, message: str, code: str = "") -> None:
        super().__init__(f"{message} ({code})" if code else message)
        self.reason: Reason = reason
        self.code = code


class Conflict(StoreError):
    """Somebody else changed it first. Revisions of the document, or None twice: a row like this one is there already."""

    def __init__(self, expected: int | None = None, actual: int | None = None) -> None:
        same = expected is None and actual is None
        super().__init__(
            "a row with this name or secret is there already" if same else f"based on revision {expected}, the newest is {actual}"
        )
        self.expected = expected
        self.actual = actual


class SecretLost(StoreError):
    """A sealed value cannot be opened: the key of that version is missing, or is another one."""

    def __init__(self, version: int, message: str) -> None:
        super().__init__(message)
        self.version = version


class BackupFailed(StoreError):
    """The copy was not made; whatever was begun of it is gone again."""


class Actor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who did it. `name` is masked (a key's id, never the key), `peer` is the network it came from: IPv4/24 or IPv6/48."""

    kind: ActorKind
    name: str = ""
    peer: str | None = None


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that was done, or tried. `action` is one of ACTIONS, `changed` names of fields and never values, `note` a safe label.

    `at_s`: unix seconds; 0: the store puts the time when it is written.
    """

    actor: Actor
    action: str
    target_kind: str = ""
    target: str = ""
    outcome: Outcome = "done"
    request_id: str | None = None
    changed: tuple[str, ...] = ()
    note: str = ""
    at_s: float = 0.0


class AuditRow(AuditEntry, frozen=True, kw_only=True, omit_defaults=False):
    """An entry as it stands in the log: the first has id 1, and no number is ever left out. `hash` seals it and all before it."""

    id: int
    hash: str


class AuditQuery(TypedDict, total=False):
    """What of the log is asked for. `action`: one of ACTIONS, or a family of them (`key`). `until_s` is not included."""

    limit: int
    before_id: int | None
    action: str | None
    outcome: str | None
    target: str | None
    since_s: float | None
    until_s: float | None


class AuditVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """`rows` that were looked at, behind `pruned` that were taken away in time. `first_bad_id`: the first that was changed, moved or is
    missing; None when all is well."""

    ok: bool
    rows: int
    first_bad_id: int | None = None
    pruned: int = 0


class RevisionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One revision of the document: when it was written and by whom. `summary` is a safe label."""

    revision: int
    at_s: float
    actor: Actor
    summary: str = ""


class Tombstone(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of a deleted key, so that its usage has a name."""

    id: str
    label: str
    prefix: str
    pool: str
    deleted_s: float


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """What opening a store did. `migrated_from`: the level before, 0 for a new one; None: nothing to do. `backup`: the name of the copy
    made before. `key_file_made`: a key for secrets was made there; it must be kept, and be part of backups."""

    migrated_from: int | None = None
    backup: str | None = None
    key_file_made: Path | None = None


class Picture(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that a worker needs, read at one moment.

    `revision` counts every change of documents and keys; `document_revision` is that of the document (0: there was never one), which a
    change may be based on. `pepper` is sealed, as in a document.
    """

    revision: int
    document: Document
    keys: tuple[ClientKey, ...] = ()
    pepper: dict[str, Any] = {}
    document_revision: int = 0
