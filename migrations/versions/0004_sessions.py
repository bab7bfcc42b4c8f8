"""The journal of paper sessions."""

from __future__ import annotations

from alembic import op

from tbv8.store.schema import SESSION_TABLES

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the tables, if they are missing."""
    for table in SESSION_TABLES:
        table.create(op.get_bind(), checkfirst=True)


def downgrade() -> None:
    """Drop the tables, and every session with them."""
    for table in SESSION_TABLES:
        table.drop(op.get_bind())
