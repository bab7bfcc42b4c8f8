"""From gaps in the ledger, through a venue's history, into the store.

Each piece that a venue yields is committed with its ledger rows: a run that dies leaves whole
pieces, and the next one asks only for what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tbv8.config import Venue
from tbv8.coverage import merge, missing_spans
from tbv8.market import ONE_MINUTE, Series, Span
from tbv8.progress import progress
from tbv8.store.bars import MINUTE_BARS, BarStore, open_bars, write_history
from tbv8.store.ledger import HISTORY, NOT_LISTED, covered
from tbv8.venues.base import Endpoints, Fetched, history_cost, open_history


def backfill(
    db_path: Path, series: Series, spans: Sequence[Span], *, venue: Venue, now_ms: int
) -> None:
    """Fill `ohlcv_1m` and the ledger for the wanted spans of a series; repeatable.

    Raises:
        VenueError: The venue does not know the symbol, refuses, or is out of reach.
        DataError: The database is damaged, locked, or its disk is full.
    """
    endpoints = Endpoints(
        ws_url=venue.ws_url, rest_url=venue.rest_url, archive_url=venue.archive_url
    )
    with open_bars(db_path) as store:
        gaps = missing_spans(spans, covered(store.query, series, HISTORY))
        if not gaps:
            return
        print(f"   {series}: {history_cost(series.venue, gaps, now_ms)}", flush=True)
        with open_history(series.venue, endpoints) as history:
            native = venue.symbols[series.symbol] or history.native_symbol(series.symbol)
            listed_ms = ONE_MINUTE.floor(history.listed_ms(native))
            clock_ms = ONE_MINUTE.floor(history.clock_ms())
            _note_not_listed(store, series, _cut(gaps, Span(0, listed_ms)), now_ms)
            wanted = _cut(gaps, Span(listed_ms, clock_ms))
            minutes = sum(span.minutes for span in wanted)
            with (
                closing(history.fetch(native, wanted)) as pieces,
                progress(f"backfill {series}", minutes, "minutes") as advance,
            ):
                for piece in pieces:
                    _write(store, series, piece, now_ms)
                    advance(piece.span.minutes)


def _write(store: BarStore, series: Series, piece: Fetched, now_ms: int) -> None:
    write_history(store, series, piece.span, piece.bars, source=piece.source, updated_ms=now_ms)
    for note in piece.notes:
        print(f"   {series}: {note}", flush=True)


def _note_not_listed(store: BarStore, series: Series, gaps: Sequence[Span], now_ms: int) -> None:
    for gap in gaps:
        write_history(
            store,
            series,
            gap,
            MINUTE_BARS.empty_table(),
            source=NOT_LISTED,
            updated_ms=now_ms,
        )


def _cut(gaps: Sequence[Span], limits: Span) -> list[Span]:
    return merge(gap.intersection(limits) for gap in gaps)
