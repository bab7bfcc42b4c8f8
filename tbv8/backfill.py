"""From gaps in the ledger, through a venue's history, into the store; and held against the venue.

The pieces that a venue yields are committed with their ledger rows, some days at once: a run that
dies leaves whole pieces, and the next one asks only for what is missing.
"""

from __future__ import annotations

import random
import shutil
import sys
import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Self, TextIO, cast

import msgspec
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
    Known,
    cut,
    open_bars,
    schema_of,
    write_history,
    write_pieces,
)
from tbv8.store.database import watched
from tbv8.store.ledger import FUNDING, HISTORY, NOT_LISTED, LedgerDay, covered, outdated, read_days
from tbv8.store.natives import NativeMarket, check_native, is_changed, read_native
from tbv8.store.verify import Problem
from tbv8.text import one_line
from tbv8.venues.base import Endpoints, Fetched, History, HistorySource, ReachingRows
from tbv8.venues.files.index import file_source
from tbv8.venues.files.read import read_bars
from tbv8.venues.units import UnitRows, unit_bars

_MONTH = parse_timeframe("1M")
_BATCH_MINUTES = 28 * DAY_MS // MINUTE_MS
_BATCH_S = 0.5
_VERBS = {HISTORY: "backfill", FUNDING: "funding of"}
_ROW_BYTES = 92
"""Of a 1m bar in SQLite, venue and symbol in each row; measured: 89 of binance_spot BTC/USDT."""


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
    with open_bars(db_path) as store, watched(store.place):
        missing = missing_spans(spans, covered(store.query, series, dataset))
        if source.files is not None:
            files = source.files(venue.symbols[series.symbol] or series.symbol)
            missing = merge([*missing, *outdated(store.query, series, files)])
        # another file's days are outdated, and read again: only their unit must not change
        any_name = source.files is not None
        if not missing and not _is_changed(store, series, venue, any_name=any_name):
            return
        writer = _Writer(store, series, dataset, now_ms)
        with open_market(series, venue, dataset) as market:
            _check_market(store, series, venue, market.native, any_name=any_name)
            writer.write_not_listed(_cut(missing, Span(0, market.listed_ms)))
            fetchable = _cut(missing, market.past)
            if not fetchable:
                return
            from_month = Span(_MONTH.floor(market.listed_ms), market.clock_ms)  # it is one file
            cost = source.cost(_cut(missing, from_month), market.clock_ms)
            _print_line(series, str(cost))
            if dataset == HISTORY:
                _check_disk(db_path, sum(span.minutes for span in fetchable))
            try:
                _fetch(market, fetchable, writer, label=f"{_VERBS[dataset]} {series}")
            except VenueError as e:
                if writer.written:
                    raise VenueError(f"{e}; what was fetched is kept") from e
                raise
            if awaited := [gap for span in fetchable for gap in gaps(span, writer.written)]:
                _print_line(series, _not_yet(awaited, dataset))


def _fetch(market: Market, spans: Sequence[Span], writer: _Writer, *, label: str) -> None:
    """Fetch and write spans of a series, and show the progress; of funding in hours."""
    unit, unit_ms = ("hours", HOUR_MS) if writer.dataset == FUNDING else ("minutes", MINUTE_MS)

    def units(span: Span) -> int:  # of a span in pieces the same number as of the whole
        return span.end_ms // unit_ms - span.start_ms // unit_ms

    with (
        closing(market.history.fetch(market.native, spans)) as pieces,
        progress(label, sum(map(units, spans)), unit) as advance,
        writer,
    ):
        for piece in pieces:
            writer.add(piece)
            advance(units(piece.span))


