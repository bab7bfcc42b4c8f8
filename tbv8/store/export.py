"""Export for other tools: a Parquet file a UTC day, or a copy of the database.

A file is there whole or not at all (see `tbv8.files`).
The Parquet key-value metadata tell what a file is: `tbv8.dataset`, `tbv8.venue`, `tbv8.symbol`
and `tbv8.day`; of bars also what the ledger says: `tbv8.start` and `tbv8.end` (what is known of the
day), `tbv8.digest`, `tbv8.source` and `tbv8.missing`. The same rows give the same bytes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tbv8.errors import DataError
from tbv8.files import replacing
from tbv8.market import DAY_MS, HOUR_MS, Series, Span, iso, iso_day
from tbv8.store.bars import BarStore, changed_day, open_bars, read_checked, schema_of
from tbv8.store.database import Query, open_reader, reader_uri, refusals
from tbv8.store.ledger import LedgerDay, read_days
from tbv8.text import file_name

_NAME = pa.dictionary(pa.int32(), pa.string())
_TICKS = {
    "trades": [
        ("ts_ms", pa.int64()),
        ("trade_id", pa.string()),
        ("price", pa.float64()),
        ("size", pa.float64()),
        ("side", pa.string()),
        ("received_ms", pa.int64()),
    ],
    "mark": [
        ("ts_ms", pa.int64()),
        ("mark_price", pa.float64()),
        ("open_interest", pa.float64()),
        ("received_ms", pa.int64()),
    ],
    "bbo": [
        ("ts_ms", pa.int64()),
        ("bid_price", pa.float64()),
        ("bid_size", pa.float64()),
        ("ask_price", pa.float64()),
        ("ask_size", pa.float64()),
        ("received_ms", pa.int64()),
    ],
}
_CHUNK_DAYS = 31
_PAGES = 5000  # of the database, from one look at the progress to the next

type Advance = Callable[[int], None]


def series_folder(folder: Path, series: Series, dataset: str) -> Path:
    """Return `<folder>/<venue>/BTC-USDT/<dataset>`, below `folder` whatever the names are."""
    return folder.joinpath(*map(file_name, (series.venue, series.symbol, dataset)))


def _day_path(folder: Path, series: Series, dataset: str, day_ms: int) -> Path:
    return series_folder(folder, series, dataset) / f"{iso_day(day_ms)}.parquet"


def exportable(query: Query, series: Series, dataset: str, span: Span) -> list[LedgerDay]:
    """Return the days of bars that have any, by time.

    Raises:
        DataError: One was changed outside of tbv8.
    """
    days = [day for day in read_days(query, series, dataset, span) if day.bars]
    for day in days:
        if day.digest is None:
            raise DataError(changed_day(series, dataset, day.day_ms))
    return days


def tick_days(query: Query, series: Series, table: str, span: Span) -> list[int]:
    """Return the midnights of the days that have trades or quotes, by time."""
    days: list[int] = []
    at_ms, end_ms = span.start_ms, span.end_ms
    while True:
        ((ts_ms,),) = query(
            f"SELECT min(ts_ms) FROM {table}"
            " WHERE venue = ? AND symbol = ? AND ts_ms >= ? AND ts_ms < ?",
            (series.venue, series.symbol, at_ms, end_ms),
        )
        if ts_ms is None:
            return days
        days.append(int(ts_ms) // DAY_MS * DAY_MS)
        at_ms = days[-1] + DAY_MS


def export_bars(
    db_path: Path,
    folder: Path,
    series: Series,
    dataset: str,
    days: Sequence[LedgerDay],
    *,
    advance: Advance,
) -> int:
    """Write a file for each of `days`; return how many, those that are there already left out.

    Raises:
        DataError: A day's rows are not those that its ledger tells of.
    """
    written = 0
    with open_bars(db_path) as store:
        for first in range(0, len(days), _CHUNK_DAYS):
            chunk = days[first : first + _CHUNK_DAYS]
            stale = [day for day in chunk if not _is_there(folder, series, dataset, day)]
            if stale:
                _write_bars(store, folder, series, dataset, stale)
                written += len(stale)
            advance(len(chunk))
    return written


def _write_bars(
    store: BarStore, folder: Path, series: Series, dataset: str, days: Sequence[LedgerDay]
) -> None:
    for day in days:
        with store.transaction("DEFERRED"):
            bars = read_checked(store, series, dataset, [day])
        path = _day_path(folder, series, dataset, day.day_ms)
        schema = _schema(list(schema_of(dataset)), _day_metadata(series, dataset, day))
        with replacing(path) as new, pq.ParquetWriter(new, schema) as writer:
            writer.write_table(_named(series, bars.columns, schema))


def _is_there(folder: Path, series: Series, dataset: str, day: LedgerDay) -> bool:
    """Return True if the file of a day already has the metadata of that day's ledger."""
    path = _day_path(folder, series, dataset, day.day_ms)
    try:
        found = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return False
    metadata = _day_metadata(series, dataset, day)
    return all(found.get(key.encode()) == text.encode() for key, text in metadata.items())


