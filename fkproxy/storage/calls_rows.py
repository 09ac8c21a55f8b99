"""Journal lines → rows of `calls`, and what they add to `usage_hourly`. Floor 2. Pure; a few microseconds for a line.

A row that comes out of here is one that a database takes: numbers within its bounds, no NUL in a text.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable

import msgspec

from fkproxy.model.errors import (
    FallbackExhausted,
    UpstreamFailed,
    UpstreamModelMissing,
    UpstreamOverloaded,
    UpstreamProtocolError,
    UpstreamQuotaExhausted,
    UpstreamRateLimited,
    UpstreamRefusedCredential,
    UpstreamRejected,
    UpstreamUnavailable,
)
from fkproxy.model.usage import Usage
from fkproxy.storage.calls_tables import CALL_COLUMNS
from fkproxy.storage.calls_values import Detail, EndedBy, Family
from fkproxy.telemetry.entry import Entry, decode_entry
from fkproxy.telemetry.tally import outcome_of

__all__ = ["HOUR_MS", "NANO", "Batch", "Row", "ended_by", "family_of", "row_of"]

Row = tuple[object, ...]
"""In the order of `CALL_COLUMNS`."""

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""The escape, not a backslash that is one itself and has these letters behind it."""

NANO = 1_000_000_000
HOUR_MS = 3_600_000

_FAMILIES: tuple[tuple[str, Family], ...] = (
    ("/chat/completions", "chat"),
    ("/responses", "responses"),
    ("/messages", "messages"),
    ("/completions", "completions"),
    ("/models/{target}", "generate"),
    (":rawPredict", "messages"),
    (":streamRawPredict", "messages"),
)
"""How a route's template ends → family, for chats. What stands in front of it is a version, or another vendor's way there."""
_FAMILIES_OF_OPERATIONS: dict[str, Family] = {"count_tokens": "count", "embeddings": "embeddings"}

_UPSTREAM_SAID_NO = frozenset(
    error.code
    for error in (
        FallbackExhausted,
        UpstreamFailed,
        UpstreamModelMissing,
        UpstreamOverloaded,
        UpstreamProtocolError,
        UpstreamQuotaExhausted,
        UpstreamRateLimited,
        UpstreamRefusedCredential,
        UpstreamRejected,
        UpstreamUnavailable,
    )
)
"""Errors by which an upstream ended a call. One that is too slow is not among them: the gateway does not wait any longer."""

_DIRECT = CALL_COLUMNS[: CALL_COLUMNS.index("key_prefix") + 1]
_direct_of = operator.attrgetter(*_DIRECT)
_NOTHING_SAID = (None, None, None, None, None)
_MOST_USD = 1e9
_encode = msgspec.json.Encoder().encode


def family_of(route: str, operation: str) -> Family:
    """The kind of route; "other" for one that this program does not have."""
    if operation in _FAMILIES_OF_OPERATIONS:
        return _FAMILIES_OF_OPERATIONS[operation]
    return next((family for ending, family in _FAMILIES if route.endswith(ending)), "other")


def ended_by(entry: Entry) -> EndedBy:
    """Who brought the call to its end."""
    if entry.client_ended or entry.status == 499:
        return "client"
    if entry.error_code is None:
        return "upstream" if entry.provider_key is not None else "gateway"
    return "upstream" if entry.error_code in _UPSTREAM_SAID_NO else "gateway"


def row_of(entry: Entry) -> Row:
    """The row of one call."""
    usage, cost = entry.usage, entry.cost_usd
    return (
        *_direct_of(entry),
        entry.model_requested if entry.model_requested != entry.model_id else None,
        int(entry.started_s * 1000),
        family_of(entry.route, entry.operation),
        entry.status // 100,
        outcome_of(entry),
        ended_by(entry),
        *(_NOTHING_SAID if usage is None else _tokens(usage)),
        round(cost * NANO) if cost is not None and 0 <= cost < _MOST_USD else None,
        _detail(entry),
    )


def _tokens(usage: Usage) -> tuple[int | None, ...]:
    """By kind; none at all where an upstream counted what nobody can have used."""
    counts = (
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
    )
    return counts if usage.credible else _NOTHING_SAID


def _detail(entry: Entry) -> str | None:
    tries = entry.tries
    if len(tries) == 1 and tries[0].outcome == "ok":
        tries = ()
    if not (tries or entry.skipped or entry.notes or entry.losses):
        return None
    return _encode(Detail(tries=tries, skipped=entry.skipped, notes=entry.notes, losses=entry.losses)).decode()


_STARTED, _OUTCOME, _COST = (CALL_COLUMNS.index(name) for name in ("started_ms", "outcome", "cost_nanousd"))
_INPUT = CALL_COLUMNS.index("tokens_input")
_key_of = operator.itemgetter(*(CALL_COLUMNS.index(name) for name in ("key_id", "pool", "provider_key", "credential", "model_id")))


class Batch:
    """Rows that go into the store together. `undecodable`: lines that were none."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.undecodable = 0
        self._sums: dict[tuple[object, ...], list[int]] = {}

    def add(self, lines: Iterable[bytes]) -> None:
        """Lines without their ends."""
        for line in lines:
            try:
                # PostgreSQL has no text with a NUL in it, and nothing that we write has.
                if line.find(b"\\u0000") >= 0 and _NUL.search(line) is not None:
                    raise ValueError
                row = row_of(decode_entry(line))
            except ValueError:
                self.undecodable += 1
                continue
            self.rows.append(row)
            self._sum(row)

    def _sum(self, row: Row) -> None:
        started, outcome, cost = row[_STARTED], row[_OUTCOME], row[_COST]
        key = (started // HOUR_MS, *_key_of(row))  # type: ignore[operator]  # a row's types are its columns'
        sums = self._sums.get(key)
        if sums is None:
            sums = self._sums[key] = [0] * 10
        sums[0] += 1
        if outcome == "failed":
            sums[1] += 1
        elif outcome == "client_ended":
            sums[2] += 1
        if cost is not None:
            sums[8] += cost  # type: ignore[operator]  # the same
        tokens = row[_INPUT : _INPUT + 5]
        if tokens == _NOTHING_SAID:
            return
        for place, count in enumerate(tokens, 3):
            if count:
                sums[place] += count  # type: ignore[operator]  # the same
        if cost is None:
            sums[9] += 1

    def usage(self) -> list[Row]:
        """What the rows add to `usage_hourly`, in the order of its columns and of its key: two who write never wait for each other."""
        return sorted((hour, *[name or "" for name in names], *sums) for (hour, *names), sums in self._sums.items())
