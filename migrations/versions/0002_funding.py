"""The funding that venues charged, and the mark prices that they showed."""

from __future__ import annotations

from alembic import op

from tbv8.store import schema

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make both tables."""
    for table in (schema.funding, schema.mark):
        table.create(op.get_bind())


def downgrade() -> None:
    """Drop both, and what the ledger tells of the first."""
    for table in (schema.funding, schema.mark):
        table.drop(op.get_bind())
    op.execute("DELETE FROM history_coverage WHERE dataset = 'funding'")
