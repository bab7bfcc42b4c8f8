"""Eight years of 1m bars to five timeframes, against reading, grouping and writing them alone."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

from tbv8.market import Series
from tests.benchmarks.measure import EIGHT_YEARS, copy_project, fill_minutes, run

TIMEFRAMES = ("5m", "15m", "1h", "4h", "1d")
SERIES = Series("binance_spot", "BTC/USDT")
_DB = Path("data/tbv8.sqlite")


def bench_aggregate(folder: Path) -> dict[str, float]:
    """Measure `build_bars` of five timeframes against one read, five groupings, five writes."""
    project = copy_project(folder)
    bars = fill_minutes(project, SERIES, EIGHT_YEARS)
    floor_s, floor_mb = run(_child("floor"), project)
    build_s, build_mb = run(_child("build"), project)
    return {
        "bars": bars,
        "aggregate_s": round(build_s, 2),
        "bars_per_s": round(bars * len(TIMEFRAMES) / build_s),
        "floor_s": round(floor_s, 2),
        "ratio": round(build_s / floor_s, 2),
        "aim": 1.3,
        "peak_mb": round(build_mb),
        "floor_peak_mb": round(floor_mb),
    }


def _child(what: str) -> list[str]:
    return [sys.executable, "-m", "tests.benchmarks.aggregation", what]


def build() -> None:
    """Build five timeframes as the tasks do, with their default of days in memory."""
    from tbv8.build import build_bars
    from tbv8.market import parse_timeframe

    for text in TIMEFRAMES:
        build_bars(_DB, SERIES, parse_timeframe(text), chunk_days=150, now_ms=0)


def floor() -> None:
    """Read all 1m bars once; group and write each timeframe to a table of the same shape."""
    import adbc_driver_sqlite.dbapi as adbc
    import polars as pl

    with sqlite3.connect("data/floor.sqlite") as made:
        made.execute("PRAGMA journal_mode = WAL")
        for text in TIMEFRAMES:
            made.execute(
                f"CREATE TABLE bars_{text} (venue TEXT, symbol TEXT, ts_ms INTEGER, open REAL,"
                " high REAL, low REAL, close REAL, volume REAL, minutes INTEGER,"
                " PRIMARY KEY (venue, symbol, ts_ms)) WITHOUT ROWID"
            )
    with adbc.connect(str(_DB)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT ts_ms, open, high, low, close, volume FROM ohlcv_1m"
            " WHERE venue = ? AND symbol = ? ORDER BY ts_ms",
            (SERIES.venue, SERIES.symbol),
        )
        bars = pl.from_arrow(cursor.fetch_arrow_table())
    assert isinstance(bars, pl.DataFrame)
    with adbc.connect("data/floor.sqlite") as connection, connection.cursor() as cursor:
        for text in TIMEFRAMES:
            length = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}[text[-1]] * int(text[:-1])
            built = bars.group_by(pl.col("ts_ms") // length * length, maintain_order=True).agg(
                pl.col("open").first(),
                pl.col("high").max(),
                pl.col("low").min(),
                pl.col("close").last(),
                pl.col("volume").sum(),
                pl.len().cast(pl.Int64).alias("minutes"),
            )
            rows = built.with_columns(venue=pl.lit(SERIES.venue), symbol=pl.lit(SERIES.symbol))
            columns = ["venue", "symbol", "ts_ms", "open", "high", "low", "close", "volume"]
            table = rows.select(*columns, "minutes").to_arrow()
            cursor.adbc_ingest(f"bars_{text}", table, mode="append")
        connection.commit()


if __name__ == "__main__":
    {"floor": floor, "build": build}[sys.argv[1]]()
