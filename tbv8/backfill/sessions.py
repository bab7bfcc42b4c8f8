"""Sessions with the history of a venue and of one of its symbols."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO, cast

import msgspec

from tbv8.backfill.target import print_line
from tbv8.config.records import Venue
from tbv8.coverage import merge
from tbv8.errors import VenueError
from tbv8.market import ONE_MINUTE, Series, Span, iso
from tbv8.store.ledger import FUNDING, HISTORY
from tbv8.venues.base import Endpoints, History, HistorySource, RowsWithReach
from tbv8.venues.units import UnitRows


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
    with open_session(venue, series, dataset) as history:
        native = native_symbol(history, series, venue)
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


def check_symbols(to_check: Sequence[Series], *, venue: Venue) -> None:
    """Check that a venue knows each symbol, by fetching its first bar.

    Raises:
        VenueError: The venue does not know one of them, refuses, or is out of reach.
    """
    if to_check:
        with open_session(venue, venue.name) as history:
            for series in to_check:
                history.first_ms(native_symbol(history, series, venue))


def reach(series: Series, *, venue: Venue) -> str | None:
    """Return a line about the age of the venue's oldest 1m bars; None if it is known without it.

    Raises:
        VenueError: The venue does not know the symbol, refuses, or is out of reach.
    """
    if not history_source(venue, HISTORY).reach:
        return None
    with open_session(venue, series, out=sys.stderr) as history:  # stdout may be JSON
        return cast(RowsWithReach, history.rows).reach(native_symbol(history, series, venue))


def open_session(
    venue: Venue, subject: Series | str, dataset: str = HISTORY, *, out: TextIO | None = None
) -> History:
    """Open a session with the history of a venue; it prints long waits."""
    endpoints = Endpoints(
        ws_url=venue.ws_url,
        rest_url=venue.rest_url,
        archive_url=venue.archive_url,
        redirect_hosts=venue.redirect_hosts,
    )
    return history_source(venue, dataset).open(
        endpoints, lambda line: print_line(subject, line, out=out)
    )


def history_source(venue: Venue, dataset: str) -> HistorySource:
    """Return the source of a venue's bars or funding.

    Raises:
        VenueError: It has none.
    """
    if (source := venue.history_of(dataset)) is None:
        noun = "funding" if dataset == FUNDING else "history"
        raise VenueError(f"{venue.name}: tbv8 has no {noun} of this venue")
    return source


def native_symbol(history: History, series: Series, venue: Venue) -> str:
    """Return the native symbol of a series, by the venue's file or the venue's own rule."""
    return venue.symbols[series.symbol] or history.native_symbol(series.symbol)


def within(spans: Sequence[Span], limits: Span) -> list[Span]:
    """Return the parts of spans that lie within the limits."""
    return merge(span.intersection(limits) for span in spans)
