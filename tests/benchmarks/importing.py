"""A year of a user's 1m bars into the database, against reading and inserting them alone."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from pathlib import Path

from tbv8.market import DAY_MS, Series, Span, parse_time
from tbv8.store.schema import migrate
from tests.benchmarks.measure import copy_project, run_reporting
from tests.builders import history_venue, minute_bars

SERIES = Series("mine", "BTC/USDT")
YEAR = Span(parse_time("2023-01-01"), parse_time("2023-01-01") + 365 * DAY_MS)
_DB = Path("data/tbv8.sqlite")


def bench_import(folder: Path) -> dict[str, float]:
    """Measure the work of `doit import` after its imports, best of three turns."""
    import pyarrow.csv
    import pyarrow.parquet

    project = copy_project(folder)
    bars = minute_bars(YEAR)
    pyarrow.csv.write_csv(bars, project / "year.csv")
    pyarrow.parquet.write_table(bars, project / "year.parquet")
    measured: dict[str, float] = {"bars": bars.num_rows}
    for kind in ("csv", "parquet"):
        turns = [(_turn(project, "floor", kind), _turn(project, "ours", kind)) for _ in range(3)]
        floor_s, ours_s = (min(turn[at]["s"] for turn in turns) for at in (0, 1))
        floor_cpu_s, ours_cpu_s = (min(turn[at]["cpu_s"] for turn in turns) for at in (0, 1))
        measured |= {
            f"{kind}_s": round(ours_s, 2),
            f"{kind}_floor_s": round(floor_s, 2),
            f"{kind}_ratio": round(ours_s / floor_s, 2),
            f"{kind}_cpu_ratio": round(ours_cpu_s / floor_cpu_s, 2),
        }
    return {**measured, "aim": 1.5}


def _turn(project: Path, what: str, kind: str) -> dict[str, float]:
    for path in (project / "data").glob("*.sqlite*"):
        path.unlink()
    migrate(project / _DB, root=project)
    command = [sys.executable, "-m", "tests.benchmarks.importing", what, f"year.{kind}"]
    told, _ = run_reporting(command, project)
    return told


def ours(path: Path) -> None:
    """Import as the command does."""
    from tbv8.backfill.importing import import_file

    venue = history_venue(SERIES.venue, "")
    import_file(_DB, SERIES, path, venue=venue, now_ms=0, may_replace=lambda _: True)


def floor(path: Path) -> None:
    """Read by polars, insert by ADBC in one transaction into a table of the same shape."""
    import adbc_driver_sqlite.dbapi as adbc
    import polars as pl

    bars = pl.read_csv(path) if path.suffix == ".csv" else pl.read_parquet(path)
    named = {"venue": pl.lit(SERIES.venue), "symbol": pl.lit(SERIES.symbol)}
    rows = bars.select(**named, ts_ms="ts_ms", **{name: name for name in bars.columns[1:]})
    with adbc.connect("data/floor.sqlite") as connection, connection.cursor() as cursor:
        cursor.adbc_ingest("ohlcv_1m", rows.to_arrow(), mode="append")
        connection.commit()


def _make_floor() -> None:
    with sqlite3.connect("data/floor.sqlite") as made:
        made.execute("PRAGMA journal_mode = WAL")
        made.execute(
            "CREATE TABLE ohlcv_1m (venue TEXT, symbol TEXT, ts_ms INTEGER, open REAL, high REAL,"
            " low REAL, close REAL, volume REAL, PRIMARY KEY (venue, symbol, ts_ms)) WITHOUT ROWID"
        )


if __name__ == "__main__":
    import adbc_driver_sqlite.dbapi  # noqa: F401  # imports are not measured
    import polars  # noqa: F401

    import tbv8.backfill.importing  # noqa: F401

    _make_floor()
    began, cpu_began = time.perf_counter(), time.process_time()
    {"floor": floor, "ours": ours}[sys.argv[1]](Path(sys.argv[2]))
    took = {"s": time.perf_counter() - began, "cpu_s": time.process_time() - cpu_began}
    print(json.dumps(took))
