"""Fill gaps in the ledger from a venue's history, import files, compare stored bars with a venue.

Each piece of history is committed together with its ledger rows, some days at once. A killed run
leaves whole pieces, and the next run fetches only the missing ones.
"""

from __future__ import annotations

import random
import shutil
import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Self, TextIO, cast

import msgspec
import numpy as np
import pyarrow as pa

from tbv8.config.records import Venue
from tbv8.coverage import by_month, connected, gaps, merge, missing_spans
from tbv8.errors import DataError, VenueError
from tbv8.market import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    ONE_MINUTE,
    Series,
    Span,
    iso,
    iso_day,
    parse_timeframe,
)
from tbv8.progress import progress
from tbv8.store.bars import (
    BarStore,
    CompleteSpan,
    open_bars,
    rows_within,
    schema_of,
    write_history,
    write_pieces,
)
from tbv8.store.database import watch_files
from tbv8.store.ledger import (
    FUNDING,
    HISTORY,
    NOT_LISTED,
    LedgerDay,
    read_covered_spans,
    read_days,
    read_outdated_spans,
)
from tbv8.store.natives import NativeMarket, claim_native, is_changed, read_native
from tbv8.store.verify import DayProblem
from tbv8.text import counted, one_line
from tbv8.venues.base import Endpoints, FetchedSpan, History, HistorySource, RowsWithReach
from tbv8.venues.files.index import file_source
from tbv8.venues.files.read import read_file
from tbv8.venues.units import UnitRows, unit_bars

_MONTH = parse_timeframe("1M")
_BATCH_MINUTES = 28 * DAY_MS // MINUTE_MS
_BATCH_S = 0.5
_LABELS = {HISTORY: "backfill", FUNDING: "funding of"}
_ROW_BYTES = 92  # of a 1m bar in SQLite with its venue and symbol; measured: 89 for BTC/USDT
_ZONE_CURE = "add --zone with the zone of its times, such as UTC or Europe/Berlin"


def backfill(
    db_path: Path,
    series: Series,
    spans: Sequence[Span],
    *,
    venue: Venue,
    now_ms: int,
    dataset: str = HISTORY,
) -> None:
    """Fill `ohlcv_1m` or `funding` and the ledger for wanted spans of a series; repeatable.

    Raises:
        VenueError: The venue does not know the symbol, refuses, or is out of reach.
        DataError: The database is damaged or locked, or its disk is full or about to be.
    """
    source = _source(venue, dataset)
    with open_bars(db_path) as store, watch_files(store.files):
        missing = missing_spans(spans, read_covered_spans(store.query, series, dataset))
        if source.files is not None:
            files = source.files(venue.symbols[series.symbol] or series.symbol)
            missing = merge([*missing, *read_outdated_spans(store.query, series, files)])
        if not missing and not _is_changed(store, series, venue):
            return
        writer = _HistoryWriter(store, series, dataset, now_ms)
        with open_symbol_history(series, venue, dataset) as symbol_history:
            _claim(store, series, venue, symbol_history.native)
            writer.write_not_listed(_within(missing, Span(0, symbol_history.listed_ms)))
            fetchable = _within(missing, symbol_history.past)
            if not fetchable:
                return
            clock_ms = symbol_history.clock_ms
            # from the first of the month, since the month of the listing is one file
            available = Span(_MONTH.floor(symbol_history.listed_ms), clock_ms)
            cost = source.cost(_within(missing, available), clock_ms)
            _print_line(series, str(cost))
            if dataset == HISTORY:
                _check_disk(db_path, sum(span.minutes for span in fetchable))
            try:
                _fetch(symbol_history, fetchable, writer, label=f"{_LABELS[dataset]} {series}")
            except VenueError as e:
                if writer.written:
                    raise VenueError(f"{e}; fetched data is kept") from e
                raise
            if unpublished := [gap for span in fetchable for gap in gaps(span, writer.written)]:
                _print_line(series, _unpublished_text(unpublished, dataset))


def _fetch(
    symbol_history: SymbolHistory, spans: Sequence[Span], writer: _HistoryWriter, *, label: str
) -> None:
    """Fetch and write spans of a series, and show the progress: in minutes, of funding in hours."""
    noun, unit_ms = ("hour", HOUR_MS) if writer.dataset == FUNDING else ("minute", MINUTE_MS)

    def units(span: Span) -> int:  # the pieces of a span add up to the same number
        return span.end_ms // unit_ms - span.start_ms // unit_ms

    with (
        closing(symbol_history.history.fetch(symbol_history.native, spans)) as pieces,
        progress(label, sum(map(units, spans)), noun) as advance,
        writer,
    ):
        bars = minutes = 0
        for piece in pieces:
            writer.add(piece)
            advance(units(piece.span))
            bars, minutes = bars + piece.bars.num_rows, minutes + piece.span.minutes
        if noun == "minute" and bars < minutes:
            _print_line(writer.series, f"{bars:,} bars, {minutes - bars:,} minutes without one")


