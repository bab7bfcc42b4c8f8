"""The first tables."""

from __future__ import annotations

from alembic import op
from sqlalchemy import MetaData

from tbv8.market import parse_timeframe
from tbv8.store import schema

revision = "0001"
down_revision = None

_TABLES = ("history_coverage", "trades", "bbo", "recording_gaps", "ohlcv_1m", "bars_1m")


def upgrade() -> None:
    """Create the ledger, the recorder's tables, and the tables of bars of usual timeframes."""
    tables = [schema.metadata.tables[name] for name in _TABLES]
    schema.metadata.create_all(op.get_bind(), tables)
    for text in schema.USUAL_TIMEFRAMES:
        schema.bars_table(parse_timeframe(text).dataset, MetaData()).create(op.get_bind())


def downgrade() -> None:
    """Drop every table, including all tables of bars."""
    connection = op.get_bind()
    for name in schema.bars_tables(connection):
        op.drop_table(name)
    schema.metadata.drop_all(connection, [schema.metadata.tables[name] for name in _TABLES])
