"""The ledger: the known span, the source and the digest of each series, dataset and UTC day.

A digest is sha256 over the day's rows by time. A row is packed little-endian as int64 ts_ms and
float64 open, high, low, close, volume, and int64 minutes for bars above 1m; a row of funding as
int64 ts_ms, float64 rate and int64 interval_hours. -0.0 counts as 0.0. A NULL digest means that a
row of the day was changed outside of tbv8: triggers set it (see `tbv8.store.schema`).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from tbv8.coverage import merge
from tbv8.market import DAY_MS, HOUR_MS, ONE_MINUTE, Series, Span, Timeframe
from tbv8.store.database import Query

HISTORY = "ohlcv_1m"
"""The dataset of 1m bars from a venue's history."""

RECORDED = "bars_1m"
"""The dataset of 1m bars from the recorder."""

MINUTE_DATASETS = (HISTORY, RECORDED)

FUNDING = "funding"
"""The dataset of funding rates."""

NOT_LISTED = "not listed"
"""The source of days before the first bar of a symbol."""


UPSERT_DAY = (
    "INSERT OR REPLACE INTO history_coverage (venue, symbol, dataset, day_ms, start_ms, end_ms,"
    " bars, missing, source, digest, built_from, updated_ms)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
"""Writes a row of the ledger; see `LedgerDay.row`."""


class LedgerDay(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `history_coverage`: the known part of a UTC day, and its source.

    Args:
        day_ms: The midnight of the day.
        start_ms: The start of the known part. For built bars, the known part is the span of the
            bars that open on this day, which may end after it.
        end_ms: The end of the known part.
        bars: The number of rows.
        missing: The number of minutes without a bar at the venue itself; for funding, the number of
            hours without a payment (see `missing_hours`).
        source: The origin of the rows.
        digest: The digest of the rows; None if one was changed outside of tbv8.
        built_from: For built bars, the digests of their 1m bars and of the code that built them.
    """

    day_ms: int
    start_ms: int
    end_ms: int
    bars: int
    missing: int
    source: str
    digest: str | None
    built_from: str | None = None

    @property
    def span(self) -> Span:
        """The known part of the day."""
        return Span(self.start_ms, self.end_ms)

    def row(self, series: Series, dataset: str, *, updated_ms: int) -> tuple[Any, ...]:
        """Return the values for `UPSERT_DAY`; `updated_ms` is our clock."""
        return (
            *(series.venue, series.symbol, dataset, self.day_ms, self.start_ms, self.end_ms),
            *(self.bars, self.missing, self.source, self.digest, self.built_from, updated_ms),
        )


class StoredDay(msgspec.Struct, frozen=True, kw_only=True):
    """A UTC day of bars in the ledger, and its dataset."""

    dataset: str
    ledger: LedgerDay


type MinuteDay = tuple[int, int, int, str]
"""The ledger facts of a UTC day of 1m bars: day_ms, start_ms, end_ms and digest, "" for NULL."""

type BuiltDay = tuple[int, int, int, str | None]
"""The ledger facts of a built day: day_ms, start_ms, end_ms, and built_from if it has a digest."""

_EDGES = "CAST(start_ms AS INTEGER), CAST(end_ms AS INTEGER)"  # SQLite may hold text in any column
_DAY = "CAST(day_ms AS INTEGER)"
_COLUMNS = (
    f"{_DAY}, {_EDGES}, CAST(bars AS INTEGER), CAST(missing AS INTEGER),"
    " CAST(source AS TEXT), CAST(coalesce(digest, '') AS TEXT), coalesce(built_from, '')"
)


def read_days(
    query: Query, series: Series, dataset: str, span: Span | None = None
) -> list[LedgerDay]:
    """Return the ledger rows of a series, by day; with `span`, only those of its days."""
    sql = f"SELECT {_COLUMNS} FROM history_coverage WHERE venue = ? AND symbol = ? AND dataset = ?"
    values: list[Any] = [series.venue, series.symbol, dataset]
    if span is not None:
        sql += " AND day_ms >= ? AND day_ms < ?"
        values += [span.start_ms // DAY_MS * DAY_MS, span.end_ms]
    return [_day(row) for row in query(f"{sql} ORDER BY day_ms", values)]


def read_stored_days(
    query: Query, series: Series, timeframe: Timeframe, span: Span | None = None
) -> list[StoredDay]:
    """Return the UTC days of a series' bars, by time; with `span`, only its days.

    A day of 1m bars comes from the history, unless the recorder has more minutes of it.
    """
    datasets = (RECORDED, HISTORY) if timeframe.text == "1m" else (timeframe.dataset,)
    days: dict[int, StoredDay] = {}
    for dataset in datasets:
        for day in read_days(query, series, dataset, span):
            earlier = days.get(day.day_ms)
            if earlier is None or earlier.ledger.span.minutes <= day.span.minutes:
                days[day.day_ms] = StoredDay(dataset=dataset, ledger=day)
    return [days[day_ms] for day_ms in sorted(days)]


def read_minute_days(query: Query, series: Series) -> list[MinuteDay]:
    """Return the days of `read_stored_days` for 1m bars, as plain rows.

    Every start reads them and `read_built_days`, with up to 200 symbols of four timeframes. Records
    would double the time.
    """
    datasets = [
        days for name in MINUTE_DATASETS if (days := _read_minute_days(query, series, name))
    ]
    if len(datasets) < 2:
        return datasets[0] if datasets else []
    ledger = [day.ledger for day in read_stored_days(query, series, ONE_MINUTE)]
    return [(day.day_ms, day.start_ms, day.end_ms, day.digest or "") for day in ledger]


def _read_minute_days(query: Query, series: Series, dataset: str) -> list[MinuteDay]:
    return query(
        f"SELECT {_DAY}, {_EDGES}, CAST(coalesce(digest, '') AS TEXT) FROM history_coverage"
        " WHERE venue = ? AND symbol = ? AND dataset = ? ORDER BY day_ms",
        (series.venue, series.symbol, dataset),
    )


def read_built_days(query: Query, series: Series, dataset: str) -> list[BuiltDay]:
    """Return the ledger facts of each day of a built timeframe, by day."""
    return query(
        "SELECT day_ms, start_ms, end_ms, CASE WHEN digest IS NOT NULL THEN built_from END"
        " FROM history_coverage WHERE venue = ? AND symbol = ? AND dataset = ? ORDER BY day_ms",
        (series.venue, series.symbol, dataset),
    )


def is_covered(query: Query, series: Series, dataset: str, span: Span) -> bool:
    """Return True if the ledger has no gap in `span`; a single indexed query, for each start."""
    ((total,),) = query(
        "SELECT total(min(end_ms, ?) - max(start_ms, ?)) FROM history_coverage"
        " WHERE venue = ? AND symbol = ? AND dataset = ? AND day_ms >= ? AND start_ms < ?"
        " AND end_ms > ?",
        (
            span.end_ms,
            span.start_ms,
            series.venue,
            series.symbol,
            dataset,
            span.start_ms // DAY_MS * DAY_MS,
            span.end_ms,
            span.start_ms,
        ),
    )
    return int(total) == span.end_ms - span.start_ms


def read_covered_spans(query: Query, series: Series, dataset: str) -> list[Span]:
    """Return the known spans of a series by time, adjacent ones joined."""
    return join_spans(
        query(
            f"SELECT {_EDGES} FROM history_coverage"
            " WHERE venue = ? AND symbol = ? AND dataset = ? ORDER BY day_ms",
            (series.venue, series.symbol, dataset),
        )
    )


def read_outdated_spans(query: Query, series: Series, files: Mapping[str, Span]) -> list[Span]:
    """Return the known parts of history days whose source files differ from the present files.

    Args:
        query: The query function of an open database.
        series: The series.
        files: The present files by their names in the ledger, each with the span of its bars.
    """
    by_day: dict[int, dict[str, Span]] = {}
    for name, span in files.items():
        for day_ms in span.days():
            by_day.setdefault(day_ms, {})[name] = span
    return [
        day.span
        for day in read_days(query, series, HISTORY)
        if {part for part in day.source.split("; ") if " sha256:" in part}
        != {
            name for name, span in by_day.get(day.day_ms, {}).items() if span.intersection(day.span)
        }
    ]


def join_spans(edges: Iterable[tuple[int, int]]) -> list[Span]:
    """Join the adjacent spans of days, given as pairs of start and end by day.

    It loops over pairs instead of records: eight years take 1.5 ms, and there may be 200 symbols.
    """
    runs: list[tuple[int, int]] = []
    for start_ms, end_ms in edges:
        if runs and runs[-1][1] == start_ms:
            runs[-1] = (runs[-1][0], end_ms)
        else:
            runs.append((start_ms, end_ms))
    return merge(Span(*edges) for edges in runs)


def has_days(query: Query, series: Series, datasets: Sequence[str] = MINUTE_DATASETS) -> bool:
    """Return True if the ledger has any day of a series."""
    return any(
        query(
            "SELECT 1 FROM history_coverage WHERE venue = ? AND symbol = ? AND dataset = ? LIMIT 1",
            (series.venue, series.symbol, dataset),
        )
        for dataset in datasets
    )


def read_stored_span(query: Query, venue: str, symbols: Sequence[str] = ()) -> Span | None:
    """Return the span of a venue's stored history, of `symbols` or of all; None if empty."""
    of_symbols = f" AND symbol IN ({', '.join('?' * len(symbols))})" if symbols else ""
    ((start_ms, end_ms),) = query(
        "SELECT CAST(min(start_ms) AS INTEGER), CAST(max(end_ms) AS INTEGER) FROM history_coverage"
        f" WHERE venue = ? AND dataset = ? AND bars > 0{of_symbols}",
        (venue, HISTORY, *symbols),
    )
    return None if start_ms is None else Span(start_ms, end_ms)


def fingerprint(query: Query, series: Series, days: Sequence[StoredDay], span: Span) -> str | None:
    """Return the sha256 over the day digests in `span`; None if a day was changed outside of tbv8.

    Missing days count as empty, and a day that is only partly in `span` is hashed from its rows.
    So the fingerprint depends only on the rows in `span`.

    Args:
        query: The query function of an open database.
        series: The series.
        days: The days of the series, at least those of `span`.
        span: The span.
    """
    days_by_ms = {day.ledger.day_ms: day for day in days}
    digests: list[str] = []
    for day_ms in span.days():
        day = days_by_ms.get(day_ms)
        if day is None or day.ledger.bars == 0:
            digests.append(EMPTY_DIGEST)
        elif not day.ledger.digest:
            return None
        elif span.contains(day.ledger.span) or span.contains(_in_day(day.ledger)):
            digests.append(day.ledger.digest)
        else:
            part = span.intersection(Span(day_ms, day_ms + DAY_MS))
            rows = _read_rows(query, series, day.dataset, part)
            digests.append(digest_rows(rows, columns_of(day.dataset).values()))
    try:
        return hashlib.sha256(bytes.fromhex("".join(digests))).hexdigest()
    except ValueError:  # a user edited a digest
        return None


def _in_day(day: LedgerDay) -> Span:
    """Return the known part, cut at the end of the UTC day."""
    return day.span.intersection(Span(day.day_ms, day.day_ms + DAY_MS))


_VALUES = dict.fromkeys(("open", "high", "low", "close", "volume"), "d")
_BARS = {"ts_ms": "q", **_VALUES}
_BUILT_BARS = {**_BARS, "minutes": "q"}
_KINDS, _BUILT_KINDS = "".join(_BARS.values()), "".join(_BUILT_BARS.values())
_FUNDING = {"ts_ms": "q", "rate": "d", "interval_hours": "q"}


def columns_of(dataset: str) -> dict[str, str]:
    """Return the types of a dataset's columns after venue and symbol: `q` int64, `d` float64."""
    if dataset == FUNDING:
        return _FUNDING
    return _BARS if dataset in MINUTE_DATASETS else _BUILT_BARS


def digest_rows(rows: Iterable[Sequence[Any]], kinds: Iterable[str] = ()) -> str:
    """Return the digest of rows with columns of types `kinds`; by default, rows of bars."""
    total, row_kinds = hashlib.sha256(), "".join(kinds)
    for row in rows:
        kinds = row_kinds or (_KINDS if len(row) == len(_KINDS) else _BUILT_KINDS)
        values = (float(v) + 0.0 if k == "d" else v for k, v in zip(kinds, row, strict=True))
        total.update(struct.pack(f"<{kinds}", *values))
    return total.hexdigest()


EMPTY_DIGEST = digest_rows(())


def missing_hours(rates: Iterable[tuple[int, int]], span: Span) -> int:
    """Return the number of hours without their payment in a part of a UTC day.

    A payment implies its neighbours: at an interval of 8 hours there should be one 8 hours before
    it and one 8 hours after it. Without any payment, all hours count.

    Args:
        rates: `ts_ms` and `interval_hours` of the payments in `span`, by time.
        span: The part of the day; its whole hours are counted.
    """
    paid = list(rates)
    if not paid:
        return (span.end_ms - span.start_ms) // HOUR_MS
    missing, before_ms = 0, None
    for ts_ms, hours in paid:
        due_ms = ts_ms - hours * HOUR_MS
        if before_ms is None:
            missing += hours * max(0, (due_ms - span.start_ms) // (hours * HOUR_MS) + 1)
        else:
            missing += max(0, due_ms - before_ms) // HOUR_MS
        before_ms = ts_ms
    last_ms, hours = paid[-1]
    return missing + hours * max(0, (span.end_ms - 1 - last_ms) // (hours * HOUR_MS))


def number_columns(names: Iterable[str]) -> str:
    """Return the SQL that selects columns as numbers, even if a user has stored text in them."""
    whole = ("ts_ms", "minutes", "interval_hours")
    return ", ".join(f"CAST({name} AS {'INTEGER' if name in whole else 'REAL'})" for name in names)


def _read_rows(query: Query, series: Series, dataset: str, span: Span) -> list[tuple[Any, ...]]:
    return query(
        f'SELECT {number_columns(columns_of(dataset))} FROM "{dataset}"'
        " WHERE venue = ? AND symbol = ? AND ts_ms >= ? AND ts_ms < ? ORDER BY ts_ms",
        (series.venue, series.symbol, span.start_ms, span.end_ms),
    )


def _day(row: tuple[Any, ...]) -> LedgerDay:
    day_ms, start_ms, end_ms, bars, missing, source, digest, built_from = row
    return LedgerDay(
        day_ms=day_ms,
        start_ms=start_ms,
        end_ms=end_ms,
        bars=bars,
        missing=missing,
        source=source,
        digest=digest or None,
        built_from=built_from or None,
    )
