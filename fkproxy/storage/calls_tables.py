"""The tables of the request log: calls, usage by the hour, and how far each journal file is read. Floor 2.

Indexes are what an insert costs. Measured with SQLite on 200,000 rows of 200 keys, in microseconds of CPU for a row: 4.0 for the row
itself, by time 0.4, by request 0.2, by key 2.7, by model, pool or provider 0.7 each. An index by request costs 6.7 with ids that are
random: those made here begin with the time (see `web.asgi`), so that a new one goes to the index's end. What was no plain 200 is found
by one index that holds only such calls, with all that is asked for beside: it costs the usual call nothing, and whatever the mixture of
filters no row is looked at that does not fit. The index by time knows as much of the usual call as it takes to find one that is ok
among failures. The few calls that were not served by the model they asked for have their own index too.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, SmallInteger, Table, Text, text

from fkproxy.storage.tables import METADATA

__all__ = ["CALL_COLUMNS", "NOT_PLAIN", "calls", "journal_positions", "usage_hourly"]

NOT_PLAIN = "(outcome <> 'ok' OR status <> 200)"
_ASKED_ELSE = "model_requested IS NOT NULL"
"""The conditions of the partial indexes. A statement must hold the words of the first for its index to be used."""

calls = Table(
    "calls",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("request_id", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("route", Text, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("duration_ms", Double, nullable=False),
    Column("dialect", Text),
    Column("stream", Boolean, nullable=False),
    Column("model_id", Text),
    Column("provider_key", Text),
    Column("credential", Text, nullable=False),
    Column("upstream_dialect", Text),
    Column("attempts", Integer, nullable=False),
    Column("waited_ms", Double, nullable=False),
    Column("upstream_status", SmallInteger),
    Column("upstream_ms", Double, nullable=False),
    Column("ttft_ms", Double),
    Column("finish_reason", Text),
    Column("error_code", Text),
    Column("reasoning_requested", Text),
    Column("reasoning_applied", Text),
    Column("key_id", Text),
    Column("request_bytes", BigInteger, nullable=False),
    Column("response_bytes", BigInteger, nullable=False),
    Column("pool", Text),
    Column("key_prefix", Text),
    Column("model_requested", Text),
    Column("started_ms", BigInteger, nullable=False),
    Column("family", Text, nullable=False),
    Column("status_class", SmallInteger, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("ended_by", Text, nullable=False),
    Column("tokens_input", BigInteger),
    Column("tokens_output", BigInteger),
    Column("tokens_cached_input", BigInteger),
    Column("tokens_cache_write", BigInteger),
    Column("tokens_reasoning", BigInteger),
    Column("cost_nanousd", BigInteger),
    Column("detail", Text),
    Index("calls_request", "request_id", "started_ms"),
    Index("calls_time", "started_ms", "status", "outcome"),
    Index("calls_key", "key_id", "started_ms"),
    Index("calls_model", "model_id", "started_ms"),
    Index("calls_pool", "pool", "started_ms"),
    Index("calls_provider", "provider_key", "started_ms"),
    Index(
        "calls_asked_else",
        "model_requested",
        "started_ms",
        sqlite_where=text(_ASKED_ELSE),
        postgresql_where=text(_ASKED_ELSE),
    ),
    Index(
        "calls_not_plain",
        *("started_ms", "status", "outcome", "error_code", "key_id", "pool", "provider_key", "model_id", "model_requested"),
        sqlite_where=text(NOT_PLAIN),
        postgresql_where=text(NOT_PLAIN),
    ),
)
"""One call. Up to `key_prefix` the columns are fields of `CallRecord`; the others are made of them (see `storage.calls_rows`).

`started_ms`: unix milliseconds. `model_requested`: NULL where it is what served. NULL in a count of tokens or in a cost: nobody said. A
cost is in billionths of a dollar, because there are models of which a token costs less than a millionth. `detail`: JSON, see
`storage.calls_values.Detail`; NULL where it would be empty.
"""

CALL_COLUMNS = tuple(column.name for column in calls.columns if column.name != "id")

usage_hourly = Table(
    "usage_hourly",
    METADATA,
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("key_id", Text, primary_key=True),
    Column("pool", Text, primary_key=True),
    Column("provider_key", Text, primary_key=True),
    Column("credential", Text, primary_key=True),
    Column("model_id", Text, primary_key=True),
    Column("calls", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("client_ended", BigInteger, nullable=False),
    Column("tokens_input", BigInteger, nullable=False),
    Column("tokens_output", BigInteger, nullable=False),
    Column("tokens_cached_input", BigInteger, nullable=False),
    Column("tokens_cache_write", BigInteger, nullable=False),
    Column("tokens_reasoning", BigInteger, nullable=False),
    Column("cost_nanousd", BigInteger, nullable=False),
    Column("cost_unknown", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""Sums over the calls that began in one hour: `hour` counts from 1970 in UTC. An empty name: there was none.

`cost_unknown`: calls that used tokens whose price nobody knows.
"""

journal_positions = Table(
    "journal_positions",
    METADATA,
    Column("file", Text, primary_key=True),
    Column("read_bytes", BigInteger, nullable=False),
    Column("updated_s", Double, nullable=False),
)
"""Up to where a journal file is in `calls`. Written in the transaction that writes the rows: so every line comes in once."""
