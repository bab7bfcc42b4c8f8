"""A database that is not the file at its path any more is not written to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tbv8.errors import MovedError
from tbv8.store.bars import open_bars

CHANGES = [
    pytest.param(lambda path: path.unlink(), id="removed"),
    pytest.param(lambda path: path.rename(path.with_name("moved")), id="moved"),
    pytest.param(
        lambda path: path.with_name("other").replace(path), id="replaced by another database"
    ),
    pytest.param(lambda path: path.with_name(f"{path.name}-wal").unlink(), id="its WAL removed"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_the_next_transaction_is_refused(db_path: Path, change: Callable[[Path], object]) -> None:
    db_path.with_name("other").write_bytes(db_path.read_bytes())
    with open_bars(db_path) as store:
        change(db_path)

        with pytest.raises(MovedError, match="was removed, moved or replaced"), store.transaction():
            raise AssertionError("it began")


@pytest.mark.parametrize("change", CHANGES)
def test_writes_to_a_moved_database_are_an_error(
    db_path: Path, change: Callable[[Path], object]
) -> None:
    db_path.with_name("other").write_bytes(db_path.read_bytes())
    with (
        open_bars(db_path) as store,
        pytest.raises(MovedError, match="was removed, moved or replaced"),
        store.transaction(),
    ):
        change(db_path)
