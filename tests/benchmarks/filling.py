"""Binance's archive to committed rows, against the same downloads without tbv8."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import threading
import time
import zipfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

from tbv8.config.records import Venue
from tbv8.market import DAY_MS, Series, Span, parse_time
from tbv8.store.schema import migrate
from tests.benchmarks.measure import copy_project, run_reporting
from tests.servers.binance import running_process, send_control

if TYPE_CHECKING:
    import pyarrow as pa

SERIES = Series("binance_spot", "BTC/USDT")
NATIVE = "BTCUSDT"
_DB, _PATHS = Path("data/tbv8.sqlite"), Path("data/paths.txt")
_NEVER_MS = 10**12
_THREADS = 4  # as many as tbv8's


def bench_backfill(folder: Path) -> dict[str, float]:
    """Measure 8 years of monthly files and 3 months of daily ones from a server on loopback.

    The floor does what no program can leave out: the same downloads by requests in as many threads,
    files against their CHECKSUM, unzip, parse, ADBC insert. The server keeps all files in memory
    and runs beside what is measured, on the same cores. Best of three turns.
    """
    os.environ["NO_PROXY"] = "127.0.0.1"
    months = Span(parse_time("2017-09-01"), parse_time("2025-08-01"))
    days = Span(parse_time("2025-02-01"), parse_time("2025-05-01"))
    start, end = "2017-08-17", "2025-08-20"
    measured: dict[str, float] = {}
    with running_process("--synthetic", NATIVE, start, end, "1", "--now", "2025-08-18") as url:
        for kind, span, delay_ms in (("monthly", months, 0), ("daily", days, _NEVER_MS)):
            send_control(url, monthly_delay_ms=delay_ms)
            (folder / kind).mkdir()
            project = copy_project(folder / kind)
            _list_files(url, kind, span, project / _PATHS)
            words = [url, str(span.start_ms), str(span.end_ms)]
            turns = [
                (_turn(project, "floor", url), _turn(project, "fill", *words)) for _ in range(3)
            ]
            floor_s, fill_s = (min(turn[at][0] for turn in turns) for at in (0, 1))
            floor_cpu_s, fill_cpu_s = (min(turn[at][2] for turn in turns) for at in (0, 1))
            floor_mb, fill_mb = (max(turn[at][1] for turn in turns) for at in (0, 1))
            measured |= {
                f"{kind}_bars": span.minutes,
                f"{kind}_s": round(fill_s, 2),
                f"{kind}_bars_per_s": round(span.minutes / fill_s),
                f"{kind}_floor_s": round(floor_s, 2),
                f"{kind}_ratio": round(fill_s / floor_s, 2),
                f"{kind}_cpu_ratio": round(fill_cpu_s / floor_cpu_s, 2),
                f"{kind}_peak_mb": round(fill_mb),
                f"{kind}_floor_peak_mb": round(floor_mb),
            }
    return {**measured, "aim": 1.5}


def bench_funding(folder: Path) -> dict[str, float]:
    """Measure 8 years of funding of a symbol, as monthly files and REST, in seconds of CPU."""
    os.environ["NO_PROXY"] = "127.0.0.1"
    span = Span(parse_time("2017-08-17"), parse_time("2025-08-17"))
    project = copy_project(folder)
    words = ("--synthetic", NATIVE, "2017-08-17", "2025-08-20", "1", "--now", "2025-08-18")
    with running_process(*words) as url:
        told = [
            _child(project, "fund", url, str(span.start_ms), str(span.end_ms)) for _ in range(3)
        ]
    cpu_s, seconds = (min(one[0][key] for one in told) for key in ("cpu_s", "s"))
    return {"cpu_s": round(cpu_s, 2), "s": round(seconds, 2), "aim_cpu_s": 1.0}


def _turn(project: Path, what: str, *words: str) -> tuple[float, float, float]:
    """Return a child's seconds, imports left out, its peak memory in MB, and its CPU's seconds."""
    told, peak_mb = _child(project, what, *words)
    return told["s"], peak_mb, told["cpu_s"]


def _child(project: Path, what: str, *words: str) -> tuple[dict[str, float], float]:
    for path in (project / "data").glob("*.sqlite*"):
        path.unlink()
    migrate(project / _DB, root=project)
    command = [sys.executable, "-m", "tests.benchmarks.filling", what, *words]
    return run_reporting(command, project)


def _list_files(url: str, kind: str, span: Span, listed: Path) -> None:
    """Write down the paths of a span's files, and have the server make them before all turns."""
    from tbv8.venues.binance.plan import Piece, pieces
    from tbv8.venues.binance_spot import PRODUCT

    wanted = pieces([span], now_ms=parse_time("2025-08-18"), listed_ms=0)
    if kind == "daily":
        wanted = [
            Piece(Span(day_ms, day_ms + DAY_MS), "daily")
            for piece in wanted
            for day_ms in piece.span.days()
        ]
    paths = [piece.file_path(PRODUCT, NATIVE) for piece in wanted]
    for path in paths:
        with urlopen(url + path, timeout=60) as reply:
            reply.read()
    listed.write_text("\n".join(paths))


