"""Reads and writes bars and funding as Arrow tables; a transaction writes rows and their ledger.

One ADBC connection serves for rows and ledger. SQLite sends no column types, so query results are
cast to the schemas below. ADBC's DB-API is not used: it imports polars, whose signal handler loses
one Ctrl-C in ten.

ADBC has its own copy of SQLite, and Python has another. If a process closes a sqlite3 connection to
the file while an ADBC connection is open, the latter loses its POSIX locks and its WAL. Later
commits are then lost when the process ends (tried; https://sqlite.org/howtocorrupt.html, 2.2).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import adbc_driver_sqlite
import msgspec
import numpy as np
import pyarrow as pa
from adbc_driver_manager import (
    INGEST_OPTION_MODE,
    INGEST_OPTION_MODE_CREATE,
    INGEST_OPTION_TARGET_TABLE,
    AdbcConnection,
    AdbcDatabase,
    AdbcStatement,
    Error,
    StatementOptions,
)

from tbv8.coverage import by_day, merge
from tbv8.errors import DataError
from tbv8.market import DAY_MS, Series, Span, Timeframe, iso_day
from tbv8.store.database import BUSY_TIMEOUT_S, DatabaseFiles, file_problem, reader_uri
from tbv8.store.ledger import (
    EMPTY_DIGEST,
    FUNDING,
    HISTORY,
    MINUTE_DATASETS,
    RECORDED,
    UPSERT_DAY,
    LedgerDay,
    StoredDay,
    missing_hours,
    number_columns,
    read_days,
    read_stored_days,
)
from tbv8.store.natives import UPSERT, NativeMarket

_PRICES = ("open", "high", "low", "close", "volume")

# The columns of each kind of dataset besides venue and symbol; see `schema_of`.
MINUTE_BARS = pa.schema([("ts_ms", pa.int64()), *((name, pa.float64()) for name in _PRICES)])
BUILT_BARS = MINUTE_BARS.append(pa.field("minutes", pa.int64()))
FUNDING_RATES = pa.schema(
    [("ts_ms", pa.int64()), ("rate", pa.float64()), ("interval_hours", pa.int64())]
)


class BarStore:
    """An open connection for rows of bars and funding and their ledger; made by `open_bars`."""

    def __init__(self, db_path: Path, connection: AdbcConnection) -> None:
        self._db_path, self._connection = db_path, connection
        for pragma in (
            f"busy_timeout = {BUSY_TIMEOUT_S * 1000}",  # ADBC's own is 0
            "synchronous = NORMAL",
            "temp_store = MEMORY",
            "cache_size = -65536",
        ):
            self.query(f"PRAGMA {pragma}")
        self.query("SELECT 1 FROM sqlite_master LIMIT 1")  # opens the files
        self.files = DatabaseFiles(db_path)

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        columns = [column.to_pylist() for column in self._fetch(sql, values).columns]
        return list(zip(*columns, strict=True))

    @contextmanager
    def transaction(self, kind: str = "IMMEDIATE") -> Iterator[None]:
        """Commit at the end of the block, or roll back on an exception.

        Args:
            kind: `IMMEDIATE` to write, `DEFERRED` to read a consistent snapshot.

        Raises:
            MovedError: The database was removed, moved or replaced.
        """
        self.files.check()
        self._execute(f"BEGIN {kind}")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            with suppress(Error):  # a full disk has rolled back by itself
                self._execute("ROLLBACK")
            raise
        self.files.check()

    def read(self, series: Series, dataset: str, span: Span) -> pa.Table:
        """Return the rows in `span`, by time; text in a numeric column is read as 0."""
        schema = schema_of(dataset)
        table = self._fetch(
            f'SELECT {number_columns(schema.names)} FROM "{dataset}"'
            " WHERE venue = ? AND symbol = ? AND ts_ms >= ? AND ts_ms < ? ORDER BY ts_ms",
            (series.venue, series.symbol, span.start_ms, span.end_ms),
        )
        return table.rename_columns(schema.names).cast(schema)

    def replace_rows(self, series: Series, dataset: str, span: Span, bars: pa.Table) -> None:
        """Replace the rows in `span` by `bars`; equal rows are not written again.

        Call it in a transaction. Triggers then set the digests of changed days to NULL, so write
        the ledger afterwards.

        Raises:
            ValueError: A value is NaN or infinite, or the rows are not sorted within `span`.
        """
        opens = bars["ts_ms"].to_numpy()
        if opens.size and not (
            span.start_ms <= opens[0] and opens[-1] < span.end_ms and (np.diff(opens) > 0).all()
        ):
            raise ValueError(f"{series}: the bars are not sorted, unique and within {span}")
        schema = schema_of(dataset)
        for name, kind in zip(schema.names, schema.types, strict=True):
            if pa.types.is_floating(kind) and not np.isfinite(bars[name].to_numpy()).all():
                raise ValueError(f"{series}: {name} holds a value that is not a finite number")
        names = schema.names
        key = (series.venue, series.symbol)
        self._execute("DROP TABLE IF EXISTS temp.incoming")
        self._ingest("incoming", bars)
        self._execute(
            f'DELETE FROM "{dataset}" WHERE venue = ? AND symbol = ? AND ts_ms >= ? AND ts_ms < ?'
            " AND ts_ms NOT IN (SELECT ts_ms FROM temp.incoming)",
            (*key, span.start_ms, span.end_ms),
        )
        values = names[1:]
        arriving = [f"excluded.{name}" for name in values]
        self._execute(
            f'INSERT INTO "{dataset}" (venue, symbol, {", ".join(names)})'
            f" SELECT ?, ?, {', '.join(names)} FROM temp.incoming WHERE true"
            f" ON CONFLICT DO UPDATE SET ({', '.join(values)}) = ({', '.join(arriving)})"
            f" WHERE ({', '.join(values)}) IS NOT ({', '.join(arriving)})",
            key,
        )
        self._execute("DROP TABLE temp.incoming")

    def write_days(
        self, series: Series, dataset: str, days: Sequence[LedgerDay], *, updated_ms: int
    ) -> None:
        """Write ledger rows; call it after `replace_rows`, in the same transaction."""
        if not days:
            return
        rows = [day.row(series, dataset, updated_ms=updated_ms) for day in days]
        self._execute(UPSERT_DAY, *rows)

    def remove_day(self, series: Series, dataset: str, day_ms: int) -> None:
        """Remove a UTC day: its rows and its ledger row. Call it in a transaction."""
        key = (series.venue, series.symbol)
        self._execute(
            f'DELETE FROM "{dataset}" WHERE venue = ? AND symbol = ? AND ts_ms >= ? AND ts_ms < ?',
            (*key, day_ms, day_ms + DAY_MS),
        )
        self._execute(
            "DELETE FROM history_coverage"
            " WHERE venue = ? AND symbol = ? AND dataset = ? AND day_ms = ?",
            (*key, dataset, day_ms),
        )

    def write_native(self, series: Series, market: NativeMarket) -> None:
        """Write the market of a series' rows."""
        with self.transaction():
            self._execute(UPSERT, market.row(series))

    def _fetch(self, sql: str, values: Sequence[Any] = ()) -> pa.Table:
        with self._bound(sql, [values] if values else []) as statement:
            stream, _ = statement.execute_query()
            try:
                return pa.RecordBatchReader.from_stream(stream).read_all()
            except OSError as e:  # SQLite's errors after the first rows come through Arrow
                if (problem := file_problem(self._db_path, str(e))) is None:
                    raise
                raise DataError(problem) from e

    def _execute(self, sql: str, *rows: Sequence[Any]) -> None:
        """Run one statement, once for each row of values."""
        with self._bound(sql, rows) as statement:
            statement.execute_update()

    @contextmanager
    def _bound(self, sql: str, rows: Sequence[Sequence[Any]]) -> Iterator[AdbcStatement]:
        with AdbcStatement(self._connection) as statement:
            statement.set_sql_query(sql)
            if rows:
                columns = [pa.array(column) for column in zip(*rows, strict=True)]
                names = [str(number) for number in range(len(columns))]
                statement.bind(pa.RecordBatch.from_arrays(columns, names))
            yield statement

    def _ingest(self, table: str, bars: pa.Table) -> None:
        """Create a temporary table of bars."""
        with AdbcStatement(self._connection) as statement:
            statement.set_options(
                **{
                    INGEST_OPTION_TARGET_TABLE: table,
                    INGEST_OPTION_MODE: INGEST_OPTION_MODE_CREATE,
                    StatementOptions.INGEST_TEMPORARY.value: "true",
                }
            )
            statement.bind_stream(bars)
            statement.execute_update()


