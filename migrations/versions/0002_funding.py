"""The funding that venues charged, and the mark prices that they showed."""

from __future__ import annotations

from alembic import op

from tbv8.store import schema

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create both tables."""
    for table in (schema.funding, schema.mark):
        table.create(op.get_bind())


def downgrade() -> None:
    """Drop both tables, and the ledger's rows of funding."""
    for table in (schema.funding, schema.mark):
        table.drop(op.get_bind())
    op.execute("DELETE FROM history_coverage WHERE dataset = 'funding'")
