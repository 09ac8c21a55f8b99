"""Why a verb was not done. Floor 3.

    Refused
    ├ Invalid(faults)        what was given cannot be used, field by field
    ├ Unknown(kind, near)    there is nothing of that name
    └ Forbidden(reason)      not in the state it is in, or not from here

`storage.values` has the others: `Conflict` (somebody changed it first) and `StoreUnavailable`. Messages say what was expected and never
quote what may be a secret.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import msgspec

__all__ = ["MAX_TOLD", "Fault", "Forbidden", "Invalid", "Refused", "Unknown"]


MAX_TOLD = 100
"""Faults that anybody reads."""


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with one field, by its path (`limits.tokens_per_day`, `providers[0].base_url`), and what to do about it."""

    field: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.field} {self.message}{'; ' + self.hint if self.hint else ''}"


class Refused(Exception):
    """Nothing was changed. `code` is safe for logs and the audit log."""

    code = "refused"


class Invalid(Refused):
    """`faults` holds everything that is wrong."""

    code = "invalid"

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(map(str, faults[:MAX_TOLD])))
        self.faults = tuple(faults)


class Unknown(Refused):
    """There is no such `kind` of thing ("key", "pool", …). `near`: names that it may have been meant for."""

    code = "not_found"

    def __init__(self, kind: str, name: str = "", known: Iterable[str] = ()) -> None:
        self.kind = kind
        self.near = tuple(difflib.get_close_matches(name, list(known), n=3))
        hint = f"; did you mean {' or '.join(self.near)}?" if self.near else ""
        super().__init__(f"there is no such {kind}{hint}")


class Forbidden(Refused):
    """`reason` is a word for programs, the message a sentence for people."""

    code = "forbidden"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