class _Writer:
    """Commits pieces together: a transaction a day costs more than its rows (measured: 2.4 times).

    Days wait for the next transaction, half a second's or a month of them, which takes less than a
    second; what is longer than a day waits for nothing, since its successor may be long in coming.
    At the end of the `with`, however it comes, what waits is committed.
    """

    def __init__(self, store: BarStore, series: Series, dataset: str, now_ms: int) -> None:
        self._store, self._series, self.dataset, self._now_ms = store, series, dataset, now_ms
        self._waiting: list[Fetched] = []
        self._since_s = 0.0
        self.written: list[Span] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._commit()

    def add(self, piece: Fetched) -> None:
        """Take a piece behind all others, and commit those that wait if it is time."""
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
        known = [Known(piece.span, piece.bars, piece.source) for piece in pieces]
        write_pieces(
            self._store, self._series, known, updated_ms=self._now_ms, dataset=self.dataset
        )
        self.written += [piece.span for piece in pieces]
        for piece in pieces:
            for note in piece.notes:
                _print_line(self._series, note)

    def write_not_listed(self, spans: Sequence[Span]) -> None:
        """Write down that there is nothing in spans before the listing."""
        empty = schema_of(self.dataset).empty_table()
        known = [Known(span, empty, NOT_LISTED) for span in spans]
        write_pieces(
            self._store, self._series, known, updated_ms=self._now_ms, dataset=self.dataset
        )


def _is_changed(store: BarStore, series: Series, venue: Venue, *, any_name: bool) -> bool:
    """Return True if the venue's file has another market for a series than that of its rows."""
    return is_changed(
        _stored_market(store, series, any_name=any_name),
        setting=venue.market_name(venue.symbols[series.symbol]),
        multiplier=venue.multiplier(series.symbol),
    )


def _check_market(
    store: BarStore, series: Series, venue: Venue, native: str, *, any_name: bool
) -> None:
    """Note the market of the rows to come; refuse one that differs from that of the stored rows.

    Raises:
        ConfigError: It does.
    """
    market = NativeMarket(
        native=venue.market_name(native),
        setting=venue.market_name(venue.symbols[series.symbol]),
        multiplier=venue.multiplier(series.symbol),
    )
    stored = _stored_market(store, series, any_name=any_name)
    check_native(stored, market, series)
    if market != stored:
        store.write_native(series, market)


def _stored_market(store: BarStore, series: Series, *, any_name: bool) -> NativeMarket | None:
    stored = read_native(store.query, series)
    if stored is not None and any_name:
        return msgspec.structs.replace(stored, native="")
    return stored


def import_file(db_path: Path, series: Series, path: Path, *, venue: Venue, now_ms: int) -> Span:
    """Write the bars of a file into `ohlcv_1m` and the ledger; repeatable.

    Returns:
        From the file's first bar to its last one. Minutes between them that it lacks are missing.

    Raises:
        DataError: It is no file of 1m bars, or the database cannot be used.
        ConfigError: The stored bars are in units of another multiplier.
    """
    bars = read_bars(path, name=str(path))
    source = file_source(path.as_posix(), bars.sha256)
    _print_line(series, bars.note(str(path)))
    table = unit_bars(bars.table, venue.multiplier(series.symbol))
    with open_bars(db_path) as store, watched(store.place):
        _check_market(store, series, venue, "", any_name=True)
        known = covered(store.query, series, HISTORY)
        if replaced := sum(bars.span.intersection(span).minutes for span in known):
            _print_line(series, f"{replaced:,} minutes that were held are replaced")
        span = connected(bars.span, known)
        _check_disk(db_path, span.minutes)
        with progress(f"import {series}", span.minutes, "minutes") as advance:
            for part in by_month(span):
                rows = cut(table, part)
                write_history(store, series, part, rows, source=source, updated_ms=now_ms)
                advance(part.minutes)
    return bars.span


def check_symbols(to_check: Sequence[Series], *, venue: Venue) -> None:
    """Ask a venue for the first bar of each symbol.

    Raises:
        VenueError: The venue does not know one of them, refuses, or is out of reach.
    """
    if to_check:
        with _open_session(venue, venue.name) as history:
            for series in to_check:
                history.listed_ms(_native(history, series, venue))


