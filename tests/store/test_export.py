"""Files for other tools are whole, say what they are, and hold what the database holds."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from tbv8.errors import DataError
from tbv8.market import DAY_MS, MINUTE_MS, Bbo, Series, Span, Trade
from tbv8.store.bars import open_bars
from tbv8.store.database import open_reader
from tbv8.store.export import (
    copy_database,
    export_bars,
    export_file,
    export_ticks,
    exportable,
)
from tbv8.store.tick_tables import tick_days
from tbv8.store.ticks import Batch, bbo_row, open_ticks, trade_row
from tbv8.store.verify import verify
from tests.builders import (
    BTC,
    MONDAY,
    bars_in,
    day,
    days,
    hold,
    ledger_in,
    minute_bars,
    rows,
    shell,
)

LIVE = Series("hyperliquid", "BTC/USDT")
ALL = Span(0, 2**50)


def write_bars(db_path: Path, folder: Path, span: Span = ALL, dataset: str = "ohlcv_1m") -> int:
    with open_reader(db_path) as query:
        chosen = exportable(query, BTC, dataset, span)
    told: list[int] = []
    written, there = export_bars(db_path, folder, BTC, dataset, chosen, advance=told.append)
    assert sum(told) == len(chosen) == written + there
    return written


def write_ticks(db_path: Path, folder: Path, table: str) -> int:
    with open_reader(db_path) as query:
        chosen = tick_days(query, LIVE, table, ALL)
    written, _ = export_ticks(db_path, folder, LIVE, table, chosen, advance=lambda _: None)
    return written


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_bars_are_a_file_a_day_that_a_glob_reads(db_path: Path, tmp_path: Path) -> None:
    outage = Span(day(1), day(1) + 5 * MINUTE_MS)
    hold(db_path, BTC, days(0, 3), minute_bars(days(0, 3), without=[outage]), source="rest")

    assert write_bars(db_path, tmp_path / "out", days(1, 3)) == 2

    names = [f"sample/BTC-USDT/ohlcv_1m/2024-01-0{n}.parquet" for n in (2, 3)]
    assert files(tmp_path / "out") == names
    read = pl.read_parquet(tmp_path / "out" / "**" / "*.parquet").sort("ts_ms")
    assert read.columns[:3] == ["venue", "symbol", "ts_ms"]
    assert set(read["venue"]) == {"sample"}
    assert set(read["symbol"]) == {"BTC/USDT"}
    assert read.drop("venue", "symbol").rows() == bars_in(db_path, BTC)[1440:]
    ((digest,), *_) = ledger_in(db_path, BTC, columns="digest")[1:]
    assert pq.read_schema(tmp_path / "out" / names[0]).metadata == {
        b"tbv8.dataset": b"ohlcv_1m",
        b"tbv8.venue": b"sample",
        b"tbv8.symbol": b"BTC/USDT",
        b"tbv8.day": b"2024-01-02",
        b"tbv8.start": b"2024-01-02T00:00:00Z",
        b"tbv8.end": b"2024-01-03T00:00:00Z",
        b"tbv8.digest": digest.encode(),
        b"tbv8.source": b"rest",
        b"tbv8.missing": b"5",
    }


def test_writing_again_gives_the_same_bytes_and_only_what_changed(
    db_path: Path, tmp_path: Path
) -> None:
    hold(db_path, BTC, days(0, 3))
    write_bars(db_path, tmp_path / "one")
    before = {name: (tmp_path / "one" / name).read_bytes() for name in files(tmp_path / "one")}

    assert write_bars(db_path, tmp_path / "one") == 0
    write_bars(db_path, tmp_path / "two")
    hold(db_path, BTC, days(1, 2), minute_bars(days(1, 2), shift=1))
    assert write_bars(db_path, tmp_path / "one") == 1

    assert {n: (tmp_path / "two" / n).read_bytes() for n in files(tmp_path / "two")} == before
    changed = [
        n for n in files(tmp_path / "one") if (tmp_path / "one" / n).read_bytes() != before[n]
    ]
    assert changed == ["sample/BTC-USDT/ohlcv_1m/2024-01-02.parquet"]


def test_a_damaged_file_is_written_again(db_path: Path, tmp_path: Path) -> None:
    hold(db_path, BTC, days(0, 1))
    write_bars(db_path, tmp_path)
    path = tmp_path / "sample/BTC-USDT/ohlcv_1m/2024-01-01.parquet"
    path.write_bytes(path.read_bytes()[:500])

    assert write_bars(db_path, tmp_path) == 1
    assert len(pl.read_parquet(path)) == 1440


@pytest.mark.parametrize("marked", [True, False], ids=["by the trigger", "behind its back"])
def test_a_day_changed_by_hand_is_refused(db_path: Path, tmp_path: Path, marked: bool) -> None:
    hold(db_path, BTC, days(0, 2))
    if not marked:
        shell(db_path, "DROP TRIGGER ohlcv_1m_update")
    shell(db_path, "UPDATE ohlcv_1m SET close = close + 1 WHERE ts_ms = ?", (day(1),))

    with pytest.raises(
        DataError, match=r"2024-01-02: its rows do not match .* `doit verify --repair` drops"
    ):
        write_bars(db_path, tmp_path / "out")

    assert [n for n in files(tmp_path / "out") if "2024-01-02" in n] == []


def record(db_path: Path, **parts: Any) -> None:
    with open_ticks(db_path) as store:
        store.commit(Batch(**parts), now_ms=1)


def test_trades_are_exported_in_the_order_of_arrival(db_path: Path, tmp_path: Path) -> None:
    moments = [(MONDAY + 5, "b"), (MONDAY + 5, "a"), (MONDAY + 2, "c"), (MONDAY + DAY_MS, "d")]
    key = (LIVE.venue, LIVE.symbol)
    received = [trade_row(Trade(*key, ms, name, 7.5, 0.5, "sell"), ms + 9) for ms, name in moments]
    record(db_path, trades=received)

    assert write_ticks(db_path, tmp_path, "trades") == 2

    read = pl.read_parquet(tmp_path / "hyperliquid" / "*" / "trades" / "*.parquet")
    assert read.rows() == [received[2], received[0], received[1], received[3]]
    assert read.columns[2:] == ["ts_ms", "trade_id", "price", "size", "side", "received_ms"]


def test_quotes_keep_an_empty_side_as_null(db_path: Path, tmp_path: Path) -> None:
    key = (LIVE.venue, LIVE.symbol)
    received = [
        bbo_row(Bbo(*key, MONDAY + n, None if n < 2000 else 1.5, None, 2.0, 3.0), 7)
        for n in range(2500)
    ]
    record(db_path, bbo=received)

    write_ticks(db_path, tmp_path, "bbo")

    assert pl.read_parquet(tmp_path / "**" / "*.parquet").rows() == received


def test_marks_keep_an_absent_open_interest_as_null(db_path: Path, tmp_path: Path) -> None:
    key = (LIVE.venue, LIVE.symbol)
    minutes = [MONDAY + n * 720 * MINUTE_MS for n in range(3)]
    marks = [(*key, ms, 42_000.5 + n, None if n else 7.25, ms + 9) for n, ms in enumerate(minutes)]
    record(db_path, marks=marks)

    assert write_ticks(db_path, tmp_path, "mark") == 2

    read = pl.read_parquet(tmp_path / "hyperliquid" / "*" / "mark" / "*.parquet")
    assert read.rows() == marks
    assert read.columns[2:] == ["ts_ms", "mark_price", "open_interest", "received_ms"]


def test_a_failure_leaves_no_file(
    db_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(db_path, BTC, days(0, 1))

    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_bars(db_path, tmp_path / "out")

    assert files(tmp_path / "out") == []


def _write_for_ever(db_path: Path, started: Any) -> None:
    """Commit two rows at a time: a copy that has one of a pair is not of one moment."""
    with open_ticks(db_path) as store:
        number = 0
        while True:
            pair = [
                trade_row(Trade(LIVE.venue, LIVE.symbol, number + n, str(n), 1.0, 1.0, "buy"), 0)
                for n in (0, 1)
            ]
            store.commit(Batch(trades=pair), now_ms=1)
            number += 2
            if number > 100:
                started.set()


@pytest.fixture
def writer(db_path: Path) -> Any:
    """Return a process that writes to the database all the time."""
    hold(db_path, BTC, days(0, 120))
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    child = context.Process(target=_write_for_ever, args=(db_path, started), daemon=True)
    child.start()
    assert started.wait(60)
    yield child
    child.kill()
    child.join()


def test_a_copy_is_one_snapshot_while_another_process_writes(
    db_path: Path, tmp_path: Path, writer: Any
) -> None:
    target = tmp_path / "copies" / "copy.sqlite"
    ((before,),) = rows(db_path, "SELECT count(*) FROM trades")
    told: list[int] = []

    copy_database(db_path, target, advance=told.append)

    ((after,),) = rows(db_path, "SELECT count(*) FROM trades")
    ((stored,),) = rows(target, "SELECT count(*) FROM trades")
    assert writer.is_alive()
    assert before <= stored < after
    assert stored % 2 == 0
    assert rows(target, "PRAGMA integrity_check") == [("ok",)]
    assert sum(told) == round(target.stat().st_size / 1e6)
    with open_bars(target) as store:
        assert list(verify(store, "ohlcv_1m", BTC)) == []
    assert [n for n in files(target.parent) if n.startswith(".")] == []


def test_a_copy_replaces_a_used_one(db_path: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.sqlite"
    copy_database(db_path, target, advance=lambda _: None)
    old = sqlite3.connect(target)  # as after a crash: its WAL is left beside it
    old.execute("CREATE TABLE notes (text)")
    old.commit()
    wal = target.with_name("copy.sqlite-wal").read_bytes()
    old.close()
    target.with_name("copy.sqlite-wal").write_bytes(wal)
    hold(db_path, BTC, days(0, 1))

    copy_database(db_path, target, advance=lambda _: None)

    assert rows(target, "PRAGMA integrity_check") == [("ok",)]
    assert rows(target, "SELECT 1 FROM sqlite_master WHERE name = 'notes'") == []
    assert len(bars_in(target, BTC)) == 1440


def _copy(db_path: Path, target: Path) -> None:
    copy_database(db_path, target, advance=lambda _: time.sleep(0.05))


def test_a_killed_copy_leaves_the_old_file(db_path: Path, tmp_path: Path) -> None:
    hold(db_path, BTC, days(0, 300))
    target = tmp_path / "copies" / "copy.sqlite"
    target.parent.mkdir()
    target.write_text("an older copy")
    child = multiprocessing.get_context("spawn").Process(target=_copy, args=(db_path, target))
    child.start()
    while not any(path.stat().st_size for path in target.parent.glob(".*")):
        time.sleep(0.005)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()

    assert target.read_text() == "an older copy"
    copy_database(db_path, target, advance=lambda _: None)
    assert rows(target, "PRAGMA integrity_check") == [("ok",)]
    assert files(target.parent) == ["copy.sqlite"]


def test_a_copy_of_no_database_is_refused(db_path: Path, tmp_path: Path) -> None:
    db_path.write_bytes(b"no database" * 1000)

    with pytest.raises(DataError, match="not a database"):
        copy_database(db_path, tmp_path / "copy.sqlite", advance=lambda _: None)

    assert not (tmp_path / "copy.sqlite").exists()


def test_a_copy_needs_no_file_besides_it(db_path: Path, tmp_path: Path) -> None:
    copy_database(db_path, tmp_path / "copy.sqlite", advance=lambda _: None)

    with closing(sqlite3.connect(tmp_path / "copy.sqlite")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchall() == [("wal",)]


NEW_YEAR = days(29, 33)  # the last days of January 2024, and the first of February


def test_a_month_is_one_file_of_the_rows_of_its_days(db_path: Path, tmp_path: Path) -> None:
    hold(db_path, BTC, NEW_YEAR)
    with open_reader(db_path) as query:
        chosen = exportable(query, BTC, "ohlcv_1m", ALL)

    def months() -> tuple[int, int]:
        return export_bars(
            db_path, tmp_path, BTC, "ohlcv_1m", chosen, by="month", advance=lambda _: None
        )

    first, again = months(), months()

    folder = tmp_path / "sample/BTC-USDT/ohlcv_1m"
    assert (first, again) == ((2, 0), (0, 2))
    assert files(folder) == ["2024-01.parquet", "2024-02.parquet"]
    january = pl.read_parquet(folder / "2024-01.parquet")
    assert january["ts_ms"].to_list() == list(range(day(29), day(31), MINUTE_MS))
    output = pq.read_schema(folder / "2024-02.parquet").metadata
    assert (output[b"tbv8.month"], output[b"tbv8.start"]) == (b"2024-02", b"2024-02-01T00:00:00Z")


def test_a_month_is_written_again_when_one_of_its_days_changed(
    db_path: Path, tmp_path: Path
) -> None:
    hold(db_path, BTC, NEW_YEAR)

    def months() -> tuple[int, int]:
        with open_reader(db_path) as query:
            chosen = exportable(query, BTC, "ohlcv_1m", ALL)
        return export_bars(
            db_path, tmp_path, BTC, "ohlcv_1m", chosen, by="month", advance=lambda _: None
        )

    months()
    hold(db_path, BTC, days(32, 33), minute_bars(days(32, 33), shift=1))

    assert months() == (1, 1)


def test_one_file_has_every_series_by_time(db_path: Path, tmp_path: Path) -> None:
    hold(db_path, BTC, days(0, 2))
    hold(db_path, Series("sample", "ETH/USDT"), days(1, 2))
    path = tmp_path / "out" / "bars.parquet"
    with open_reader(db_path) as query:
        chosen = {
            series: exportable(query, series, "ohlcv_1m", ALL)
            for series in (BTC, Series("sample", "ETH/USDT"))
        }

    export_file(db_path, path, "ohlcv_1m", chosen, advance=lambda _: None)

    read = pl.read_parquet(path)
    assert read["symbol"].to_list() == ["BTC/USDT"] * 2880 + ["ETH/USDT"] * 1440
    assert read["ts_ms"].to_list() == [
        *range(day(0), day(2), MINUTE_MS),
        *range(day(1), day(2), MINUTE_MS),
    ]