def fill(url: str, start_ms: str, end_ms: str) -> None:
    """Backfill as the task does."""
    from tbv8.backfill.fill import backfill

    span, there = Span(int(start_ms), int(end_ms)), _venue(SERIES.venue, url)
    backfill(_DB, SERIES, [span], venue=there, now_ms=parse_time("2025-08-18"))


def _venue(name: str, url: str) -> Venue:
    return Venue(
        name=name,
        enabled=False,
        symbols={SERIES.symbol: NATIVE},
        channels=(),
        ws_url=None,
        rest_url=url,
        archive_url=url,
        instruments={},
    )


def fund(url: str, start_ms: str, end_ms: str) -> None:
    """Fetch funding as the task does."""
    from tbv8.backfill.fill import backfill
    from tbv8.store.ledger import FUNDING

    series, span = Series("binance_perp", SERIES.symbol), Span(int(start_ms), int(end_ms))
    now_ms, there = parse_time("2025-08-18"), _venue(series.venue, url)
    backfill(_DB, series, [span], venue=there, now_ms=now_ms, dataset=FUNDING)


def floor(url: str) -> None:
    """Download each file, put its bars into a table of the same shape, a month a transaction."""
    import sqlite3
    from concurrent.futures import ThreadPoolExecutor

    import adbc_driver_sqlite.dbapi as adbc

    with sqlite3.connect("data/floor.sqlite") as made:
        made.execute("PRAGMA journal_mode = WAL")
        made.execute(
            "CREATE TABLE ohlcv_1m (venue TEXT, symbol TEXT, ts_ms INTEGER, open REAL, high REAL,"
            " low REAL, close REAL, volume REAL, PRIMARY KEY (venue, symbol, ts_ms)) WITHOUT ROWID"
        )
    paths, sessions = _PATHS.read_text().split(), threading.local()
    days_a_file = 1 if "/daily/" in paths[0] else 31
    with (
        adbc.connect("data/floor.sqlite", autocommit=True) as connection,
        connection.cursor() as cursor,
        ThreadPoolExecutor(_THREADS) as threads,
    ):
        cursor.execute("PRAGMA synchronous = NORMAL")
        for number, rows in enumerate(threads.map(partial(_download, url, sessions), paths), 1):
            if (number - 1) * days_a_file % 31 == 0:
                cursor.execute("BEGIN")
            cursor.adbc_ingest("ohlcv_1m", rows, mode="append")
            if number * days_a_file % 31 == 0 or number == len(paths):
                cursor.execute("COMMIT")


def _download(url: str, sessions: threading.local, path: str) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv
    import requests

    if not hasattr(sessions, "one"):
        sessions.one = requests.Session()
    zipped = sessions.one.get(url + path, timeout=60).content
    line = sessions.one.get(f"{url}{path}.CHECKSUM", timeout=60).text
    if hashlib.sha256(zipped).hexdigest() != line.split()[0]:
        raise ValueError(path)
    with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
        text = archive.read(archive.namelist()[0])
    names = ["ts_ms", "open", "high", "low", "close", "volume", *"abcdef"]
    bars = pa.csv.read_csv(
        io.BytesIO(text),
        read_options=pa.csv.ReadOptions(column_names=names, use_threads=False),
        convert_options=pa.csv.ConvertOptions(include_columns=names[:6]),
    )
    micro = pc.greater(bars["ts_ms"], 10**14)
    return pa.table(
        {
            "venue": pa.repeat(SERIES.venue, bars.num_rows),
            "symbol": pa.repeat(SERIES.symbol, bars.num_rows),
            "ts_ms": pc.if_else(micro, pc.divide(bars["ts_ms"], 1000), bars["ts_ms"]),
            **{name: bars[name] for name in names[1:6]},
        }
    )


if __name__ == "__main__":
    import adbc_driver_sqlite.dbapi  # noqa: F401
    import pyarrow.compute
    import pyarrow.csv
    import requests  # noqa: F401

    import tbv8.backfill.fill  # noqa: F401

    started, cpu_started = time.perf_counter(), time.process_time()
    {"floor": floor, "fill": fill, "fund": fund}[sys.argv[1]](*sys.argv[2:])
    took = {"s": time.perf_counter() - started, "cpu_s": time.process_time() - cpu_started}
    print(json.dumps(took))