@contextmanager
def open_bars(db_path: Path) -> Iterator[BarStore]:
    """Open the database for bulk reading, and for writing if the file's permissions allow it.

    Raises:
        DataError: The file is damaged, locked for a minute, or its disk is full; also at any use
            of the connection.
    """
    can_write = all(os.access(path, os.W_OK) for path in (db_path.parent, db_path))
    try:
        with (
            _closing(
                adbc_driver_sqlite.connect(str(db_path) if can_write else reader_uri(db_path))
            ) as database,
            _closing(AdbcConnection(database)) as connection,
        ):
            yield BarStore(db_path, connection)
    except (Error, UnicodeDecodeError) as e:  # text of a torn page
        if (problem := file_problem(db_path, str(e))) is None:
            raise
        raise DataError(problem) from e


@contextmanager
def _closing[Handle: (AdbcDatabase, AdbcConnection)](handle: Handle) -> Iterator[Handle]:
    """Close at the end; ignore ADBC's RuntimeError after a Ctrl-C at an unlucky moment."""
    try:
        yield handle
    finally:
        with suppress(RuntimeError):
            handle.close()


def schema_of(dataset: str) -> pa.Schema:
    """Return the columns of a dataset's table, besides venue and symbol."""
    if dataset == FUNDING:
        return FUNDING_RATES
    return MINUTE_BARS if dataset in MINUTE_DATASETS else BUILT_BARS


