"""Build the bars of a timeframe, and their ledger, from stored 1m bars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tbv8.aggregate import aggregate
from tbv8.errors import DataError
from tbv8.freshness.data import BuildableDay, buildable_days, built_from, find_stale_days
from tbv8.market import DAY_MS, ONE_MINUTE, Series, Span, Timeframe, parse_dataset
from tbv8.progress import progress
from tbv8.store.bars import (
    BarStore,
    changed_day,
    day_digests,
    open_bars,
    read_checked_days,
    rows_within,
)
from tbv8.store.database import open_reader
from tbv8.store.ledger import EMPTY_DIGEST, LedgerDay, StoredDay, read_days, read_stored_days

SOURCE = "built"


def build_bars(
    db_path: Path, series: Series, timeframe: Timeframe, *, chunk_days: int, now_ms: int
) -> None:
    """Build every day of a timeframe that is missing or stale; repeatable.

    Args:
        db_path: The database.
        series: The series.
        timeframe: The timeframe, above 1m.
        chunk_days: The largest number of days of 1m bars in memory at once, but at least those of
            one bar. The result does not depend on it.
        now_ms: The clock, for the ledger.

    Raises:
        DataError: A 1m day was changed outside of tbv8, or the database cannot be used.
    """
    if not _has_table(db_path, timeframe):
        _make_table(db_path, timeframe)
    with open_bars(db_path) as store:
        minutes = read_stored_days(store.query, series, ONE_MINUTE)
        for day in minutes:
            if day.ledger.digest is None:
                raise DataError(changed_day(series, day.dataset, day.ledger.day_ms))
        builds = find_stale_days(
            buildable_days(minutes, timeframe), read_days(store.query, series, timeframe.dataset)
        )
        for day_ms in builds.without_minutes:
            with store.transaction():
                store.remove_day(series, timeframe.dataset, day_ms)
        finer = _finer_timeframes(store, series, timeframe)
        label = f"aggregate {series} {timeframe}"
        with progress(label, len(builds.days), "day") as advance:
            for chunk in _chunks(builds.days, chunk_days):
                _build(store, series, timeframe, chunk, finer, now_ms)
                advance(len(chunk))


def _has_table(db_path: Path, timeframe: Timeframe) -> bool:
    with open_reader(db_path) as query:
        return bool(query("SELECT 1 FROM sqlite_master WHERE name = ?", (timeframe.dataset,)))


def _make_table(db_path: Path, timeframe: Timeframe) -> None:
    from tbv8.store.schema import create_bars_table

    create_bars_table(db_path, timeframe)


def _chunks(days: Sequence[BuildableDay], chunk_days: int) -> Iterator[list[BuildableDay]]:
    """Split days into chunks of at most `chunk_days` consecutive days; a longer day is a chunk."""
    chunk: list[BuildableDay] = []
    for day in days:
        if chunk and (
            day.span.start_ms != chunk[-1].span.end_ms
            or day.span.end_ms - chunk[0].span.start_ms > chunk_days * DAY_MS
        ):
            yield chunk
            chunk = []
        chunk.append(day)
    if chunk:
        yield chunk


def _build(
    store: BarStore,
    series: Series,
    timeframe: Timeframe,
    chunk: Sequence[BuildableDay],
    finer: Sequence[Timeframe],
    now_ms: int,
) -> None:
    filled = Span(chunk[0].span.start_ms, chunk[-1].span.end_ms)
    with store.transaction("DEFERRED"):
        minutes = read_stored_days(store.query, series, ONE_MINUTE, filled)
        bars = _read_source(store, series, finer, minutes, filled)
    chunk_days = {day.day_ms for day in chunk}
    days = [day for day in buildable_days(minutes, timeframe) if day.day_ms in chunk_days]
    if not days:
        return
    table = aggregate(
        rows_within(bars, Span(days[0].span.start_ms, days[-1].span.end_ms)), timeframe
    )
    digests = day_digests(table)
    minutes_by_day = _minutes_by_day(table)
    opens = Span(days[0].day_ms, days[-1].day_ms + DAY_MS)
    with store.transaction():
        store.replace_rows(series, timeframe.dataset, opens, table)
        ledger = []
        for day in days:
            count, digest = digests.get(day.day_ms, (0, EMPTY_DIGEST))
            ledger.append(
                LedgerDay(
                    day_ms=day.day_ms,
                    start_ms=day.span.start_ms,
                    end_ms=day.span.end_ms,
                    bars=count,
                    missing=day.span.minutes - minutes_by_day.get(day.day_ms, 0),
                    source=SOURCE,
                    digest=digest,
                    built_from=built_from(day),
                )
            )
        store.write_days(series, timeframe.dataset, ledger, updated_ms=now_ms)


def _finer_timeframes(store: BarStore, series: Series, timeframe: Timeframe) -> list[Timeframe]:
    """Return the built timeframes whose bars nest in those of `timeframe`, the longest first."""
    rows = store.query(
        "SELECT DISTINCT dataset FROM history_coverage"
        " WHERE venue = ? AND symbol = ? AND source = ?",
        (series.venue, series.symbol, SOURCE),
    )
    lengths = {
        length: built
        for built in (parse_dataset(str(name)) for (name,) in rows)
        if (length := built.fixed_ms) and DAY_MS % length == 0
    }
    whole = timeframe.fixed_ms or DAY_MS
    return [
        lengths[length]
        for length in sorted(lengths, reverse=True)
        if whole % length == 0 and lengths[length] != timeframe
    ]


def _read_source(
    store: BarStore,
    series: Series,
    finer: Sequence[Timeframe],
    minutes: Sequence[StoredDay],
    filled: Span,
) -> pa.Table:
    """Return the checked bars to build `filled` from: the longest that give the same result.

    Reading takes most of the time, and a day has 1440 minutes but 96 quarters of an hour. Built
    bars give the same result if they come from the same 1m days and no volume was rounded.
    """
    for timeframe in finer:
        buildable = (
            day for day in buildable_days(minutes, timeframe) if day.span.intersection(filled)
        )
        built = read_stored_days(store.query, series, timeframe, filled)
        builds = find_stale_days(buildable, [day.ledger for day in built])
        if not builds.days and not builds.without_minutes:
            bars = read_checked_days(store, series, built)
            if _is_exact(bars["volume"].to_numpy()):
                return bars
    return read_checked_days(store, series, minutes)


def _is_exact(volumes: npt.NDArray[np.float64]) -> bool:
    """Return True if float64 is exact for each volume: a multiple of 1e-8, at most 15 digits."""
    small = bool((volumes < 1e7).all())
    return small and bool((np.rint(volumes * 1e8) / 1e8 == volumes).all())


def _minutes_by_day(table: pa.Table) -> dict[int, int]:
    """Return the number of 1m bars in the bars that open on each UTC day."""
    days = pc.multiply(pc.divide(table["ts_ms"], DAY_MS), DAY_MS)
    sums = pa.table({"day": days, "minutes": table["minutes"]}).group_by("day")
    totals = sums.aggregate([("minutes", "sum")]).to_pydict()
    return dict(zip(totals["day"], totals["minutes_sum"], strict=True))
