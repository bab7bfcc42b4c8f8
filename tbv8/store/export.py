"""Exports for other tools: Parquet files by UTC day, by month or in one, and database copies.

Files are replaced atomically (see `tbv8.files`), and the same rows give the same bytes.

A file's Parquet metadata has `tbv8.dataset`, `tbv8.venue`, `tbv8.symbol`, and `tbv8.day` or
`tbv8.month`. For bars it also has the facts of the ledger: `tbv8.start` and `tbv8.end` (the known
span), `tbv8.digest` (of a month: over the digests of its days), `tbv8.source` and `tbv8.missing`.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from itertools import groupby
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from tbv8.errors import DataError
from tbv8.files import replacing
from tbv8.market import DAY_MS, Series, Span, iso, iso_day
from tbv8.store.bars import BarStore, changed_day, open_bars, read_checked, schema_of
from tbv8.store.database import Query, check_revision, open_reader, reader_uri, translated_errors
from tbv8.store.ledger import LedgerDay, read_days
from tbv8.store.tick_tables import SCHEMAS, read_ticks
from tbv8.text import file_name

_NAME = pa.dictionary(pa.int32(), pa.string())
_DAY_LETTERS, _MONTH_LETTERS = len("2024-01-31"), len("2024-01")
_PAGES = 5000  # the database pages copied between two updates of the progress

type Advance = Callable[[int], None]
"""Reports progress: a number of exported days, or of copied MB."""

type Partition = Literal["day", "month"]


def series_folder(folder: Path, series: Series, dataset: str) -> Path:
    """Return `<folder>/<venue>/BTC-USDT/<dataset>`; whatever the names, it is below `folder`."""
    return folder.joinpath(*map(file_name, (series.venue, series.symbol, dataset)))


def _by_name[D](
    days: Sequence[D], midnight: Callable[[D], int], *, by: Partition
) -> list[tuple[str, list[D]]]:
    """Return the name of each file, `2024-01-31` or `2024-01`, and its days."""
    letters = _DAY_LETTERS if by == "day" else _MONTH_LETTERS
    runs = groupby(days, key=lambda day: iso_day(midnight(day))[:letters])
    return [(name, list(run)) for name, run in runs]


def _path(folder: Path, series: Series, dataset: str, name: str) -> Path:
    return series_folder(folder, series, dataset) / f"{name}.parquet"


def exportable(query: Query, series: Series, dataset: str, span: Span) -> list[LedgerDay]:
    """Return the days of `span` with rows, by time.

    Raises:
        DataError: A day was changed outside of tbv8.
    """
    days = [day for day in read_days(query, series, dataset, span) if day.bars]
    for day in days:
        if day.digest is None:
            raise DataError(changed_day(series, dataset, day.day_ms))
    return days


def export_bars(
    db_path: Path,
    folder: Path,
    series: Series,
    dataset: str,
    days: Sequence[LedgerDay],
    *,
    advance: Advance,
    by: Partition = "day",
) -> tuple[int, int]:
    """Write a file for each of `days`, or for each month of them.

    Args:
        db_path: The database.
        folder: The root folder of the files (see `series_folder`).
        series: The series.
        dataset: A dataset of bars.
        days: The days from `exportable`.
        advance: Called after each file with its number of days.
        by: One file per day or per month.

    Returns:
        The number of files written, and the number of files that were up to date.

    Raises:
        DataError: The rows of a day do not match its ledger.
    """
    written = unchanged = 0
    with open_bars(db_path) as store:
        for name, part in _by_name(days, lambda day: day.day_ms, by=by):
            path = _path(folder, series, dataset, name)
            metadata = _metadata(series, dataset, name) | _ledger_metadata(part)
            if _is_up_to_date(path, metadata):
                unchanged += 1
            else:
                schema = _schema(list(schema_of(dataset)), metadata)
                with replacing(path) as new, pq.ParquetWriter(new, schema) as writer:
                    for table in _bars(store, series, dataset, part):
                        writer.write_table(_named(series, table.columns, schema))
                written += 1
            advance(len(part))
    return written, unchanged


def _bars(
    store: BarStore, series: Series, dataset: str, days: Sequence[LedgerDay]
) -> Iterator[pa.Table]:
    for day in days:
        with store.transaction("DEFERRED"):
            yield read_checked(store, series, dataset, [day])


def _is_up_to_date(path: Path, metadata: Mapping[str, str]) -> bool:
    """Return True if the file exists and has the same metadata."""
    try:
        written = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return False
    return all(written.get(key.encode()) == text.encode() for key, text in metadata.items())


def _ledger_metadata(days: Sequence[LedgerDay]) -> dict[str, str]:
    digests = [day.digest or "" for day in days]
    return {
        "tbv8.start": iso(days[0].start_ms),
        "tbv8.end": iso(days[-1].end_ms),
        "tbv8.digest": digests[0] if len(days) == 1 else _digest_of(digests),
        "tbv8.source": "; ".join(dict.fromkeys(day.source for day in days)),
        "tbv8.missing": str(sum(day.missing for day in days)),
    }


def _digest_of(digests: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def export_ticks(
    db_path: Path,
    folder: Path,
    series: Series,
    table: str,
    days: Sequence[int],
    *,
    advance: Advance,
    by: Partition = "day",
) -> tuple[int, int]:
    """Write trades, quotes or marks like `export_bars`; each file is one snapshot.

    Files are always written again. Rows of one millisecond are in the order of arrival.

    Args:
        db_path: The database.
        folder: The root folder of the files (see `series_folder`).
        series: The series.
        table: The table (see `tbv8.store.tick_tables.SCHEMAS`).
        days: The midnights of the days, by time.
        advance: Called after each file with its number of days.
        by: One file per day or per month.

    Returns:
        The number of files written, and 0.
    """
    parts = _by_name(days, lambda day_ms: day_ms, by=by)
    for name, part in parts:
        schema = _schema(list(SCHEMAS[table]), _metadata(series, table, name))
        with (
            open_reader(db_path) as query,
            replacing(_path(folder, series, table, name)) as new,
            pq.ParquetWriter(new, schema) as writer,
        ):
            for rows in read_ticks(query, series, table, _span(part)):
                writer.write_table(_named(series, rows.columns, schema))
        advance(len(part))
    return len(parts), 0


def _span(days: Sequence[int]) -> Span:
    return Span(days[0], days[-1] + DAY_MS)


def export_file(
    db_path: Path,
    path: Path,
    dataset: str,
    days: Mapping[Series, Sequence[LedgerDay] | Sequence[int]],
    *,
    advance: Advance,
) -> None:
    """Write the rows of all `days` into one file, series by series, each by time.

    Args:
        db_path: The database.
        path: The file.
        dataset: A dataset of bars, or a table of ticks.
        days: The days of each series: ledger days for bars, midnights for ticks.
        advance: Called after each day with 1.

    Raises:
        DataError: The rows of a day do not match its ledger.
    """
    columns = SCHEMAS[dataset] if dataset in SCHEMAS else schema_of(dataset)
    schema = _schema(list(columns), {"tbv8.dataset": dataset})
    with replacing(path) as new, pq.ParquetWriter(new, schema) as writer, ExitStack() as stack:
        if dataset in SCHEMAS:
            query = stack.enter_context(open_reader(db_path))
        else:
            store = stack.enter_context(open_bars(db_path))
        for series, part in days.items():
            for day in part:
                tables = (
                    read_ticks(query, series, dataset, _span([day]))
                    if isinstance(day, int)
                    else _bars(store, series, dataset, [day])
                )
                for table in tables:
                    writer.write_table(_named(series, table.columns, schema))
                advance(1)


def copy_database(db_path: Path, target: Path, *, advance: Advance) -> None:
    """Copy a snapshot of the database to `target`; others may write to the database meanwhile.

    An existing `target` is replaced, and its WAL and shared-memory file are removed.

    Args:
        db_path: The database.
        target: The copy.
        advance: Called after each part with its size in MB.

    Raises:
        DataError: The database is absent, damaged or of another revision, or the disk is full.
    """
    check_revision(db_path)
    with replacing(target) as new:
        with (
            translated_errors(target),
            closing(sqlite3.connect(reader_uri(db_path), uri=True)) as source,
            closing(sqlite3.connect(new, isolation_level=None)) as copy,
        ):
            copy.execute("PRAGMA journal_mode = OFF")  # no reader exists before it is complete
            copy.execute("PRAGMA synchronous = OFF")
            source.execute("BEGIN")  # without a snapshot, each commit of others restarts the copy
            ((page_size,),) = source.execute("PRAGMA page_size").fetchall()
            source.execute("SELECT 1 FROM sqlite_master").fetchall()
            before = 0

            def progress(_status: int, remaining: int, total: int) -> None:
                nonlocal before
                copied = round((total - remaining) * page_size / 1e6)
                advance(copied - before)
                before = copied

            source.backup(copy, pages=_PAGES, progress=progress, sleep=0)
        for suffix in ("-wal", "-shm"):  # they belong to the replaced file
            target.with_name(f"{target.name}{suffix}").unlink(missing_ok=True)


def copy_size(query: Query) -> int:
    """Return the size in bytes that a copy of the database would have."""
    ((pages,),), ((size,),) = query("PRAGMA page_count", ()), query("PRAGMA page_size", ())
    return int(pages) * int(size)


def _metadata(series: Series, dataset: str, name: str) -> dict[str, str]:
    return {
        "tbv8.dataset": dataset,
        "tbv8.venue": series.venue,
        "tbv8.symbol": series.symbol,
        "tbv8.day" if len(name) == _DAY_LETTERS else "tbv8.month": name,
    }


def _schema(fields: list[pa.Field], metadata: dict[str, str]) -> pa.Schema:
    return pa.schema(
        [pa.field("venue", _NAME), pa.field("symbol", _NAME), *fields], metadata=metadata
    )


def _named(series: Series, columns: Sequence[pa.Array], schema: pa.Schema) -> pa.Table:
    """Return columns as a table, after columns of the venue and the symbol."""
    zeros = pa.array([0] * len(columns[0]), pa.int32())
    names = [
        pa.DictionaryArray.from_arrays(zeros, pa.array([name], pa.string()))
        for name in (series.venue, series.symbol)
    ]
    return pa.table([*names, *columns], schema=schema)
