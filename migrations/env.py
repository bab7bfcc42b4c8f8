"""Alembic's entry point: all revisions in one transaction, so that a kill leaves none half done."""

from __future__ import annotations

from pathlib import Path

from alembic import context

from tbv8.store.schema import metadata, open_engine

db_path = context.config.attributes.get("db_path") or Path("data/tbv8.sqlite")


def is_compared(name: str | None, kind: str, _parents: object) -> bool:
    """Return True if `alembic check` compares an object; tables of bars depend on the config."""
    return not (kind == "table" and (name or "").startswith("bars_") and name != "bars_1m")


engine = open_engine(db_path)
try:
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=metadata,
            include_name=is_compared,
            transactional_ddl=True,
        )
        with context.begin_transaction():
            context.run_migrations()
finally:
    engine.dispose()
