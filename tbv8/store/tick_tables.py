"""Trades, quotes and marks as Arrow tables of one hour each: a busy day has millions of rows."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from tbv8.errors import DataError
from tbv8.market import DAY_MS, HOUR_MS, Series, Span
from tbv8.store.database import Query

SCHEMAS = {
    "trades": pa.schema(
        [
            ("ts_ms", pa.int64()),
            ("trade_id", pa.string()),
            ("price", pa.float64()),
            ("size", pa.float64()),
            ("side", pa.string()),
            ("received_ms", pa.int64()),
        ]
    ),
    "mark": pa.schema(
        [
            ("ts_ms", pa.int64()),
            ("mark_price", pa.float64()),
            ("open_interest", pa.float64()),
            ("received_ms", pa.int64()),
        ]
    ),
    "bbo": pa.schema(
        [
            ("ts_ms", pa.int64()),
            ("bid_price", pa.float64()),
            ("bid_size", pa.float64()),
            ("ask_price", pa.float64()),
            ("ask_size", pa.float64()),
            ("received_ms", pa.int64()),
        ]
    ),
}
"""The columns of each table besides venue and symbol."""


def read_ticks(query: Query, series: Series, table: str, span: Span) -> Iterator[pa.Table]:
    """Yield the rows of `span` by time, one table per hour that has rows.

    Rows of one millisecond are in the order of arrival.

    Raises:
        DataError: A value in a row has the wrong type.
    """
    names = ", ".join(SCHEMAS[table].names)
    at_ms = span.start_ms
    while (first_ms := _first_ms(query, series, table, Span(at_ms, span.end_ms))) is not None:
        at_ms = min(first_ms // HOUR_MS * HOUR_MS + HOUR_MS, span.end_ms)
        rows = query(
            f"SELECT {names} FROM {table} WHERE venue = ? AND symbol = ?"
            " AND ts_ms >= ? AND ts_ms < ? ORDER BY ts_ms, rowid",
            (series.venue, series.symbol, first_ms, at_ms),
        )
        columns = zip(zip(*rows, strict=True), SCHEMAS[table], strict=True)
        yield pa.table(
            [_column(series, table, values, field) for values, field in columns],
            schema=SCHEMAS[table],
        )


def _first_ms(query: Query, series: Series, table: str, span: Span) -> int | None:
    ((ts_ms,),) = query(
        f"SELECT min(ts_ms) FROM {table} WHERE venue = ? AND symbol = ? AND ts_ms >= ?"
        " AND ts_ms < ?",
        (series.venue, series.symbol, span.start_ms, span.end_ms),
    )
    return None if ts_ms is None else int(ts_ms)


def tick_days(query: Query, series: Series, table: str, span: Span) -> list[int]:
    """Return the midnights of the UTC days with rows in a table, by time."""
    days: list[int] = []
    at_ms = span.start_ms
    while (ts_ms := _first_ms(query, series, table, Span(at_ms, span.end_ms))) is not None:
        days.append(ts_ms // DAY_MS * DAY_MS)
        at_ms = days[-1] + DAY_MS
    return days


def _column(series: Series, table: str, values: object, field: pa.Field) -> pa.Array:
    try:
        return pa.array(values, field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as e:
        raise DataError(
            f"{table} {series}: {field.name} has a value that is not of type {field.type} ({e}): "
            "correct it in a sqlite3 shell"
        ) from e