def reach(series: Series, *, venue: Venue) -> str | None:
    """Return the age of the venue's oldest 1m bars if only the venue knows it; else None.

    Raises:
        VenueError: The venue does not know the symbol, refuses, or is out of reach.
    """
    if not _source(venue, HISTORY).reach:
        return None
    with _open_session(venue, series, out=sys.stderr) as history:  # stdout may be JSON
        return cast(ReachingRows, history.rows).reach(_native(history, series, venue))


def recheck(
    db_path: Path,
    series: Series,
    spans: Sequence[Span],
    *,
    venue: Venue,
    now_ms: int,
) -> None:
    """Ask again for the minutes of `spans` that the ledger holds as missing at the venue.

    Bars that are held are not touched, those that come are added, and each changed day is told.

    Raises:
        VenueError: The venue does not know the symbol, refuses, or is out of reach.
        DataError: A day was changed outside of tbv8, or the database cannot be used.
    """
    with open_bars(db_path) as store, watched(store.place):
        absent = merge(
            run.intersection(span)
            for day in read_days(store.query, series, HISTORY)
            if day.missing and day.source != NOT_LISTED
            for span in spans
            if day.span.intersection(span)
            for run in _absent(store, series, day)
        )
        if not absent:
            return
        with open_market(series, venue) as market:
            absent = _cut(absent, market.past)
            minutes = sum(span.minutes for span in absent)
            came = 0
            with closing(market.history.fetch(market.native, absent)) as pieces:
                for piece in pieces:
                    if piece.bars.num_rows:
                        _write(store, series, piece, now_ms)
                        came += piece.bars.num_rows
                        _print_line(series, _came(piece))
            _print_line(series, f"asked again for {minutes:,} missing minutes: {came:,} came")


def draw_hours(
    store: BarStore, kept_spans: Mapping[Series, Span], *, count: int, seed: int
) -> dict[Series, list[Span]]:
    """Return random hours of what the ledger knows of the listed time of some series.

    Each by time; the same `seed` draws the same hours of the same ledger.

    Args:
        store: Whose ledger.
        kept_spans: The series, and for what time the venue of each still has history.
        count: How many hours, of all series together.
        seed: Of the random numbers.
    """
    days = [
        (series, part)
        for series, kept in kept_spans.items()
        for day in read_days(store.query, series, HISTORY, kept)
        if day.source != NOT_LISTED and (part := day.span.intersection(kept))
    ]
    ends = list(accumulate(len(_hours(span)) for _, span in days))
    total = ends[-1] if ends else 0
    drawn: dict[Series, list[Span]] = {}
    for at in sorted(random.Random(seed).sample(range(total), min(count, total))):
        number = bisect_right(ends, at)
        series, span = days[number]
        hours = _hours(span)
        start_ms = hours[at - ends[number]]  # counted from the end of the day
        hour = Span(start_ms, start_ms + HOUR_MS).intersection(span)
        drawn.setdefault(series, []).append(hour)
    return drawn


def compare(
    store: BarStore, series: Series, spans: Sequence[Span], *, venue: Venue
) -> Iterator[Problem]:
    """Yield by time where held bars are not those that the venue's own API has.

    Raises:
        VenueError: The venue does not know the symbol, refuses, or is out of reach.
    """
    with open_market(series, venue) as market:
        for span in _cut(spans, market.past):
            here = _rows(store.read(series, HISTORY, span))
            there = _rows(market.history.fetch_direct(market.native, span))
            for ts_ms in sorted({*here, *there}):
                if here.get(ts_ms) != there.get(ts_ms):
                    difference = (
                        f"{iso(ts_ms)} is {_bar(here, ts_ms)}, at the venue {_bar(there, ts_ms)}"
                    )
                    day_ms = ts_ms // DAY_MS * DAY_MS
                    yield Problem(series.venue, series.symbol, HISTORY, day_ms, difference)


class Market(msgspec.Struct, frozen=True, kw_only=True):
    """A symbol at its venue, that the venue knows."""

    history: History
    native: str
    listed_ms: int
    clock_ms: int

    @property
    def past(self) -> Span:
        """From its listing to the last minute that has passed."""
        return Span(self.listed_ms, max(self.listed_ms, self.clock_ms))


