"""The recorder's writer: batches are whole or not there, bars and their ledger agree."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tbv8.errors import DataError
from tbv8.market import DAY_MS, HOUR_MS, MINUTE_MS, Bar, Bbo, Series, Span, Trade, iso_day
from tbv8.store.database import BusyError
from tbv8.store.ticks import (
    Batch,
    CommitResult,
    Gap,
    RecordedMinute,
    bbo_row,
    open_ticks,
    read_recorded_state,
    trade_row,
)
from tests.builders import MONDAY, bars_in, hold, ledger_in, naive_digest, rows, shell

BTC = Series("hyperliquid", "BTC/USDT")
NOON = MONDAY + DAY_MS // 2
COLUMNS = "start_ms, end_ms, bars, missing, source, digest"


def trade(ts_ms: int, price: float, size: float = 1.0, *, trade_id: str = "") -> tuple[Any, ...]:
    name = trade_id or f"{ts_ms}-{price}"
    return trade_row(Trade(*BTC_KEY, ts_ms, name, price, size, "buy"), ts_ms + 100)


BTC_KEY = (BTC.venue, BTC.symbol)


def minute(
    number: int, price: float, volume: float = 1.0, *, refilled: bool = False
) -> RecordedMinute:
    bar = Bar(NOON + number * MINUTE_MS, price, price, price, price, volume)
    return RecordedMinute(series=BTC, bar=bar, refilled=refilled)


def commit(db_path: Path, **parts: Any) -> CommitResult:
    with open_ticks(db_path) as store:
        return store.commit(Batch(**parts), now_ms=1)


def bar(number: int, *values: float) -> tuple[float, ...]:
    return (NOON + number * MINUTE_MS, *values)


def check_ledger(db_path: Path, *, start: int, end: int, source: str) -> None:
    bars = bars_in(db_path, BTC, "bars_1m")
    assert ledger_in(db_path, BTC, "bars_1m", COLUMNS) == [
        (
            NOON + start * MINUTE_MS,
            NOON + end * MINUTE_MS,
            end - start,
            0,
            source,
            naive_digest(bars),
        )
    ]


def test_a_trade_is_stored_once_however_often_it_comes(db_path: Path) -> None:
    one = trade(NOON, 5.0)

    first = commit(db_path, trades=[one, one])
    again = commit(db_path, trades=[one], late=[one, trade(NOON + 1, 6.0)])

    assert (first.trades, again.trades) == (1, 1)
    assert [row[4] for row in rows(db_path, "SELECT * FROM trades ORDER BY ts_ms")] == [5.0, 6.0]


def test_quotes_keep_empty_sides_as_null(db_path: Path) -> None:
    bbo = Bbo(*BTC_KEY, NOON, 1.0, 2.0, None, None)

    commit(db_path, bbo=[bbo_row(bbo, NOON + 7)])

    assert rows(db_path, "SELECT * FROM bbo") == [(*BTC_KEY, NOON, 1.0, 2.0, None, None, NOON + 7)]
    assert read_recorded_state(db_path, BTC, now_ms=NOON).bbo == bbo


def test_minutes_extend_the_ledger_of_their_day(db_path: Path) -> None:
    commit(db_path, minutes=[minute(0, 5.0)])
    commit(db_path, minutes=[minute(1, 6.0), minute(2, 7.0, refilled=True)])

    check_ledger(db_path, start=0, end=3, source="record; rest")
    stored = read_recorded_state(db_path, BTC, now_ms=NOON)
    assert (stored.minute_ms, stored.close) == (NOON + 3 * MINUTE_MS, 7.0)


@pytest.mark.parametrize(("age_ms", "continues"), [(HOUR_MS, True), (HOUR_MS + 1, False)])
def test_the_first_recording_continues_bars_fetched_within_the_hour(
    db_path: Path, age_ms: int, continues: bool
) -> None:
    hold(db_path, BTC, Span(MONDAY, MONDAY + DAY_MS))
    end_ms = MONDAY + DAY_MS

    stored = read_recorded_state(db_path, BTC, now_ms=end_ms + age_ms)

    assert stored.minute_ms == (end_ms if continues else None)
    assert (stored.close, stored.open_gaps) == (None, ())


def test_minutes_across_midnight_belong_to_two_days(db_path: Path) -> None:
    commit(db_path, minutes=[minute(number, 5.0) for number in (718, 719, 720)])

    days = ledger_in(db_path, BTC, "bars_1m", "day_ms, end_ms - start_ms, bars")
    assert days == [(MONDAY, 2 * MINUTE_MS, 2), (MONDAY + DAY_MS, MINUTE_MS, 1)]


def test_a_stored_minute_is_not_written_again(db_path: Path) -> None:
    commit(db_path, minutes=[minute(0, 5.0), minute(1, 6.0)])
    commit(db_path, minutes=[minute(1, 9.0), minute(2, 7.0)])

    assert [row[4] for row in bars_in(db_path, BTC, "bars_1m")] == [5.0, 6.0, 7.0]


def test_a_minute_apart_from_its_day_is_refused_and_nothing_is_written(db_path: Path) -> None:
    commit(db_path, minutes=[minute(0, 5.0)])

    with pytest.raises(ValueError, match="does not follow"):
        commit(db_path, minutes=[minute(2, 5.0)], trades=[trade(NOON, 5.0)])

    assert rows(db_path, "SELECT 1 FROM trades") == []
    check_ledger(db_path, start=0, end=1, source="record")


@pytest.mark.parametrize(
    ("late", "expected"),
    [
        pytest.param([(30, 9.0, 2.0)], (5.0, 9.0, 5.0, 6.0, 5.0), id="between: high, volume"),
        pytest.param([(5, 2.0, 1.0)], (2.0, 6.0, 2.0, 6.0, 4.0), id="before the first: open, low"),
        pytest.param([(59, 5.5, 1.0)], (5.0, 6.0, 5.0, 5.5, 4.0), id="after the last: close"),
        pytest.param([(50, 7.0, 1.0)], (5.0, 7.0, 5.0, 7.0, 4.0), id="with the last: close"),
        pytest.param([(10, 7.0, 1.0)], (5.0, 7.0, 5.0, 6.0, 4.0), id="with the first: not open"),
        pytest.param(
            [(58, 1.0, 1.0), (1, 8.0, 1.0)], (8.0, 8.0, 1.0, 1.0, 5.0), id="two, in any order"
        ),
    ],
)
def test_late_trades_are_folded_into_their_minute(
    db_path: Path, late: list[tuple[int, float, float]], expected: tuple[float, ...]
) -> None:
    known = [trade(NOON + 10_000, 5.0, 1.0), trade(NOON + 50_000, 6.0, 2.0)]
    formed = RecordedMinute(series=BTC, bar=Bar(NOON, 5.0, 6.0, 5.0, 6.0, 3.0))
    commit(db_path, trades=known, minutes=[formed])

    arrivals = [trade(NOON + s * 1000, price, size, trade_id="late") for s, price, size in late]
    commit(db_path, late=[*arrivals, known[0]])

    assert bars_in(db_path, BTC, "bars_1m") == [(NOON, *expected)]
    check_ledger(db_path, start=0, end=1, source="record")


def test_a_late_trade_moves_the_flat_minutes_after_it(db_path: Path) -> None:
    flat = [minute(0, 5.0, 0.0), minute(1, 5.0, 0.0), minute(2, 5.0, 0.0), minute(3, 6.0)]
    commit(db_path, minutes=flat)

    commit(db_path, late=[trade(NOON + MINUTE_MS + 1, 7.0, 0.5)])

    assert bars_in(db_path, BTC, "bars_1m") == [
        bar(0, 5.0, 5.0, 5.0, 5.0, 0.0),
        bar(1, 7.0, 7.0, 7.0, 7.0, 0.5),
        bar(2, 7.0, 7.0, 7.0, 7.0, 0.0),
        bar(3, 6.0, 6.0, 6.0, 6.0, 1.0),
    ]
    check_ledger(db_path, start=0, end=4, source="record")


def test_a_flat_minute_follows_a_close_moved_by_a_late_trade(db_path: Path) -> None:
    commit(db_path, trades=[trade(NOON, 5.0)], minutes=[minute(0, 5.0)])
    commit(db_path, late=[trade(NOON + 9, 7.0)])

    commit(db_path, minutes=[minute(1, 5.0, 0.0)])

    assert bars_in(db_path, BTC, "bars_1m")[1] == bar(1, 7.0, 7.0, 7.0, 7.0, 0.0)


def test_the_bar_of_a_refilled_minute_includes_a_late_trade(db_path: Path) -> None:
    gap = Gap(
        series=BTC,
        channel="bars_1m",
        start_ms=NOON,
        end_ms=NOON + MINUTE_MS,
        reason="connection closed",
        healed=True,
    )
    gaps = {(BTC, "bars_1m", NOON): gap}
    commit(db_path, minutes=[minute(0, 5.0, refilled=True)], gaps=gaps)

    written = commit(db_path, late=[trade(NOON + 1, 9.0)])

    assert (written.trades, written.without_bar) == (1, ())
    assert bars_in(db_path, BTC, "bars_1m") == [bar(0, 5.0, 5.0, 5.0, 5.0, 1.0)]


def test_a_late_trade_without_a_written_minute_is_returned_once(db_path: Path) -> None:
    late = trade(NOON + 1, 9.0)

    assert commit(db_path, late=[late]).without_bar == (late,)
    assert commit(db_path, late=[late]).without_bar == ()
    assert commit(db_path, folds=[late]).without_bar == ()


def test_a_fold_finds_a_minute_written_since(db_path: Path) -> None:
    late = trade(NOON + 1, 9.0)
    commit(db_path, late=[late])

    commit(db_path, minutes=[minute(0, 5.0)], folds=[late])

    assert bars_in(db_path, BTC, "bars_1m")[0][2] == 9.0


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE bars_1m SET high = 99",
        "INSERT INTO bars_1m VALUES ('hyperliquid', 'BTC/USDT', 1704110520000, 1, 1, 1, 1, 1)",
    ],
    ids=["a row changed", "a row added"],
)
def test_an_edit_by_hand_stays_marked_when_the_day_continues(db_path: Path, edit: str) -> None:
    commit(db_path, minutes=[minute(0, 5.0)])
    shell(db_path, edit)

    written = commit(db_path, minutes=[minute(1, 6.0)])

    assert written.warnings == (
        f"bars_1m {BTC}: rows of {iso_day(MONDAY)} were changed outside of tbv8",
    )
    assert ledger_in(db_path, BTC, "bars_1m", "digest") == [(None,)]


def test_a_gap_with_the_same_start_replaces_the_row(db_path: Path) -> None:
    key = (BTC, "trades", NOON)
    gap = Gap(series=BTC, channel="trades", start_ms=NOON, end_ms=None, reason="r")
    commit(db_path, gaps={key: gap})
    assert read_recorded_state(db_path, BTC, now_ms=NOON).open_gaps == (gap,)

    ended = Gap(
        series=BTC, channel="trades", start_ms=NOON, end_ms=NOON + 5, reason="r", healed=True
    )
    commit(db_path, gaps={key: ended})

    assert rows(db_path, "SELECT * FROM recording_gaps") == [
        (*BTC_KEY, "trades", NOON, NOON + 5, "r", 1)
    ]
    assert read_recorded_state(db_path, BTC, now_ms=NOON).open_gaps == ()


def test_a_locked_database_is_busy_and_takes_the_same_batch_later(db_path: Path) -> None:
    batch = Batch(trades=[trade(NOON, 5.0)], minutes=[minute(0, 5.0)])
    with open_ticks(db_path) as store:
        store._connection.execute("PRAGMA busy_timeout = 10")
        with closing(sqlite3.connect(db_path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(BusyError, match="locked"):
                store.commit(batch, now_ms=1)
            other.execute("ROLLBACK")

        assert store.commit(batch, now_ms=1).trades == 1

    check_ledger(db_path, start=0, end=1, source="record")


def test_a_full_disk_is_busy_and_takes_the_same_batch_later(db_path: Path) -> None:
    batch = Batch(trades=[trade(NOON + n, 5.0) for n in range(20_000)], minutes=[minute(0, 5.0)])
    with open_ticks(db_path) as store:
        ((pages,),) = store._connection.execute("PRAGMA page_count").fetchall()
        store._connection.execute(f"PRAGMA max_page_count = {pages + 5}")
        with pytest.raises(BusyError, match="full"):
            store.commit(batch, now_ms=1)
        store._connection.execute("PRAGMA max_page_count = 1000000")

        assert store.commit(batch, now_ms=1).trades == 20_000

    check_ledger(db_path, start=0, end=1, source="record")


def test_a_database_that_is_not_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tbv8.sqlite"
    with pytest.raises(DataError, match="run `doit migrate`"), open_ticks(path):
        pass
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(DataError, match="not a database"), open_ticks(path):
        pass


def test_the_wal_can_be_truncated(db_path: Path) -> None:
    with open_ticks(db_path) as store:
        store.commit(Batch(trades=[trade(NOON + n, 5.0) for n in range(5000)]), now_ms=1)
        assert Path(f"{db_path}-wal").stat().st_size > 0

        store.shrink_wal()

        assert Path(f"{db_path}-wal").stat().st_size == 0
