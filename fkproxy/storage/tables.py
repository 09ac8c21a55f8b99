"""The tables, as statements name them. Floor 2. What makes them is in `migrations/`; a test holds the two together.

`LEVEL` is the schema this program knows, `OLDEST_READER` the lowest level of a program that can still use it. A migration adds a table
or a column with a default, raises LEVEL by one, and leaves OLDEST_READER alone: an older program finds everything it knows. It may only
be raised by a release whose predecessor already did without what is changed or taken away.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Double, ForeignKey, Index, Integer, LargeBinary, MetaData, Table, Text

__all__ = ["LEVEL", "METADATA", "OLDEST_READER", "audit", "client_keys", "documents", "key_secrets", "key_tombstones", "key_uses", "meta"]

LEVEL = 2
OLDEST_READER = 1

METADATA = MetaData()

meta = Table(
    "meta",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("schema_level", Integer, nullable=False),
    Column("oldest_reader", Integer, nullable=False),
    Column("written_by", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("pepper", Text, nullable=False),
    Column("audit_rows", BigInteger, nullable=False),
    Column("audit_hash", Text, nullable=False),
    Column("audit_seal", Text, nullable=False),
    CheckConstraint("id = 1", name="meta_is_one_row"),
)
"""One row. `pepper`: sealed, as JSON; empty until a store was opened with keys. `audit_*`: see `storage.audit`."""

documents = Table(
    "documents",
    METADATA,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("at_s", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("body", Text, nullable=False),
)
"""`actor` and `body` are JSON. Revisions count from 1."""

client_keys = Table(
    "client_keys",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("pool", Text, nullable=False),
    Column("body", Text, nullable=False),
    Index("client_keys_pool", "pool"),
)
"""`body` is JSON and the truth; `state` and `pool` repeat it."""

key_secrets = Table(
    "key_secrets",
    METADATA,
    Column("digest", LargeBinary, primary_key=True),
    Column("key_id", Text, ForeignKey("client_keys.id", ondelete="CASCADE"), nullable=False),
    Index("key_secrets_key", "key_id"),
)
"""A secret belongs to one key only."""

key_tombstones = Table(
    "key_tombstones",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("label", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("pool", Text, nullable=False),
    Column("deleted_s", Double, nullable=False),
)

key_uses = Table(
    "key_uses",
    METADATA,
    Column("key_id", Text, primary_key=True),
    Column("last_used_s", Double, nullable=False),
)

audit = Table(
    "audit",
    METADATA,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("at_s", Double, nullable=False),
    Column("action", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Index("audit_at", "at_s"),
    Index("audit_action", "action", "id"),
    Index("audit_target", "target", "id"),
)
"""`body` is JSON and the truth, and what `hash` is made of; the other columns repeat it for searching."""
