"""What tests of stored bars have in common: times, tables of bars, a hand in the database.

`shell` and `rows` are the user's sqlite3 shell: call them only while no BarStore is open, since two
copies of SQLite in one process undo each other's locks (see tbv8/store/bars.py).
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import sqlite3
import struct
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from tbv8.config.records import Venue
from tbv8.manifest import Manifest, read_manifest
from tbv8.market import DAY_MS, MINUTE_MS, Series, Span
from tbv8.store.bars import BUILT_BARS, MINUTE_BARS, BarStore, open_bars, write_history

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = tuple(
    Path("config", name)
    for name in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "hatch"
    ]["build"]["targets"]["wheel"]["hooks"]["custom"]["config"]
)
"""The files of config/ that `tbv8 init` copies: a clone in use has others as well."""
BTC = Series("sample", "BTC/USDT")
ETH = Series("sample", "ETH/USDT")
MONDAY = 1_704_067_200_000  # 2024-01-01T00:00:00Z

Row = tuple[Any, ...]
type Shared = Callable[[str, Callable[[Path], None]], Path]
"""The fixture `shared`: a name and what fills a folder -> the folder, filled once for a run."""


def copy_config(root: Path) -> None:
    """Copy the `config/` that ships to a folder, without the files that a user added."""
    for path in SHIPPED:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, root / path)


def is_alive(pid: int | str) -> bool:
    """Return False for a process that has ended, though nobody may have waited for it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def at(text: str) -> int:
    """Return an ISO time as milliseconds UTC, by the standard library alone."""
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1000


def day(number: int) -> int:
    """Return the midnight that begins the n-th day from Monday 2024-01-01, counted from 0."""
    return MONDAY + number * DAY_MS


def days(first: int, end: int) -> Span:
    """Return the span from the midnight of one day to that of another, both counted from 0."""
    return Span(day(first), day(end))


def minute_bars(
    span: Span, *, without: Iterable[Span] = (), shift: int = 0, step_ms: int = MINUTE_MS
) -> pa.Table:
    """Return a bar for every minute of `span` but those of `without`; each is told by its time.

    Prices are quarters and volumes whole, so that sums of floats are exact. `shift` makes another
    market of it.
    """
    opens = np.arange(span.start_ms, span.end_ms, step_ms, dtype=np.int64)
    for hole in without:
        opens = opens[(opens < hole.start_ms) | (opens >= hole.end_ms)]
    number = opens // MINUTE_MS + shift
    first = 100 + number * 7919 % 1000 / 4
    last = 100 + number * 104_729 % 1000 / 4
    high = np.maximum(first, last) + number % 5 / 4
    low = np.minimum(first, last) - number % 7 / 4
    volume = (number % 13).astype(np.float64)
    return pa.table([opens, first, high, low, last, volume], schema=MINUTE_BARS)


def table_of(bars: Sequence[Row]) -> pa.Table:
    """Return rows (ts_ms, open, high, low, close, volume[, minutes]) as a table of bars."""
    schema = BUILT_BARS if bars and len(bars[0]) == 7 else MINUTE_BARS
    columns = list(zip(*bars, strict=True)) or [[]] * 6
    return pa.table([list(column) for column in columns], schema=schema)


def rows_of(bars: pa.Table) -> list[Row]:
    """Return a table of bars as rows."""
    return list(zip(*(column.to_pylist() for column in bars.columns), strict=True))


def hold(
    db_path: Path,
    series: Series,
    span: Span,
    bars: pa.Table | None = None,
    *,
    source: str = "rest",
    updated_ms: int = 1,
    dataset: str = "ohlcv_1m",
) -> None:
    """Write history as `tbv8.backfill.fill` does; without `bars`, a bar for every minute."""
    with open_bars(db_path) as store:
        write_history(
            store,
            series,
            span,
            minute_bars(span) if bars is None else bars,
            source=source,
            updated_ms=updated_ms,
            dataset=dataset,
        )


def history_venue(name: str, url: str) -> Venue:
    """Return the config of a venue that has history of BTC/USDT at a local server."""
    return Venue(
        name=name,
        enabled=False,
        symbols={"BTC/USDT": None},
        channels=(),
        ws_url=None,
        rest_url=url,
        archive_url=url,
        instruments={},
    )


class KilledError(BaseException):
    """What a kill -9 is in this process: nothing behind it runs."""


@contextmanager
def killed_after(pieces: int | None) -> Iterator[None]:
    """Let a fill die when the rows of one more than `pieces` are in, and their ledger is not."""
    whole = BarStore.write_days
    left = -1 if pieces is None else pieces

    def write_days(store: BarStore, *arguments: Any, **options: Any) -> None:
        nonlocal left
        if left == 0:
            raise KilledError
        left -= 1
        whole(store, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BarStore, "write_days", write_days)
        yield