class _HistoryWriter:
    """A writer that commits several pieces at once: 2.4 times as fast as one per day (measured).

    A transaction has the pieces of half a second, or a month of days, and takes less than a second.
    A piece longer than a day is committed at once, since the next one may be slow to fetch. The end
    of the `with` commits the remaining pieces, also after an exception.
    """

    def __init__(self, store: BarStore, series: Series, dataset: str, now_ms: int) -> None:
        self._store, self.series, self.dataset, self._now_ms = store, series, dataset, now_ms
        self._waiting: list[FetchedSpan] = []
        self._since_s = 0.0
        self.written: list[Span] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._commit()

    def add(self, piece: FetchedSpan) -> None:
        """Add the next piece, in time order, and commit the waiting pieces if they are due."""
        if not self._waiting:
            self._since_s = time.monotonic()
        self._waiting.append(piece)
        minutes = sum(waiting.span.minutes for waiting in self._waiting)
        is_long = piece.span.minutes > DAY_MS // MINUTE_MS
        is_late = time.monotonic() - self._since_s >= _BATCH_S
        if is_long or is_late or minutes >= _BATCH_MINUTES:
            self._commit()

    def _commit(self) -> None:
        pieces, self._waiting = self._waiting, []
        if not pieces:
            return
        complete_spans = [CompleteSpan(piece.span, piece.bars, piece.source) for piece in pieces]
        write_pieces(
            self._store, self.series, complete_spans, updated_ms=self._now_ms, dataset=self.dataset
        )
        self.written += [piece.span for piece in pieces]
        for piece in pieces:
            for note in piece.notes:
                _print_line(self.series, note)

    def write_not_listed(self, spans: Sequence[Span]) -> None:
        """Record in the ledger that spans before the listing are empty."""
        empty = schema_of(self.dataset).empty_table()
        complete_spans = [CompleteSpan(span, empty, NOT_LISTED) for span in spans]
        write_pieces(
            self._store, self.series, complete_spans, updated_ms=self._now_ms, dataset=self.dataset
        )


def _market(series: Series, venue: Venue, native: str) -> NativeMarket:
    """Return the market that a venue's file configures; `native` is the full native symbol."""
    return NativeMarket(
        native=venue.market_name(native),
        setting=venue.market_name(venue.symbols[series.symbol]),
        multiplier=venue.multiplier(series.symbol),
    )


def _is_changed(store: BarStore, series: Series, venue: Venue) -> bool:
    stored, configured = read_native(store.query, series), _market(series, venue, "")
    return is_changed(stored, configured, any_name=venue.has_files)


def _claim(store: BarStore, series: Series, venue: Venue, native: str) -> None:
    market = _market(series, venue, native)
    claim_native(store, series, market, any_name=venue.has_files)


def check_market(db_path: Path, series: Series, *, venue: Venue) -> None:
    """Refuse a series whose stored rows are of another market or unit than its venue's file has.

    Raises:
        ConfigError: The rows are of another market or unit.
        VenueError: Only the venue knows its native symbol, and is out of reach.
    """
    with open_bars(db_path) as store, watch_files(store.files):
        if not _is_changed(store, series, venue):
            return
        if venue.history is None:
            _claim(store, series, venue, _imported_native(series, venue))
            return
        with _open_session(venue, series) as history:
            _claim(store, series, venue, _native(history, series, venue))