class CompleteSpan(msgspec.Struct, frozen=True):
    """A span, all of its rows by time, and their source for the ledger."""

    span: Span
    rows: pa.Table
    source: str


def write_history(
    store: BarStore,
    series: Series,
    span: Span,
    bars: pa.Table,
    *,
    source: str,
    updated_ms: int,
    dataset: str = HISTORY,
) -> None:
    """Write `bars` as the complete rows of `span`; see `write_pieces`."""
    write_pieces(
        store, series, [CompleteSpan(span, bars, source)], updated_ms=updated_ms, dataset=dataset
    )


def write_pieces(
    store: BarStore,
    series: Series,
    pieces: Sequence[CompleteSpan],
    *,
    updated_ms: int,
    dataset: str = HISTORY,
) -> None:
    """Write complete spans and their ledger in one transaction. Repeatable.

    Minutes without a bar count as missing at the venue. The ledger has one span per UTC day, so a
    run of adjacent pieces must touch the stored span of its first and last day, if there is one.

    Args:
        store: The database.
        series: The series.
        pieces: The spans with their rows, by time.
        updated_ms: Our clock.
        dataset: The dataset.

    Raises:
        DataError: A piece adds to a day that was changed outside of tbv8.
        ValueError: A piece is apart from the stored span of its day.
    """
    with store.transaction():
        for run in _adjacent_runs(pieces):
            _write_run(store, series, run, updated_ms=updated_ms, dataset=dataset)


def _adjacent_runs(pieces: Sequence[CompleteSpan]) -> list[list[CompleteSpan]]:
    runs: list[list[CompleteSpan]] = []
    for piece in pieces:
        if runs and runs[-1][-1].span.end_ms == piece.span.start_ms:
            runs[-1].append(piece)
        else:
            runs.append([piece])
    return runs


def _write_run(
    store: BarStore, series: Series, run: Sequence[CompleteSpan], *, updated_ms: int, dataset: str
) -> None:
    span = Span(run[0].span.start_ms, run[-1].span.end_ms)
    rows = pa.concat_tables([piece.rows for piece in run])
    prior_days = {day.day_ms: day for day in read_days(store.query, series, dataset, span)}
    for day in prior_days.values():
        if not span.contains(day.span):
            read_checked(store, series, dataset, [day])
    store.replace_rows(series, dataset, span, rows)
    fetched = day_digests(rows)
    days = []
    for part in by_day(span):
        day_ms = part.start_ms // DAY_MS * DAY_MS
        day_span, digests, of_day = part, fetched, rows
        sources = [piece.source for piece in run if piece.span.intersection(part)]
        if (prior := prior_days.get(day_ms)) is not None and not part.contains(prior.span):
            day_span, *apart = merge([part, prior.span])
            if apart:
                raise ValueError(f"{series} {iso_day(day_ms)}: {part} is apart from {prior}")
            sources.insert(0, prior.source)
            of_day = store.read(series, dataset, day_span)
            digests = day_digests(of_day)
        count, digest = digests.get(day_ms, (0, EMPTY_DIGEST))
        days.append(
            LedgerDay(
                day_ms=day_ms,
                start_ms=day_span.start_ms,
                end_ms=day_span.end_ms,
                bars=count,
                missing=_missing(dataset, day_span, of_day, count),
                source="; ".join(dict.fromkeys("; ".join(sources).split("; "))),
                digest=digest,
            )
        )
    store.write_days(series, dataset, days, updated_ms=updated_ms)