@contextmanager
def open_market(series: Series, venue: Venue, dataset: str = HISTORY) -> Iterator[Market]:
    """Open a session with the venue of a series, which may wait for long and then says so.

    Raises:
        VenueError: The venue does not know the symbol, refuses, or is out of reach.
    """
    with _open_session(venue, series, dataset) as history:
        native = _native(history, series, venue)
        listed_ms, clock_ms = history.listed_ms(native), history.clock_ms()
        if listed_ms > clock_ms:
            raise VenueError(
                f"{series}: the venue dates its first bar {iso(listed_ms)}, where its clock shows "
                f"{iso(clock_ms)}: run the same command again later"
            )
        multiplier = venue.multiplier(series.symbol)
        if dataset == HISTORY and multiplier != 1:
            history.rows = UnitRows(history.rows, multiplier)
        yield Market(
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
        what = "funding" if dataset == FUNDING else "history"
        raise VenueError(f"{venue.name}: tbv8 has no {what} of this venue")
    return source


def _native(history: History, series: Series, venue: Venue) -> str:
    return venue.symbols[series.symbol] or history.native_symbol(series.symbol)


def _write(store: BarStore, series: Series, piece: Fetched, now_ms: int) -> None:
    write_history(store, series, piece.span, piece.bars, source=piece.source, updated_ms=now_ms)
    for note in piece.notes:
        _print_line(series, note)


def _check_disk(db_path: Path, minutes: int) -> None:
    """Refuse what would fill the disk: the rows, and once more those of the month being written."""
    needed = (minutes + min(minutes, 31 * DAY_MS // MINUTE_MS)) * _ROW_BYTES
    free = shutil.disk_usage(db_path.parent).free
    if free < needed:
        raise DataError(
            f"{db_path}: {minutes:,} bars take about {_megabytes(needed)}, and {_megabytes(free)} "
            "are free on its disk: free some space, set another db_path in config/data.yaml, or "
            "a later start_date in config/history.yaml"
        )


def _absent(store: BarStore, series: Series, day: LedgerDay) -> list[Span]:
    opens = store.read(series, HISTORY, day.span)["ts_ms"].to_pylist()
    return gaps(day.span, [Span(ts_ms, ts_ms + MINUTE_MS) for ts_ms in opens])


def _hours(span: Span) -> range:
    return range(span.start_ms // HOUR_MS * HOUR_MS, span.end_ms, HOUR_MS)


def _rows(bars: pa.Table) -> dict[int, tuple[float, ...]]:
    opens, *values = (column.to_pylist() for column in bars.columns)
    return dict(zip(opens, zip(*values, strict=True), strict=True))


def _bar(bars: Mapping[int, tuple[float, ...]], ts_ms: int) -> str:
    return ", ".join(map(repr, bars[ts_ms])) if ts_ms in bars else "no bar"


def _came(piece: Fetched) -> str:
    day = iso_day(piece.span.start_ms)
    return (
        f"{day}: {piece.bars.num_rows} of {piece.span.minutes} missing minutes came, "
        f"from {iso(piece.bars['ts_ms'][0].as_py())} on"
    )


def _not_yet(awaited: Sequence[Span], dataset: str) -> str:
    if dataset == FUNDING:
        since = iso(awaited[0].start_ms)
        return f"the funding from {since} on is not told yet: the next run asks again"
    minutes = sum(span.minutes for span in awaited)
    return (
        f"the venue has no bar from {iso(awaited[0].start_ms)} on yet: the next run asks again for "
        f"{minutes:,} minute{'' if minutes == 1 else 's'}"
    )


def _cut(spans: Sequence[Span], limits: Span) -> list[Span]:
    return merge(span.intersection(limits) for span in spans)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _print_line(subject: Series | str, line: str, *, out: TextIO | None = None) -> None:
    print(f"   {subject}: {one_line(line)}", file=out, flush=True)
