"""Trials of experiments, and what each experiment is made of."""

from __future__ import annotations

from alembic import op

from tbv8.store import schema

revision = "0003"
down_revision = "0002"

_TABLES = (schema.trials, schema.trial_details, schema.experiment_trials)


def upgrade() -> None:
    """Make the three tables; a new database has them from the first revision on."""
    for table in _TABLES:
        table.create(op.get_bind(), checkfirst=True)


def downgrade() -> None:
    """Drop them."""
    for table in reversed(_TABLES):
        table.drop(op.get_bind(), checkfirst=True)
