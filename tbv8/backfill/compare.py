"""Compare stored bars with those of a venue's API."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

import pyarrow as pa

from tbv8.backfill.sessions import open_symbol_history, within
from tbv8.config.records import Venue
from tbv8.market import DAY_MS, HOUR_MS, Series, Span, iso
from tbv8.store.bars import BarStore
from tbv8.store.ledger import HISTORY, NOT_LISTED, read_days
from tbv8.store.verify import DayProblem


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
        for span in within(spans, symbol_history.past):
            stored = _rows(store.read(series, HISTORY, span))
            at_venue = _rows(symbol_history.history.fetch_direct(symbol_history.native, span))
            for ts_ms in sorted({*stored, *at_venue}):
                if stored.get(ts_ms) != at_venue.get(ts_ms):
                    bar, venue_bar = _bar(stored, ts_ms), _bar(at_venue, ts_ms)
                    difference = f"{iso(ts_ms)} is {bar}, at the venue {venue_bar}"
                    day_ms = ts_ms // DAY_MS * DAY_MS
                    yield DayProblem(series.venue, series.symbol, HISTORY, day_ms, difference)


def _hours(span: Span) -> range:
    return range(span.start_ms // HOUR_MS * HOUR_MS, span.end_ms, HOUR_MS)


def _rows(bars: pa.Table) -> dict[int, tuple[float, ...]]:
    opens, *values = (column.to_pylist() for column in bars.columns)
    return dict(zip(opens, zip(*values, strict=True), strict=True))


def _bar(bars: Mapping[int, tuple[float, ...]], ts_ms: int) -> str:
    return ", ".join(map(repr, bars[ts_ms])) if ts_ms in bars else "no bar"
