"""The native market of each series, so that the rows of two markets never mix."""

from __future__ import annotations

from alembic import op

from tbv8.store.schema import native_markets

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the table, if it is missing."""
    native_markets.create(op.get_bind(), checkfirst=True)


def downgrade() -> None:
    """Drop the table."""
    native_markets.drop(op.get_bind())
