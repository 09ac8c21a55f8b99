"""What is managed, who did what. Floor 2."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__ = ["upgrade"]

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Level 1: meta, documents, client keys, audit log."""
    op.create_table(
        "meta",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("schema_level", sa.Integer, nullable=False),
        sa.Column("oldest_reader", sa.Integer, nullable=False),
        sa.Column("written_by", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("pepper", sa.Text, nullable=False),
        sa.Column("audit_rows", sa.BigInteger, nullable=False),
        sa.Column("audit_hash", sa.Text, nullable=False),
        sa.Column("audit_seal", sa.Text, nullable=False),
        sa.CheckConstraint("id = 1", name="meta_is_one_row"),
    )
    op.execute("INSERT INTO meta VALUES (1, 0, 0, '', 0, '', 0, '', '')")
    op.create_table(
        "documents",
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at_s", sa.Double, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    _keys()
    _audit()


def _keys() -> None:
    op.create_table(
        "client_keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("pool", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("client_keys_pool", "client_keys", ["pool"])
    op.create_table(
        "key_secrets",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("key_id", sa.Text, sa.ForeignKey("client_keys.id", ondelete="CASCADE"), nullable=False),
    )
    op.create_index("key_secrets_key", "key_secrets", ["key_id"])
    op.create_table(
        "key_tombstones",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("pool", sa.Text, nullable=False),
        sa.Column("deleted_s", sa.Double, nullable=False),
    )
    op.create_table(
        "key_uses",
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("last_used_s", sa.Double, nullable=False),
    )


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at_s", sa.Double, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
    )
    op.create_index("audit_at", "audit", ["at_s"])
    op.create_index("audit_action", "audit", ["action", "id"])
    op.create_index("audit_target", "audit", ["target", "id"])
    for statement in _APPEND_ONLY[op.get_bind().dialect.name]:
        op.execute(statement)


_APPEND_ONLY = {
    "sqlite": (
        "CREATE TRIGGER audit_keeps_rows BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END",
        "CREATE TRIGGER audit_loses_nothing BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END",
        # INSERT OR REPLACE deletes without asking the trigger for deletes.
        "CREATE TRIGGER audit_replaces_nothing BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id) "
        "BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'audit is append-only'; END $$",
        "CREATE TRIGGER audit_keeps_rows BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()",
    ),
}
"""A sentence in the log cannot be taken back by mistake; that nobody did so on purpose is for the hashes to show."""
