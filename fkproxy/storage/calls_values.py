"""What the request log takes and gives. Floor 2. Values only: nothing here loads a database library."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

import msgspec

from fkproxy.telemetry.record import Attempt, Skipped
from fkproxy.telemetry.tally import Outcome

__all__ = [
    "Begins",
    "CallFilter",
    "CallPage",
    "CallRow",
    "Cursor",
    "Detail",
    "EndedBy",
    "ExportFormat",
    "Family",
    "GroupBy",
    "Outcome",
    "Removed",
    "Retention",
    "Spent",
    "UsageFilter",
    "UsageRow",
]

_CURSOR = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")
_LARGEST = 2**63 - 1
"""Of a database's numbers."""

Family = Literal["chat", "responses", "messages", "generate", "completions", "embeddings", "count", "other"]
"""What kind of route a call came by."""
EndedBy = Literal["client", "upstream", "gateway"]
"""Who brought a call to its end: who hung up first, said the last word, or refused."""
ExportFormat = Literal["csv", "jsonl"]
GroupBy = Literal["pool", "key", "provider", "model", "hour", "day"]


class Detail(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a call went where it went. `tries` is left out where the only one served: the row says all of it."""

    tries: tuple[Attempt, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()


class CallRow(msgspec.Struct, frozen=True, kw_only=True):
    """One call in the log. Fields that `CallRecord` has mean the same here; `started_ms` are unix milliseconds.

    `id` is the row's own. None in a count of tokens or in the cost: nobody said.
    """

    id: int
    request_id: str
    started_ms: int
    family: Family
    route: str
    method: str
    dialect: str | None
    upstream_dialect: str | None
    stream: bool
    status: int
    status_class: int
    outcome: Outcome
    ended_by: EndedBy
    error_code: str | None
    finish_reason: str | None
    pool: str | None
    key_id: str | None
    key_prefix: str | None
    provider_key: str | None
    credential: str
    model_requested: str | None
    model_id: str | None
    attempts: int
    upstream_status: int | None
    duration_ms: float
    upstream_ms: float
    waited_ms: float
    ttft_ms: float | None
    tokens_input: int | None
    tokens_output: int | None
    tokens_cached_input: int | None
    tokens_cache_write: int | None
    tokens_reasoning: int | None
    cost_usd: float | None
    request_bytes: int
    response_bytes: int
    reasoning_requested: str | None
    reasoning_applied: str | None
    detail: Detail = Detail()


class Cursor(NamedTuple):
    """Where a page ended: that row's time and id."""

    started_ms: int
    id: int

    def __str__(self) -> str:
        return f"{self.started_ms}-{self.id}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """The reverse of `str`. Raises ValueError."""
        if not _CURSOR.fullmatch(text):
            raise ValueError("a cursor as a page gave it was expected")
        started, _, number = text.partition("-")
        return cls(min(int(started), _LARGEST), min(int(number), _LARGEST))


class CallFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls. What is None does not matter; times are unix seconds, `since_s` is in and `until_s` is not.

    `model` is what was asked for or what served. `failures`: everything whose outcome is not ok.
    """

    request_id: str | None = None
    since_s: float | None = None
    until_s: float | None = None
    key_id: str | None = None
    pool: str | None = None
    provider_key: str | None = None
    credential: str | None = None
    model: str | None = None
    status: int | None = None
    status_class: int | None = None
    outcome: Outcome | None = None
    error_code: str | None = None
    family: Family | None = None
    ended_by: EndedBy | None = None
    failures: bool = False


class CallPage(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first. `next` is where the following page begins; None on the last one."""

    rows: tuple[CallRow, ...]
    next: str | None = None


class UsageFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Whose usage; what is None does not matter."""

    pool: str | None = None
    key_id: str | None = None
    provider_key: str | None = None
    model_id: str | None = None


class UsageRow(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over calls. `group`: the pool's, key's, provider's or model's name ("": none), or when the hour or day began, unix seconds.

    `cost_usd` is the sum of the costs that are known; `cost_unknown` calls used tokens whose price nobody knows.
    """

    group: str | int
    calls: int
    failed: int
    client_ended: int
    tokens_input: int
    tokens_output: int
    tokens_cached_input: int
    tokens_cache_write: int
    tokens_reasoning: int
    cost_usd: float
    cost_unknown: int


class Begins(msgspec.Struct, frozen=True):
    """When the windows of budgets began, unix seconds: whole hours, as what was used is summed up by them."""

    day_s: float
    week_s: float
    month_s: float


class Spent(NamedTuple):
    """What one key has used of its budgets."""

    tokens_day: int
    tokens_week: int
    cost_day_usd: float
    cost_month_usd: float


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept: calls for so many days and at most so many of them, the sums over them for longer. None: without end."""

    days: float | None = 30.0
    max_rows: int | None = 2_000_000
    usage_days: float | None = 400.0


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows a retention took away."""

    calls: int
    usage: int