def shell(db_path: Path, sql: str, values: Sequence[Any] = ()) -> int:
    """Change something by hand, as a user in the sqlite3 shell; return how many rows."""
    with closing(sqlite3.connect(db_path, timeout=5)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        return connection.execute(sql, values).rowcount


def open_shell(db_path: Path) -> sqlite3.Connection:
    """Return a user's open sqlite3 shell, which locks the file as it is told; close it."""
    return sqlite3.connect(db_path, timeout=0, isolation_level=None)


def rows(db_path: Path, sql: str, values: Sequence[Any] = ()) -> list[Row]:
    """Ask as a user in the sqlite3 shell."""
    with closing(sqlite3.connect(db_path, timeout=5)) as connection:
        return connection.execute(sql, values).fetchall()


def bars_in(db_path: Path, series: Series, dataset: str = "ohlcv_1m") -> list[Row]:
    """Return all rows of a series, without venue and symbol."""
    found = rows(
        db_path,
        f'SELECT * FROM "{dataset}" WHERE venue = ? AND symbol = ? ORDER BY ts_ms',
        (series.venue, series.symbol),
    )
    return [row[2:] for row in found]


@contextmanager
def closed_folder(*files: Path) -> Iterator[Path]:
    """Yield a folder with copies of `files`, which nobody may write, nor root."""
    folder = Path(tempfile.mkdtemp(prefix="tbv8-closed-"))
    try:
        for path in files:
            Path(shutil.copy(path, folder)).chmod(0o444)
        folder.chmod(0o555)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)  # nobody
        try:
            yield folder
        finally:
            if is_root:
                os.seteuid(0)
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


LEDGER = "day_ms, start_ms, end_ms, bars, missing, source, digest, built_from, updated_ms"


def ledger_in(
    db_path: Path, series: Series, dataset: str = "ohlcv_1m", columns: str = LEDGER
) -> list[Row]:
    """Return the ledger of a series, by day."""
    return rows(
        db_path,
        f"SELECT {columns} FROM history_coverage"
        " WHERE venue = ? AND symbol = ? AND dataset = ? ORDER BY day_ms",
        (series.venue, series.symbol, dataset),
    )


def naive_digest(bars: Iterable[Row]) -> str:
    """Return the digest of rows as design.md describes it."""
    raw = b""
    for ts_ms, first, high, low, last, volume, *minutes in bars:
        raw += struct.pack("<q", ts_ms)
        for value in (first, high, low, last, volume):
            raw += struct.pack("<d", 0.0 if value == 0 else value)
        for count in minutes:
            raw += struct.pack("<q", count)
    return hashlib.sha256(raw).hexdigest()


def naive_bars(timeframe: str, first_ms: int, end_ms: int) -> list[tuple[int, int]]:
    """Return open and close of each bar that opens in the span, by the calendar alone."""
    first, end = (datetime.fromtimestamp(ms / 1000, tz=UTC) for ms in (first_ms, end_ms))
    if timeframe == "1M":
        years = range(first.year, end.year + 2)
        opens = [datetime(year, month, 1, tzinfo=UTC) for year in years for month in range(1, 13)]
    else:
        unit = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}[timeframe[-1]]
        length = timedelta(**{unit: int(timeframe[:-1])})
        aligned = datetime(2018, 1, 1, tzinfo=UTC)  # a Monday
        if timeframe != "1w":
            aligned = datetime(1970, 1, 1, tzinfo=UTC)
        before = (first - aligned) // length
        opens = [aligned + (before + n) * length for n in range((end - first) // length + 4)]
    pairs = itertools.pairwise(opens)
    ms = [(int(a.timestamp()) * 1000, int(b.timestamp()) * 1000) for a, b in pairs]
    return [(a, b) for a, b in ms if first_ms <= a < end_ms]


def in_any_order(data: st.DataObject, pieces: Iterable[Span]) -> Iterator[Span]:
    """Yield pieces that fill a span in any order in which each day stays known as one span."""
    waiting = list(pieces)
    known: dict[int, Span] = {}

    def parts(piece: Span) -> Iterator[tuple[int, Span]]:
        for day_ms in range(piece.start_ms // DAY_MS * DAY_MS, piece.end_ms, DAY_MS):
            end_ms = min(piece.end_ms, day_ms + DAY_MS)
            yield day_ms, Span(max(piece.start_ms, day_ms), end_ms)

    def connected(piece: Span) -> bool:
        pairs = [(part, known[day_ms]) for day_ms, part in parts(piece) if day_ms in known]
        return all(a.start_ms <= b.end_ms and b.start_ms <= a.end_ms for a, b in pairs)

    while waiting:
        piece = data.draw(st.sampled_from([p for p in waiting if connected(p)]), label="next")
        waiting.remove(piece)
        for day_ms, part in parts(piece):
            held = known.get(day_ms, part)
            known[day_ms] = Span(min(part.start_ms, held.start_ms), max(part.end_ms, held.end_ms))
        yield piece


def write_manifest(folder: Path) -> None:
    """Write the manifest of a result some of whose files a test has made up."""
    before = read_manifest(folder)
    outputs = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }
    manifest = Manifest(before.inputs if before else {}, outputs)
    (folder / "manifest.json").write_bytes(msgspec.json.encode(manifest))