def _day_metadata(series: Series, dataset: str, day: LedgerDay) -> dict[str, str]:
    return {
        **_metadata(series, dataset, day.day_ms),
        "tbv8.start": iso(day.start_ms),
        "tbv8.end": iso(day.end_ms),
        "tbv8.digest": day.digest or "",
        "tbv8.source": day.source,
        "tbv8.missing": str(day.missing),
    }


def export_ticks(
    db_path: Path,
    folder: Path,
    series: Series,
    table: str,
    days: Sequence[int],
    *,
    advance: Advance,
) -> int:
    """Write a file of trades or quotes for each of `days`, as of one moment; return how many.

    Rows of one millisecond stand in the order in which they came.
    """
    for day_ms in days:
        fields = _TICKS[table]
        schema = _schema([pa.field(*field) for field in fields], _metadata(series, table, day_ms))
        names = ", ".join(name for name, _ in fields)
        path = _day_path(folder, series, table, day_ms)
        with (
            open_reader(db_path) as query,
            replacing(path) as new,
            pq.ParquetWriter(new, schema) as writer,
        ):
            for hour_ms in range(
                day_ms, day_ms + DAY_MS, HOUR_MS
            ):  # a busy day is millions of rows
                rows = query(
                    f"SELECT {names} FROM {table} WHERE venue = ? AND symbol = ?"
                    " AND ts_ms >= ? AND ts_ms < ? ORDER BY ts_ms, rowid",
                    (series.venue, series.symbol, hour_ms, hour_ms + HOUR_MS),
                )
                if rows:
                    columns = zip(zip(*rows, strict=True), fields, strict=True)
                    writer.write_table(
                        _named(
                            series, [_column(series, table, *column) for column in columns], schema
                        )
                    )
        advance(1)
    return len(days)


def _column(
    series: Series, table: str, values: Sequence[object], field: tuple[str, pa.DataType]
) -> pa.Array:
    """Return a column of an Arrow type.

    Raises:
        DataError: A user has typed something else there.
    """
    name, kind = field
    try:
        return pa.array(values, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as e:
        raise DataError(
            f"{table} {series}: {name} holds what is not of type {kind} ({e}): correct it in a "
            "sqlite3 shell"
        ) from e


def copy_database(db_path: Path, target: Path, *, advance: Advance) -> None:
    """Write the database as of now to `target`, whatever others write to it meanwhile.

    A file that is there is replaced, with what SQLite left beside it.

    Args:
        db_path: The database.
        target: The copy.
        advance: Told of each part, in MB.

    Raises:
        DataError: The database is absent, damaged or of another revision, or the disk is full.
    """
    with open_reader(db_path):
        pass  # refuses what is no database of this revision
    with replacing(target) as new:
        with (
            refusals(target),
            closing(sqlite3.connect(reader_uri(db_path), uri=True)) as source,
            closing(sqlite3.connect(new, isolation_level=None)) as copy,
        ):
            copy.execute("PRAGMA journal_mode = OFF")  # nobody reads it before it is whole
            copy.execute("PRAGMA synchronous = OFF")
            source.execute("BEGIN")  # one state of it: or each commit of others would begin anew
            ((page_size,),) = source.execute("PRAGMA page_size").fetchall()
            source.execute("SELECT 1 FROM sqlite_master").fetchall()
            before = 0

            def progress(_status: int, remaining: int, total: int) -> None:
                nonlocal before
                done = (total - remaining) * page_size // 10**6
                advance(done - before)
                before = done

            source.backup(copy, pages=_PAGES, progress=progress, sleep=0)
        for suffix in ("-wal", "-shm"):  # of a file that was there: they are not the new one's
            target.with_name(f"{target.name}{suffix}").unlink(missing_ok=True)


def copy_size(query: Query) -> int:
    """Return the size of a copy in bytes."""
    ((pages,),), ((size,),) = query("PRAGMA page_count", ()), query("PRAGMA page_size", ())
    return int(pages) * int(size)


def _metadata(series: Series, dataset: str, day_ms: int) -> dict[str, str]:
    return {
        "tbv8.dataset": dataset,
        "tbv8.venue": series.venue,
        "tbv8.symbol": series.symbol,
        "tbv8.day": iso_day(day_ms),
    }


def _schema(fields: list[pa.Field], metadata: dict[str, str]) -> pa.Schema:
    return pa.schema(
        [pa.field("venue", _NAME), pa.field("symbol", _NAME), *fields], metadata=metadata
    )


def _named(series: Series, columns: Sequence[pa.Array], schema: pa.Schema) -> pa.Table:
    """Return a table with the venue and the symbol in its first columns."""
    zeros = pa.array([0] * len(columns[0]), pa.int32())
    names = [
        pa.DictionaryArray.from_arrays(zeros, pa.array([name], pa.string()))
        for name in (series.venue, series.symbol)
    ]
    return pa.table([*names, *columns], schema=schema)
