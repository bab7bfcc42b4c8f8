"""Dropping old trades and quotes, a little at a time beside a running recorder; never bars.

Two things must outlive it, since the recorder reads them when it starts again: the newest trade and
the newest quote of each series, by which it tells replays, and since when it has not run. Trades go
by whole minutes, so that a bar has all of its trades or none (see `tbv8.store.ticks`).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from tbv8.market import DAY_MS, MINUTE_MS, Series, Span
from tbv8.store.database import BUSY_TIMEOUT_S, Query, open_reader, refusals
from tbv8.store.ticks import WAL_LIMIT_BYTES

TICKS = ("trades", "bbo")
TICK_TABLES = (*TICKS, "mark")
_ROWS = 5000  # a transaction, of a twentieth of a second
_PAUSE_S = 0.05  # SQLite's waiters look again within 0.1 s, ours needs two looks at most


class Old(msgspec.Struct, frozen=True):
    """Rows to drop: of a table and series, all that are older than `span` ends; how many."""

    table: str
    series: Series
    span: Span
    rows: int


def stored_ticks(query: Query, tables: Sequence[str] = TICKS) -> Iterator[tuple[str, Series]]:
    """Yield each table and series that holds trades or quotes, or rows of other such tables."""
    for table in tables:
        after = ("", "")
        # from one series to the next along the index, without reading the rows between
        while rows := query(
            f"SELECT venue, symbol FROM {table} WHERE (venue, symbol) > (?, ?)"
            " ORDER BY venue, symbol LIMIT 1",
            after,
        ):
            after = (str(rows[0][0]), str(rows[0][1]))
            yield table, Series(*after)


def find_old(query: Query, table: str, series: Series, *, before_ms: int) -> Old | None:
    """Return the rows of a series before a time that may be dropped; None for none."""
    key = (series.venue, series.symbol)
    newest = query(
        f"SELECT ts_ms FROM {table} WHERE venue = ? AND symbol = ? AND ts_ms < received_ms + ?"
        " ORDER BY ts_ms DESC LIMIT 1",
        (*key, DAY_MS),  # as in `tbv8.store.ticks.read_held`
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
    return Old(table, series, Span(int(first_ms), end_ms), int(rows)) if rows else None


def prune(db_path: Path, old: Old, *, advance: Callable[[int], None]) -> int:
    """Drop rows, the oldest first, each few in one transaction; return how many.

    Repeatable, and safe to kill: what is committed is gone, the rest is there.

    Args:
        db_path: The database.
        old: What `find_old` found.
        advance: Told how many rows were dropped, after each transaction.

    Raises:
        DataError: The database is damaged, or locked for a minute by another program.
    """
    with open_reader(db_path):
        pass  # refuses what is no database of this revision
    dropped = 0
    with (
        refusals(db_path),
        closing(
            sqlite3.connect(db_path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        ) as connection,
    ):
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
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


def free_bytes(query: Query) -> int:
    """Return the unused bytes of the file, which are filled before the file grows."""
    ((pages,),), ((size,),) = query("PRAGMA freelist_count", ()), query("PRAGMA page_size", ())
    return int(pages) * int(size)
