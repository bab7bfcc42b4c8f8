"""A byte that flipped in the database's schema: one line that names the file, or no harm."""

from __future__ import annotations

from pathlib import Path

import pytest

from tbv8.errors import DataError
from tbv8.freshness.data import backfill_state, migration_state
from tbv8.market import parse_timeframe
from tbv8.store.bars import open_bars, write_history
from tbv8.store.schema import create_bars_table, has_expected_tables, migrate
from tests.builders import BTC, ROOT, days, hold, minute_bars, rows, shell


def use(db_path: Path) -> None:
    """Do what a backfill does with the database."""
    migration_state(db_path)
    backfill_state(db_path, BTC, [days(0, 2)])
    migrate(db_path, root=ROOT)
    with open_bars(db_path) as store:
        bars = minute_bars(days(1, 2))
        write_history(store, BTC, days(1, 2), bars, source="rest", updated_ms=1)


@pytest.mark.parametrize("bit", [0x80, 0x01])
def test_a_flipped_byte_is_damage_in_one_line(db_path: Path, bit: int) -> None:
    # given a database with a day in it
    hold(db_path, BTC, days(0, 1), minute_bars(days(0, 1)))
    rows(db_path, "PRAGMA wal_checkpoint(TRUNCATE)")
    good = db_path.read_bytes()
    tables = [good.index(f"CREATE TABLE {name}".encode()) for name in ("ohlcv_1m", "history")]
    places = [18, 44, 47, 56, 100, *(at + n for at in tables for n in range(0, 160, 8))]

    # when a byte of it is another, one at a time
    output = set()
    for at in places:
        for suffix in ("-wal", "-shm"):
            db_path.with_name(f"{db_path.name}{suffix}").unlink(missing_ok=True)
        db_path.write_bytes(good[:at] + bytes([good[at] ^ bit]) + good[at + 1 :])
        try:
            use(db_path)
        except DataError as e:
            output.add(str(e))

    # then
    assert len(output) >= 2
    assert [line for line in output if not line.startswith(f"{db_path}: ")] == []
    assert [line for line in output if not line.isprintable()] == []


def test_an_undamaged_schema_is_recognised(db_path: Path) -> None:
    create_bars_table(db_path, parse_timeframe("7m"))

    assert has_expected_tables(db_path)

    shell(db_path, "DROP TRIGGER bars_7m_insert")

    assert not has_expected_tables(db_path)


def test_a_missing_name_is_damage(db_path: Path) -> None:
    shell(db_path, "ALTER TABLE history_coverage RENAME COLUMN digest TO digesu")

    with pytest.raises(DataError, match="its tables are not those of tbv8: damaged"):
        use(db_path)