def _imported_native(series: Series, venue: Venue) -> str:
    return venue.symbols[series.symbol] or series.symbol


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
    _print_line(series, bars.note(str(path)))
    table = unit_bars(bars.table, venue.multiplier(series.symbol))
    with open_bars(db_path) as store, watch_files(store.files):
        _claim(store, series, venue, _imported_native(series, venue))
        covered_spans = read_covered_spans(store.query, series, HISTORY)
        overlap = [part for span in covered_spans if (part := span.intersection(bars.span))]
        months = (month for part in overlap for month in by_month(part))
        changed = sum(_count_changed(store, series, rows_within(table, m), m) for m in months)
        if changed:
            minutes = f"{changed:,} of the stored minutes of {series}"
            if not may_replace(f"{minutes} differ from {path}"):
                return None
            _print_line(series, f"{changed:,} stored minutes are replaced")
        span = connected(bars.span, covered_spans)
        _check_disk(db_path, span.minutes)
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
        _print_line(
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


def check_symbols(to_check: Sequence[Series], *, venue: Venue) -> None:
    """Check that a venue knows each symbol, by fetching its first bar.

    Raises:
        VenueError: The venue does not know one of them, refuses, or is out of reach.
    """
    if to_check:
        with _open_session(venue, venue.name) as history:
            for series in to_check:
                history.first_ms(_native(history, series, venue))


def reach(series: Series, *, venue: Venue) -> str | None:
    """Return a line about the age of the venue's oldest 1m bars; None if it is known without it.

    Raises:
        VenueError: The venue does not know the symbol, refuses, or is out of reach.
    """
    if not _source(venue, HISTORY).reach:
        return None
    with _open_session(venue, series, out=sys.stderr) as history:  # stdout may be JSON
        return cast(RowsWithReach, history.rows).reach(_native(history, series, venue))


def recheck_missing(
    db_path: Path,
    series: Series,
    spans: Sequence[Span],
    *,
    venue: Venue,
    now_ms: int,
) -> None:
    """Fetch the minutes of `spans` again that the ledger records as missing at the venue.

    Stored bars stay, new ones are added, and a line is printed for each changed day. Repeatable.

    Raises:
        VenueError: The venue does not know the symbol, refuses, or is out of reach.
        DataError: A day was changed outside of tbv8, or the database cannot be used.
    """
    with open_bars(db_path) as store, watch_files(store.files):
        missing = merge(
            run.intersection(span)
            for day in read_days(store.query, series, HISTORY)
            if day.missing and day.source != NOT_LISTED
            for span in spans
            if day.span.intersection(span)
            for run in _missing_spans(store, series, day)
        )
        if not missing:
            return
        with open_symbol_history(series, venue) as symbol_history:
            missing = _within(missing, symbol_history.past)
            minutes = sum(span.minutes for span in missing)
            found = 0
            with closing(symbol_history.history.fetch(symbol_history.native, missing)) as pieces:
                for piece in pieces:
                    if piece.bars.num_rows:
                        _write(store, series, piece, now_ms)
                        found += piece.bars.num_rows
                        _print_line(series, _found_text(piece))
            _print_line(series, f"fetched {minutes:,} missing minutes again: {found:,} found")


def draw_hours(
    store: BarStore, available_spans: Mapping[Series, Span], *, count: int, seed: int
) -> dict[Series, list[Span]]:
    """Return random stored hours of some series, after their listing, in time order.

    The same `seed` draws the same hours from the same ledger.

    Args:
        store: The database.
        available_spans: For each series, the span of history that its venue still has.
        count: The number of hours of all series together.
        seed: The seed of the random numbers.
    """
    days = [
        (series, part)
        for series, available_span in available_spans.items()
        for day in read_days(store.query, series, HISTORY, available_span)
        if day.source != NOT_LISTED and (part := day.span.intersection(available_span))
    ]
    ends = list(accumulate(len(_hours(span)) for _, span in days))
    total = ends[-1] if ends else 0
    drawn: dict[Series, list[Span]] = {}
    for index in sorted(random.Random(seed).sample(range(total), min(count, total))):
        number = bisect_right(ends, index)
        series, span = days[number]
        hours = _hours(span)
        start_ms = hours[index - ends[number]]  # counted from the end of the day
        hour = Span(start_ms, start_ms + HOUR_MS).intersection(span)
        drawn.setdefault(series, []).append(hour)
    return drawn


def compare(
    store: BarStore, series: Series, spans: Sequence[Span], *, venue: Venue
) -> Iterator[DayProblem]:
    """Yield the differences between stored bars and those of the venue's API, in time order.

    Raises:
        VenueError: The venue does not know the symbol, refuses, or is out of reach.
    """
    with open_symbol_history(series, venue) as symbol_history:
        for span in _within(spans, symbol_history.past):
            stored = _rows(store.read(series, HISTORY, span))
            at_venue = _rows(symbol_history.history.fetch_direct(symbol_history.native, span))
            for ts_ms in sorted({*stored, *at_venue}):
                if stored.get(ts_ms) != at_venue.get(ts_ms):
                    bar, venue_bar = _bar(stored, ts_ms), _bar(at_venue, ts_ms)
                    difference = f"{iso(ts_ms)} is {bar}, at the venue {venue_bar}"
                    day_ms = ts_ms // DAY_MS * DAY_MS
                    yield DayProblem(series.venue, series.symbol, HISTORY, day_ms, difference)


class SymbolHistory(msgspec.Struct, frozen=True, kw_only=True):
    """An open session with the history of one symbol at its venue; the clock is the venue's."""

    history: History
    native: str
    listed_ms: int
    clock_ms: int

    @property
    def past(self) -> Span:
        """The span from its listing to the last complete minute."""
        return Span(self.listed_ms, max(self.listed_ms, self.clock_ms))


@contextmanager
def open_symbol_history(
    series: Series, venue: Venue, dataset: str = HISTORY
) -> Iterator[SymbolHistory]:
    """Open a session with the history of a series; it prints long waits.

    Raises:
        VenueError: The venue does not know the symbol, refuses, or is out of reach.
    """
    with _open_session(venue, series, dataset) as history:
        native = _native(history, series, venue)
        listed_ms, clock_ms = history.first_ms(native), history.clock_ms()
        if listed_ms > clock_ms:
            raise VenueError(
                f"{series}: the venue dates its first bar {iso(listed_ms)}, where its clock shows "
                f"{iso(clock_ms)}: run the same command again later"
            )
        multiplier = venue.multiplier(series.symbol)
        if dataset == HISTORY and multiplier != 1:
            history.rows = UnitRows(history.rows, multiplier)
        yield SymbolHistory(
            history=history,
            native=native,
            listed_ms=ONE_MINUTE.floor(listed_ms),
            clock_ms=ONE_MINUTE.floor(clock_ms),
        )


def _open_session(
    venue: Venue, subject: Series | str, dataset: str = HISTORY, *, out: TextIO | None = None
) -> History:
    endpoints = Endpoints(
        ws_url=venue.ws_url,
        rest_url=venue.rest_url,
        archive_url=venue.archive_url,
        redirect_hosts=venue.redirect_hosts,
    )
    return _source(venue, dataset).open(endpoints, lambda line: _print_line(subject, line, out=out))


def _source(venue: Venue, dataset: str) -> HistorySource:
    if (source := venue.history_of(dataset)) is None:
        noun = "funding" if dataset == FUNDING else "history"
        raise VenueError(f"{venue.name}: tbv8 has no {noun} of this venue")
    return source


def _native(history: History, series: Series, venue: Venue) -> str:
    return venue.symbols[series.symbol] or history.native_symbol(series.symbol)


def _write(store: BarStore, series: Series, piece: FetchedSpan, now_ms: int) -> None:
    write_history(store, series, piece.span, piece.bars, source=piece.source, updated_ms=now_ms)
    for note in piece.notes:
        _print_line(series, note)


def _check_disk(db_path: Path, minutes: int) -> None:
    """Refuse bars that would fill the disk; the month being written takes twice its space."""
    needed = (minutes + min(minutes, 31 * DAY_MS // MINUTE_MS)) * _ROW_BYTES
    free = shutil.disk_usage(db_path.parent).free
    if free < needed:
        raise DataError(
            f"{db_path}: {counted(minutes, 'bar')} take about {_megabytes(needed)}, but "
            f"{_megabytes(free)} are free on its disk: free some space, set another db_path in "
            "config/data.yaml, or a later start_date in config/history.yaml"
        )


def _missing_spans(store: BarStore, series: Series, day: LedgerDay) -> list[Span]:
    opens = store.read(series, HISTORY, day.span)["ts_ms"].to_pylist()
    return gaps(day.span, [Span(ts_ms, ts_ms + MINUTE_MS) for ts_ms in opens])


def _hours(span: Span) -> range:
    return range(span.start_ms // HOUR_MS * HOUR_MS, span.end_ms, HOUR_MS)


def _rows(bars: pa.Table) -> dict[int, tuple[float, ...]]:
    opens, *values = (column.to_pylist() for column in bars.columns)
    return dict(zip(opens, zip(*values, strict=True), strict=True))


def _bar(bars: Mapping[int, tuple[float, ...]], ts_ms: int) -> str:
    return ", ".join(map(repr, bars[ts_ms])) if ts_ms in bars else "no bar"


def _found_text(piece: FetchedSpan) -> str:
    day = iso_day(piece.span.start_ms)
    return (
        f"{day}: {piece.bars.num_rows} of {piece.span.minutes} missing minutes found, "
        f"from {iso(piece.bars['ts_ms'][0].as_py())} on"
    )


def _unpublished_text(spans: Sequence[Span], dataset: str) -> str:
    if dataset == FUNDING:
        since = iso(spans[0].start_ms)
        return f"the funding from {since} on is not published yet: the next run fetches it"
    minutes = sum(span.minutes for span in spans)
    return (
        f"the venue has no bar from {iso(spans[0].start_ms)} on yet: the next run fetches "
        f"{counted(minutes, 'minute')}"
    )


def _within(spans: Sequence[Span], limits: Span) -> list[Span]:
    return merge(span.intersection(limits) for span in spans)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _print_line(subject: Series | str, line: str, *, out: TextIO | None = None) -> None:
    print(f"   {subject}: {one_line(line)}", file=out, flush=True)
