"""Old trades and quotes go, a little at a time; what the recorder reads at its start stays."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tbv8.market import DAY_MS, MINUTE_MS, Bar, Bbo, Series, Trade
from tbv8.store.database import open_reader
from tbv8.store.prune import (
    OldRows,
    count_session_rows,
    drop_session,
    find_old,
    free_bytes,
    prune,
    stored_ticks,
)
from tbv8.store.sessions import Event, SessionMinute, StoredSession, open_journal, read_sessions
from tbv8.store.ticks import (
    Batch,
    RecordedMinute,
    bbo_row,
    open_ticks,
    read_recorded_state,
    trade_row,
)
from tests.builders import MONDAY, bars_in, ledger_in, rows, shell

BTC = Series("hyperliquid", "BTC/USDT")
ETH = Series("mexc", "ETH/USDT")
NOON = MONDAY + DAY_MS // 2


def trade(series: Series, ts_ms: int, *, price: float = 5.0) -> tuple[Any, ...]:
    made = Trade(series.venue, series.symbol, ts_ms, f"id{ts_ms}", price, 1.0, "buy")
    return trade_row(made, ts_ms)


def quote(series: Series, ts_ms: int) -> tuple[Any, ...]:
    return bbo_row(Bbo(series.venue, series.symbol, ts_ms, 1.0, 1.0, 2.0, 1.0), ts_ms)


def commit(db_path: Path, **parts: Any) -> None:
    with open_ticks(db_path) as store:
        store.commit(Batch(**parts), now_ms=1)


def drop(db_path: Path, before_ms: int) -> list[OldRows]:
    with open_reader(db_path) as query:
        found = [
            find_old(query, table, series, before_ms=before_ms)
            for table, series in stored_ticks(query)
        ]
    old = [one for one in found if one]
    for one in old:
        told: list[int] = []
        assert prune(db_path, one, advance=told.append) == one.rows == sum(told)
    return old


def times(db_path: Path, table: str, series: Series) -> list[int]:
    found = rows(
        db_path,
        f"SELECT ts_ms FROM {table} WHERE venue = ? AND symbol = ? ORDER BY ts_ms",
        (series.venue, series.symbol),
    )
    return [ts_ms for (ts_ms,) in found]


def test_older_rows_are_dropped_and_the_rest_stays(db_path: Path) -> None:
    moments = [NOON + n * 30_000 for n in range(10)]
    for series in (BTC, ETH):
        commit(
            db_path,
            trades=[trade(series, ms) for ms in moments],
            bbo=[quote(series, ms) for ms in moments],
        )

    old = drop(db_path, NOON + 2 * MINUTE_MS)

    assert [(one.table, one.series, one.rows) for one in old] == [
        ("trades", BTC, 4),
        ("trades", ETH, 4),
        ("bbo", BTC, 4),
        ("bbo", ETH, 4),
    ]
    for table in ("trades", "bbo"):
        assert times(db_path, table, BTC) == times(db_path, table, ETH) == moments[4:]


def test_trades_are_dropped_by_whole_minutes(db_path: Path) -> None:
    commit(db_path, trades=[trade(BTC, NOON + n * 10_000) for n in range(20)])

    drop(db_path, NOON + MINUTE_MS + 35_000)

    assert times(db_path, "trades", BTC) == [NOON + n * 10_000 for n in range(6, 20)]


def test_the_newest_row_of_each_stays_whatever_its_age(db_path: Path) -> None:
    moments = [NOON, NOON + MINUTE_MS, NOON + MINUTE_MS + 5]
    commit(
        db_path,
        trades=[trade(BTC, ms) for ms in moments],
        bbo=[quote(BTC, ms) for ms in moments],
    )
    before = read_recorded_state(db_path, BTC, now_ms=NOON)

    drop(db_path, NOON + 90 * DAY_MS)

    assert times(db_path, "trades", BTC) == moments[1:]  # its minute, whole
    assert times(db_path, "bbo", BTC) == moments[2:]
    assert read_recorded_state(db_path, BTC, now_ms=NOON) == before
    assert drop(db_path, NOON + 90 * DAY_MS) == []


def test_bars_and_their_ledger_stay(db_path: Path) -> None:
    bar = Bar(NOON, 5.0, 5.0, 5.0, 5.0, 2.0)
    commit(
        db_path,
        trades=[trade(BTC, NOON), trade(BTC, NOON + 1), trade(BTC, NOON + DAY_MS)],
        minutes=[RecordedMinute(series=BTC, bar=bar)],
    )
    before = bars_in(db_path, BTC, "bars_1m"), ledger_in(db_path, BTC, "bars_1m")

    drop(db_path, NOON + DAY_MS)

    assert times(db_path, "trades", BTC) == [NOON + DAY_MS]
    assert (bars_in(db_path, BTC, "bars_1m"), ledger_in(db_path, BTC, "bars_1m")) == before


def test_a_replay_of_pruned_trades_is_not_counted_again(db_path: Path) -> None:
    """A venue sends its last trades on each subscription; on a quiet market they are old."""
    received = [trade(BTC, NOON), trade(BTC, NOON + 1000, price=7.0)]
    bar = Bar(NOON, 5.0, 7.0, 5.0, 7.0, 2.0)
    later = trade(BTC, NOON + 3 * MINUTE_MS)
    flat = [
        RecordedMinute(series=BTC, bar=Bar(NOON + n * MINUTE_MS, 7, 7, 7, 7, 0)) for n in (1, 2)
    ]
    commit(db_path, trades=[*received, later], minutes=[RecordedMinute(series=BTC, bar=bar), *flat])
    before = bars_in(db_path, BTC, "bars_1m"), ledger_in(db_path, BTC, "bars_1m")
    drop(db_path, NOON + 2 * MINUTE_MS)

    commit(db_path, late=received)

    assert (bars_in(db_path, BTC, "bars_1m"), ledger_in(db_path, BTC, "bars_1m")) == before


def test_free_pages_are_counted_and_used_again(db_path: Path) -> None:
    many = [trade(BTC, NOON + n) for n in range(40_000)]
    commit(db_path, trades=[*many, trade(BTC, NOON + DAY_MS)])
    size = db_path.stat().st_size

    drop(db_path, NOON + DAY_MS)
    with open_reader(db_path) as query:
        free = free_bytes(query)
    commit(db_path, trades=[trade(BTC, NOON + 2 * DAY_MS + n) for n in range(40_000)])
    shell(db_path, "PRAGMA wal_checkpoint(TRUNCATE)")

    assert free > 0.8 * size
    assert db_path.stat().st_size < 1.1 * size


def _prune_all(db_path: Path, started: Any) -> None:
    with open_reader(db_path) as query:
        old = find_old(query, "trades", BTC, before_ms=NOON + DAY_MS)
    assert old is not None
    started.set()
    prune(db_path, old, advance=lambda _: None)


def _start_pruning(db_path: Path) -> Any:
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    child = context.Process(target=_prune_all, args=(db_path, started))
    child.start()
    assert started.wait(60)
    return child


def _many(db_path: Path, count: int) -> None:
    commit(db_path, trades=[*(trade(BTC, NOON + n) for n in range(count)), newest()])


def newest() -> tuple[Any, ...]:
    return trade(BTC, NOON + 2 * DAY_MS)


def test_a_kill_in_the_middle_harms_nothing(db_path: Path) -> None:
    _many(db_path, 60_000)
    child = _start_pruning(db_path)
    while len(left := times(db_path, "trades", BTC)) == 60_001:
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.join()

    left = times(db_path, "trades", BTC)
    drop(db_path, NOON + DAY_MS)

    assert left == [*range(NOON + 60_001 - len(left), NOON + 60_000), NOON + 2 * DAY_MS]
    assert 1 < len(left) <= 55_001
    assert rows(db_path, "PRAGMA integrity_check") == [("ok",)]
    assert times(db_path, "trades", BTC) == [NOON + 2 * DAY_MS]


def _left_at_turns(db_path: Path, busy: Any) -> Iterator[int]:
    """Yield how many trades are left each time that a writer gets its turn."""
    with closing(sqlite3.connect(db_path, timeout=60, isolation_level=None)) as writer:
        while busy.is_alive():
            writer.execute("BEGIN IMMEDIATE")
            ((left,),) = writer.execute("SELECT count(*) FROM trades").fetchall()
            writer.execute("COMMIT")
            yield left
            time.sleep(0.02)


def test_a_writer_gets_its_turn_while_rows_are_dropped(db_path: Path) -> None:
    _many(db_path, 100_000)

    child = _start_pruning(db_path)
    left = {*_left_at_turns(db_path, child)} - {100_001, 1}
    child.join()

    assert child.exitcode == 0
    assert times(db_path, "trades", BTC) == [NOON + 2 * DAY_MS]
    assert len(left) >= 4, left  # of 19 pauses


def test_a_session_that_is_dropped_in_part_cannot_continue(
    db_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tbv8.store.prune._ROWS", 2)
    minutes = [SessionMinute(ts_ms=NOON + n, bars={"BTC/USDT": None}, seen_ms=0) for n in range(5)]
    stored = StoredSession(
        session_id=0,
        strategy_id="test_v1",
        role="primary",
        venue="hyperliquid",
        inputs={},
        decimals={},
        first_ms=NOON,
        counted_ms=NOON,
        done_ms=NOON,
        state={},
        began_ms=NOON,
    )
    with open_journal(db_path) as journal:
        for _ in range(2):
            journal.begin(stored, minutes, [Event("order", 0, NOON, 0, "{}")], ends=None)

    def fail(_rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drop_session(db_path, 2, now_ms=7, advance=fail)
    with open_reader(db_path) as query:
        left, ended = count_session_rows(query, 2), read_sessions(query)[0].ended_ms
    dropped: list[int] = []
    drop_session(db_path, 2, now_ms=8, advance=dropped.append)

    assert (left, ended, sum(dropped)) == (6, 7, 6)
    with open_reader(db_path) as query:
        assert [session.session_id for session in read_sessions(query)] == [1]
        assert count_session_rows(query, 1) == 7


@pytest.mark.parametrize("table", ["trades", "bbo"])
def test_an_empty_table_has_nothing_to_drop(db_path: Path, table: str) -> None:
    with open_reader(db_path) as query:
        assert find_old(query, table, BTC, before_ms=NOON) is None
        assert list(stored_ticks(query)) == []


def test_a_trade_dated_far_ahead_is_not_the_newest_that_must_stay(db_path: Path) -> None:
    ahead_ms = NOON + 400 * DAY_MS
    moments = (NOON - DAY_MS, NOON, ahead_ms)
    commit(db_path, trades=[(*trade(BTC, ms)[:-1], min(ms, NOON)) for ms in moments])

    drop(db_path, NOON + 90 * DAY_MS)

    assert times(db_path, "trades", BTC) == [NOON, ahead_ms]
    assert read_recorded_state(db_path, BTC, now_ms=NOON).trade_ms == NOON
