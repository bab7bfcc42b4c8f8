"""Deletes old ticks, a series or a paper session, in small transactions.

Old ticks may be deleted while a recorder runs. The newest tick of each series stays: at its next
start the recorder needs it to recognise replays and to date its gap. Trades are deleted by whole
minutes, so that a bar has all of its trades or none (see `tbv8.store.ticks`).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from tbv8.market import DAY_MS, MINUTE_MS, Series, Span
from tbv8.store.database import (
    BUSY_TIMEOUT_S,
    Query,
    check_revision,
    open_reader,
    series_in,
    translated_errors,
)
from tbv8.store.ticks import WAL_LIMIT_BYTES

TRADES_AND_QUOTES = ("trades", "bbo")
RECORDED_TABLES = (*TRADES_AND_QUOTES, "mark")
_ORDER = {"history_coverage": "day_ms", "recording_gaps": "start_ms", "native_markets": "symbol"}
_SESSION_KEYS = {"session_events": "kind, number", "session_bars": "ts_ms, symbol"}
_ROWS = 5000  # per transaction, which then takes about 0.05 s
_PAUSE_S = 0.05  # SQLite's waiting writers retry within 0.1 s


class OldRows(msgspec.Struct, frozen=True):
    """The rows of a table and series before the end of `span`, to be dropped, and their number."""

    table: str
    series: Series
    span: Span
    rows: int


def stored_ticks(
    query: Query, tables: Sequence[str] = TRADES_AND_QUOTES
) -> Iterator[tuple[str, Series]]:
    """Yield each table and series with ticks."""
    for table in tables:
        for series in series_in(query, table):
            yield table, series


def find_old(query: Query, table: str, series: Series, *, before_ms: int) -> OldRows | None:
    """Return the rows of a series before a time, except the newest; None if there are none."""
    key = (series.venue, series.symbol)
    newest = query(
        f"SELECT ts_ms FROM {table} WHERE venue = ? AND symbol = ? AND ts_ms < received_ms + ?"
        " ORDER BY ts_ms DESC LIMIT 1",
        (*key, DAY_MS),  # as in `tbv8.store.ticks.query_recorded_state`
    )
    if not newest:
        return None
    end_ms = min(before_ms, newest[0][0])
    if table == "trades":
        end_ms -= end_ms % MINUTE_MS
    ((rows, first_ms),) = query(
        f"SELECT count(*), min(ts_ms) FROM {table} WHERE venue = ? AND symbol = ? AND ts_ms < ?",
        (*key, end_ms),
    )
    return OldRows(table, series, Span(int(first_ms), end_ms), int(rows)) if rows else None


def prune(db_path: Path, old: OldRows, *, advance: Callable[[int], None]) -> int:
    """Drop rows in small transactions, oldest first; return their number.

    Repeatable; it may be killed at any time.

    Args:
        db_path: The database.
        old: The result of `find_old`.
        advance: Called after each transaction with the number of rows dropped.

    Raises:
        DataError: The database is damaged, or locked for a minute by another program.
    """
    dropped = 0
    with _open_to_delete(db_path) as connection:
        while True:
            rows = connection.execute(
                f"DELETE FROM {old.table} WHERE rowid IN (SELECT rowid FROM {old.table}"
                " WHERE venue = ? AND symbol = ? AND ts_ms < ? ORDER BY ts_ms LIMIT ?)",
                (old.series.venue, old.series.symbol, old.span.end_ms, _ROWS),
            ).rowcount
            dropped += rows
            advance(rows)
            if rows < _ROWS:
                return dropped
            time.sleep(_PAUSE_S)


def count_rows(query: Query, series: Series) -> dict[str, int]:
    """Return the number of rows of a series by table; only tables with any."""
    counts = {}
    for table in _series_tables(query):
        ((rows,),) = query(
            f'SELECT count(*) FROM "{table}" WHERE venue = ? AND symbol = ?',
            (series.venue, series.symbol),
        )
        if rows:
            counts[table] = int(rows)
    return counts


def drop_series(db_path: Path, series: Series, *, advance: Callable[[int], None]) -> None:
    """Drop all rows of a series in small transactions: the ledger first, its native market last.

    Repeatable; it may be killed at any time: rows without a ledger count as unknown.

    Args:
        db_path: The database; no recorder may write to it meanwhile.
        series: The series.
        advance: Called after each transaction with the number of rows dropped.

    Raises:
        DataError: The database is damaged, or locked for a minute by another program.
    """
    with open_reader(db_path) as query:
        tables = _series_tables(query)
    with _open_to_delete(db_path) as connection:
        for table in tables:
            column, condition = _ORDER.get(table, "ts_ms"), "WHERE venue = ? AND symbol = ?"
            key = (series.venue, series.symbol)
            while True:
                ((last,),) = connection.execute(
                    f'SELECT max({column}) FROM (SELECT {column} FROM "{table}" {condition}'
                    f" ORDER BY {column} LIMIT {_ROWS})",
                    key,
                )
                if last is None:
                    break
                advance(
                    connection.execute(
                        f'DELETE FROM "{table}" {condition} AND {column} <= ?', (*key, last)
                    ).rowcount
                )


def count_session_rows(query: Query, session_id: int) -> int:
    """Return the number of rows of a paper session in all tables, with its row in `sessions`."""
    counts = (
        int(query(f"SELECT count(*) FROM {table} WHERE session_id = ?", (session_id,))[0][0])
        for table in _SESSION_KEYS
    )
    return 1 + sum(counts)


def drop_session(
    db_path: Path, session_id: int, *, now_ms: int, advance: Callable[[int], None]
) -> None:
    """Drop a paper session in small transactions, its row of `sessions` last.

    Repeatable; it may be killed at any time: the session is ended first, so none continues with a
    part of its journal.

    Args:
        db_path: The database; no process may run the session meanwhile.
        session_id: The session.
        now_ms: The time of its end, if it could still continue.
        advance: Called after each transaction with the number of rows dropped.

    Raises:
        DataError: The database is damaged, or locked for a minute by another program.
    """
    with _open_to_delete(db_path) as connection:
        connection.execute(
            "UPDATE sessions SET ended_ms = coalesce(ended_ms, ?) WHERE session_id = ?",
            (now_ms, session_id),
        )
        for table, key in _SESSION_KEYS.items():
            rows = _ROWS
            while rows == _ROWS:
                rows = connection.execute(
                    f"DELETE FROM {table} WHERE session_id = ? AND ({key}) IN"
                    f" (SELECT {key} FROM {table} WHERE session_id = ? LIMIT {_ROWS})",
                    (session_id, session_id),
                ).rowcount
                advance(rows)
                time.sleep(_PAUSE_S)
        advance(
            connection.execute("DELETE FROM sessions WHERE session_id = ?", (session_id,)).rowcount
        )


@contextmanager
def _open_to_delete(db_path: Path) -> Iterator[sqlite3.Connection]:
    """Open the database for deleting in small transactions."""
    check_revision(db_path)
    with (
        translated_errors(db_path),
        closing(
            sqlite3.connect(db_path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        ) as connection,
    ):
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
        yield connection


def _series_tables(query: Query) -> list[str]:
    """Return the tables with a venue and a symbol, in the order for dropping a series."""
    columns = query(
        "SELECT m.name, group_concat(c.name) FROM sqlite_master m, pragma_table_info(m.name) c"
        " WHERE m.type = 'table' GROUP BY m.name ORDER BY m.name",
        (),
    )
    tables = [name for name, names in columns if {"venue", "symbol"} <= {*names.split(",")}]
    return sorted(tables, key=lambda name: (name == "native_markets", name != "history_coverage"))


def free_bytes(query: Query) -> int:
    """Return the number of unused bytes in the file; SQLite uses them before the file grows."""
    ((pages,),), ((size,),) = query("PRAGMA freelist_count", ()), query("PRAGMA page_size", ())
    return int(pages) * int(size)
