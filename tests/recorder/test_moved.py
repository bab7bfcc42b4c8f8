"""The database is removed, moved or replaced under a running recorder: nothing of it is lost."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tbv8.errors import DataError
from tbv8.store.schema import migrate
from tests.builders import ROOT, rows
from tests.recorder.rig import Running, check, gaps_in, recording, venue, wait_until
from tests.servers.live_server import LiveServer

MOVED = "the database was removed, moved or replaced while the recorder ran"


def remove(db_path: Path) -> None:
    for path in db_path.parent.glob(f"{db_path.name}*"):
        path.unlink()


def move(db_path: Path) -> None:
    db_path.rename(db_path.with_name("moved.sqlite"))


def move_its_folder(db_path: Path) -> None:
    db_path.parent.rename(db_path.parent.with_name("elsewhere"))


def replace_by_an_empty_one(db_path: Path) -> None:
    new = db_path.with_name("new.sqlite")
    migrate(new, root=ROOT)
    new.replace(db_path)


def replace_by_a_copy(db_path: Path) -> None:
    db_path.with_name("copy.sqlite").replace(db_path)


def lose_the_wal(db_path: Path) -> None:
    db_path.with_name(f"{db_path.name}-wal").unlink()


def stored(db_path: Path) -> set[tuple[object, ...]]:
    return set(rows(db_path, "SELECT ts_ms, trade_id FROM trades"))


def await_trades(db_path: Path, *, more: int = 10) -> None:
    wait_until(lambda: is_made(db_path))
    before = len(stored(db_path))
    wait_until(lambda: len(stored(db_path)) >= before + more)


def is_made(db_path: Path) -> bool:
    sql = "SELECT 1 FROM sqlite_master WHERE name = 'trades'"
    return db_path.exists() and bool(rows(db_path, sql))


def copy(db_path: Path) -> None:
    """Back the database up as it is now, WAL and all."""
    target = db_path.with_name("copy.sqlite")
    rows(db_path, f"VACUUM INTO '{target}'")


@pytest.mark.parametrize(
    "change",
    [
        remove,
        move,
        move_its_folder,
        replace_by_an_empty_one,
        replace_by_a_copy,
        lose_the_wal,
    ],
    ids=lambda change: change.__name__,
)
def test_recording_continues_in_the_file_that_is_at_the_path(
    tmp_path: Path,
    migrated_db: Path,
    hyperliquid: LiveServer,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Path], None],
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    db_path = Path(shutil.copy(migrated_db, folder / "tbv8.sqlite"))
    venues = [venue("hyperliquid", hyperliquid, {"BTC/USDT": "BTC"})]
    make = partial(migrate, db_path, root=ROOT)

    with recording(db_path, venues, make_database=make) as running:
        await_trades(db_path)
        copy(db_path)
        await_trades(db_path)
        changed_ms = hyperliquid.clock.now_ms()
        change(db_path)
        changed_s = time.monotonic()
        wait_until(lambda: MOVED in capsys.readouterr().out)
        noticed_s = time.monotonic() - changed_s
        await_trades(db_path, more=30)
        assert running.error is None

    assert noticed_s < 20  # it looks each second; a database is made meanwhile, on a busy machine
    check(db_path, "hyperliquid", hyperliquid.truth("BTC"))
    gaps = gaps_in(db_path, "hyperliquid", "bbo")
    assert any(gap.start_ms <= changed_ms < gap.end_ms for gap in gaps), (changed_ms, gaps)
    reasons = rows(db_path, "SELECT DISTINCT reason FROM recording_gaps WHERE channel = 'bbo'")
    assert (MOVED,) in reasons, rows(db_path, "SELECT * FROM recording_gaps")
    for moved in (folder / "moved.sqlite", tmp_path / "elsewhere" / "tbv8.sqlite"):
        if moved.exists():
            assert_complete(stored(moved) | stored(db_path), db_path, hyperliquid)


def assert_complete(both: set[tuple[object, ...]], db_path: Path, hyperliquid: LiveServer) -> None:
    """Compare what two files hold together with all that was sent since the first of it."""
    gaps = gaps_in(db_path, "hyperliquid", "trades", healed=0)
    began_ms = min(int(str(ts_ms)) for ts_ms, _ in both)
    sent = {trade[:2] for trade in hyperliquid.truth("BTC").trades if trade[0] > began_ms}
    missing = sent - both
    assert not [ms for ms, _ in missing if not any(g.start_ms <= ms < g.end_ms for g in gaps)]


def test_waiting_rows_are_written_to_the_new_database(
    db_path: Path, hyperliquid: LiveServer
) -> None:
    """A lock keeps rows in memory; then the file goes."""
    venues = [venue("hyperliquid", hyperliquid, {"BTC/USDT": "BTC"})]
    make = partial(migrate, db_path, root=ROOT)
    with recording(db_path, venues, make_database=make):
        await_trades(db_path)
        other = sqlite3.connect(db_path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        sent = len(hyperliquid.truth("BTC").trades)
        wait_until(lambda: len(hyperliquid.truth("BTC").trades) > sent + 20)
        told = {trade[:2] for trade in hyperliquid.truth("BTC").trades[sent + 2 : sent + 12]}
        move(db_path)
        other.close()
        await_trades(db_path)

    assert told <= stored(db_path)


def test_a_database_moved_at_the_end_is_noticed_too(db_path: Path, hyperliquid: LiveServer) -> None:
    venues = [venue("hyperliquid", hyperliquid, {"BTC/USDT": "BTC"})]
    running = Running(db_path, venues, make_database=partial(migrate, db_path, root=ROOT))
    await_trades(db_path)

    move(db_path)
    running.stop()

    assert gaps_in(db_path, "hyperliquid", "trades")
    assert not rows(db_path, "SELECT 1 FROM recording_gaps WHERE end_ms IS NOT NULL")


def test_recording_ends_with_an_error_if_no_database_can_be_made(
    db_path: Path, hyperliquid: LiveServer
) -> None:
    running = Running(db_path, [venue("hyperliquid", hyperliquid, {"BTC/USDT": "BTC"})])
    await_trades(db_path)

    move(db_path)
    wait_until(lambda: running.error is not None)

    with pytest.raises(DataError, match=MOVED):
        running.stop()
