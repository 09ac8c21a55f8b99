"""The request log and the sums over it. Floor 2."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__ = ["upgrade"]

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Level 2: calls, usage by the hour, positions in journal files."""
    op.create_table(
        "calls",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("request_id", "method", "route")),
        sa.Column("status", sa.SmallInteger, nullable=False),
        sa.Column("duration_ms", sa.Double, nullable=False),
        sa.Column("dialect", sa.Text),
        sa.Column("stream", sa.Boolean, nullable=False),
        *(sa.Column(name, sa.Text) for name in ("model_id", "provider_key")),
        sa.Column("credential", sa.Text, nullable=False),
        sa.Column("upstream_dialect", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("waited_ms", sa.Double, nullable=False),
        sa.Column("upstream_status", sa.SmallInteger),
        sa.Column("upstream_ms", sa.Double, nullable=False),
        sa.Column("ttft_ms", sa.Double),
        *(sa.Column(name, sa.Text) for name in ("finish_reason", "error_code", "reasoning_requested", "reasoning_applied", "key_id")),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("request_bytes", "response_bytes")),
        *(sa.Column(name, sa.Text) for name in ("pool", "key_prefix", "model_requested")),
        sa.Column("started_ms", sa.BigInteger, nullable=False),
        sa.Column("family", sa.Text, nullable=False),
        sa.Column("status_class", sa.SmallInteger, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("outcome", "ended_by")),
        *(sa.Column(f"tokens_{kind}", sa.BigInteger) for kind in _TOKENS),
        sa.Column("cost_nanousd", sa.BigInteger),
        sa.Column("detail", sa.Text),
    )
    _indexes()
    op.create_table(
        "usage_hourly",
        sa.Column("hour", sa.Integer, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("key_id", "pool", "provider_key", "credential", "model_id")),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("calls", "failed", "client_ended")),
        *(sa.Column(f"tokens_{kind}", sa.BigInteger, nullable=False) for kind in _TOKENS),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("cost_nanousd", "cost_unknown")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "journal_positions",
        sa.Column("file", sa.Text, primary_key=True),
        sa.Column("read_bytes", sa.BigInteger, nullable=False),
        sa.Column("updated_s", sa.Double, nullable=False),
    )


def _indexes() -> None:
    op.create_index("calls_request", "calls", ["request_id", "started_ms"])
    op.create_index("calls_time", "calls", ["started_ms", "status", "outcome"])
    for name, column in (("key", "key_id"), ("model", "model_id"), ("pool", "pool"), ("provider", "provider_key")):
        op.create_index(f"calls_{name}", "calls", [column, "started_ms"])
    partial = {
        "calls_asked_else": (["model_requested", "started_ms"], "model_requested IS NOT NULL"),
        "calls_not_plain": (
            ["started_ms", "status", "outcome", "error_code", "key_id", "pool", "provider_key", "model_id", "model_requested"],
            "(outcome <> 'ok' OR status <> 200)",
        ),
    }
    for name, (columns, condition) in partial.items():
        op.create_index(name, "calls", columns, sqlite_where=sa.text(condition), postgresql_where=sa.text(condition))


_TOKENS = ("input", "output", "cached_input", "cache_write", "reasoning")