def _missing(dataset: str, day_span: Span, rows: pa.Table, count: int) -> int:
    return (
        day_span.minutes - count
        if dataset != FUNDING
        else missing_hours(payments_in(rows, day_span), day_span)
    )


def payments_in(rates: pa.Table, span: Span) -> Iterator[tuple[int, int]]:
    """Return `ts_ms` and `interval_hours` of the payments in `span`; the table is by time."""
    part = rows_within(rates, span)
    return zip(part["ts_ms"].to_pylist(), part["interval_hours"].to_pylist(), strict=True)


def read_checked_days(store: BarStore, series: Series, days: Sequence[StoredDay]) -> pa.Table:
    """Return all bars of `days`, which are by time, after a check of each day's digest.

    Raises:
        DataError: The rows of a day do not match its ledger.
    """
    runs = [(dataset, [day.ledger for day in run]) for dataset, run in groupby(days, _dataset)]
    tables = [read_checked(store, series, dataset, run) for dataset, run in runs]
    return pa.concat_tables(tables) if tables else MINUTE_BARS.empty_table()


def read_stored_bars(store: BarStore, series: Series, timeframe: Timeframe, span: Span) -> pa.Table:
    """Return the stored bars of a timeframe that open in `span`, after a check of the digests.

    The table has one chunk, so its columns become numpy arrays without a copy.

    Raises:
        DataError: The rows of a day do not match its ledger.
    """
    days = read_stored_days(store.query, series, timeframe, span)
    if not days:
        return schema_of(timeframe.dataset).empty_table()
    return rows_within(read_checked_days(store, series, days).combine_chunks(), span)


def rows_within(bars: pa.Table, span: Span) -> pa.Table:
    """Return the part of a table of rows by time that lies in `span`, without a copy."""
    opens = bars["ts_ms"].to_numpy()
    first, end = np.searchsorted(opens, (span.start_ms, span.end_ms)).tolist()
    return bars.slice(first, end - first)


def read_checked(
    store: BarStore, series: Series, dataset: str, days: Sequence[LedgerDay]
) -> pa.Table:
    """Return all rows from the first of `days` to the last, after a check of the digests.

    Raises:
        DataError: The rows of a day do not match its ledger.
    """
    if not days:
        return schema_of(dataset).empty_table()
    bars = store.read(series, dataset, Span(days[0].day_ms, days[-1].day_ms + DAY_MS))
    digests = day_digests(bars)
    for day in days:
        if digests.pop(day.day_ms, (0, EMPTY_DIGEST)) != (day.bars, day.digest):
            raise DataError(changed_day(series, dataset, day.day_ms))
    for day_ms in digests:
        raise DataError(changed_day(series, dataset, day_ms))
    return bars


def _dataset(day: StoredDay) -> str:
    return day.dataset


def changed_day(series: Series, dataset: str, day_ms: int) -> str:
    """Return the user's message about a day with rows that do not match its ledger."""
    cure = (
        "restore a copy of the database, or drop the day with `doit verify --repair --give-up`"
        if dataset == RECORDED
        else "`doit verify --repair` drops the day, and the next run fetches or builds it again"
    )
    return (
        f"{dataset} {series} {iso_day(day_ms)}: its rows do not match its ledger, they were "
        f"changed outside of tbv8: {cure}"
    )


def day_digests(bars: pa.Table) -> dict[int, tuple[int, str]]:
    """Return the number of rows and their digest (see `tbv8.store.ledger`), by UTC day."""
    if bars.num_rows == 0:
        return {}
    packed = np.empty(
        bars.num_rows,
        dtype=[
            (name, "<i8" if pa.types.is_integer(kind) else "<f8")
            for name, kind in zip(bars.schema.names, bars.schema.types, strict=True)
        ],
    )
    for name in bars.schema.names:
        values = bars[name].to_numpy()
        packed[name] = values + 0.0 if values.dtype.kind == "f" else values  # -0.0 becomes 0.0
    day = packed["ts_ms"] // DAY_MS
    starts = [0, *(np.flatnonzero(np.diff(day)) + 1).tolist(), len(day)]
    raw = memoryview(packed.view(np.uint8))
    size = packed.dtype.itemsize
    return {
        int(day[start]) * DAY_MS: (
            end - start,
            hashlib.sha256(raw[start * size : end * size]).hexdigest(),
        )
        for start, end in pairwise(starts)
    }
