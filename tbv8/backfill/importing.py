"""Import files of 1m bars into the ledger."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from tbv8.backfill.target import check_disk, claim, imported_native, print_line
from tbv8.config.records import Venue
from tbv8.coverage import by_month, connected
from tbv8.market import MINUTE_MS, Series, Span, iso
from tbv8.progress import progress
from tbv8.store.bars import BarStore, open_bars, rows_within, write_history
from tbv8.store.database import watch_files
from tbv8.store.ledger import HISTORY, read_covered_spans
from tbv8.text import counted
from tbv8.venues.files.index import file_source
from tbv8.venues.files.read import read_file
from tbv8.venues.units import unit_bars

_ZONE_CURE = "add --zone with the zone of its times, such as UTC or Europe/Berlin"


def import_file(
    db_path: Path,
    series: Series,
    path: Path,
    *,
    venue: Venue,
    now_ms: int,
    may_replace: Callable[[str], bool],
    zone: str = "",
) -> Span | None:
    """Write the bars of a file into `ohlcv_1m` and the ledger; repeatable.

    Args:
        db_path: The database.
        series: Where the bars are stored.
        path: The file.
        venue: The venue of the series.
        now_ms: The clock.
        may_replace: Called with the problem before stored bars are replaced by different ones.
        zone: The time zone of times without one in the file; "" if there are none.

    Returns:
        The span from the file's first bar to its last one; absent minutes in it count as missing.
        None if `may_replace` returned False, so that nothing was written.

    Raises:
        DataError: It is not a file of 1m bars, or the database cannot be used.
        ConfigError: The stored bars are of another market or unit than the venue's file has.
    """
    bars = read_file(path, name=str(path), zone=zone, zone_cure=_ZONE_CURE)
    source = file_source(path.as_posix(), bars.sha256, zone=zone)
    print_line(series, bars.note(str(path)))
    table = unit_bars(bars.table, venue.multiplier(series.symbol))
    with open_bars(db_path) as store, watch_files(store.files):
        claim(store, series, venue, imported_native(series, venue))
        covered_spans = read_covered_spans(store.query, series, HISTORY)
        overlap = [part for span in covered_spans if (part := span.intersection(bars.span))]
        months = (month for part in overlap for month in by_month(part))
        changed = sum(_count_changed(store, series, rows_within(table, m), m) for m in months)
        if changed:
            minutes = f"{changed:,} of the stored minutes of {series}"
            if not may_replace(f"{minutes} differ from {path}"):
                return None
            print_line(series, f"{changed:,} stored minutes are replaced")
        span = connected(bars.span, covered_spans)
        check_disk(db_path, span.minutes)
        with progress(f"import {series}", span.minutes, "minute") as advance:
            for part in by_month(span):
                rows = rows_within(table, part)
                write_history(store, series, part, rows, source=source, updated_ms=now_ms)
                advance(part.minutes)
        _print_kept_minutes(store, series, bars.span)
    return bars.span


def _print_kept_minutes(store: BarStore, series: Series, span: Span) -> None:
    """Print the number of stored minutes outside of an import's span, which it keeps."""
    place = "FROM ohlcv_1m WHERE venue = ? AND symbol = ? AND (ts_ms < ? OR ts_ms >= ?)"
    values = (series.venue, series.symbol, span.start_ms, span.end_ms)
    columns = "count(*), CAST(min(ts_ms) AS INTEGER), CAST(max(ts_ms) AS INTEGER)"
    ((minutes, first_ms, last_ms),) = store.query(f"SELECT {columns} {place}", values)
    if minutes:
        verb = "stays" if minutes == 1 else "stay"
        cure = f"`doit prune --everything --venue {series.venue} --symbol {series.symbol}`"
        print_line(
            series,
            f"{counted(minutes, 'minute')} of earlier imports {verb}, between {iso(first_ms)} and "
            f"{iso(last_ms + MINUTE_MS)}: {cure} drops the whole series",
        )


def _count_changed(store: BarStore, series: Series, new: pa.Table, span: Span) -> int:
    """Return the number of stored bars of a span that `new` would change or remove."""
    stored = store.read(series, HISTORY, span)
    if not stored.num_rows or not new.num_rows:
        return int(stored.num_rows)
    opens = stored["ts_ms"].to_numpy()
    index = np.searchsorted(new["ts_ms"].to_numpy(), opens).clip(max=new.num_rows - 1)
    same = [stored[name].to_numpy() == new[name].to_numpy()[index] for name in new.column_names]
    return int((~np.logical_and.reduce(same)).sum())
