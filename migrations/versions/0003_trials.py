"""The trials of experiments, and the list of each experiment's trials."""

from __future__ import annotations

from alembic import op

from tbv8.store import schema

revision = "0003"
down_revision = "0002"

_TABLES = (schema.trials, schema.trial_details, schema.experiment_trials)


def upgrade() -> None:
    """Create the three tables, if they are missing."""
    for table in _TABLES:
        table.create(op.get_bind(), checkfirst=True)


def downgrade() -> None:
    """Drop the three tables."""
    for table in reversed(_TABLES):
        table.drop(op.get_bind(), checkfirst=True)
