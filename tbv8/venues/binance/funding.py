"""A session with the funding history of Binance's perpetuals: monthly files, then REST."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from functools import partial
from multiprocessing.pool import ThreadPool
from typing import TYPE_CHECKING

from tbv8.market import HOUR_MS, Span
from tbv8.text import counted
from tbv8.venues.base import Endpoints, FetchedSpan, History, Payment
from tbv8.venues.binance.archive import UnusableError, parse_rates
from tbv8.venues.binance.files import THREADS, Files, OpenFiles, archive_opener
from tbv8.venues.binance.host import HostOptions
from tbv8.venues.binance.plan import Piece, rate_pieces
from tbv8.venues.binance.product import Product
from tbv8.venues.binance.rest import Rest, open_rest
from tbv8.venues.rates import (
    Rate,
    checked_rates,
    fetch_confirmed,
    known_part,
    lacks_payments,
    rates_table,
    widen,
)

if TYPE_CHECKING:
    import pyarrow as pa

_USUAL_HOURS = 8


def open_funding(
    product: Product, endpoints: Endpoints, options: HostOptions | None = None
) -> History:
    """Open a session with the funding of a product."""
    options = options or HostOptions()
    rest = open_rest(product, endpoints, options)
    return History(rest, BinanceRates(product, rest, archive_opener(product, endpoints, options)))


class BinanceRates:
    """The funding payments of a product; see `tbv8.venues.base.Rows`.

    Args:
        product: The product.
        rest: Its REST API.
        open_files: Opens its archive.
    """

    def __init__(self, product: Product, rest: Rest, open_files: OpenFiles) -> None:
        self._product, self._rest, self._open_files = product, rest, open_files
        self._listed_ms: dict[str, int] = {}

    def first_ms(self, native: str) -> int:
        """Return the full hour of the first payment; it is requested once per symbol.

        Raises:
            VenueError: The venue does not know the symbol, or it has no payment yet.
        """
        if native not in self._listed_ms:
            first = self._rest.fetch_first_payment(native)
            self._listed_ms[native] = first.time_ms // HOUR_MS * HOUR_MS
        return self._listed_ms[native]

    def fetch(self, native: str, gaps: Sequence[Span]) -> Generator[FetchedSpan]:
        """Yield complete spans that fill `gaps`, in time order.

        A past month comes from a file, and payments missing in the file from REST. The rest comes
        from REST; missing payments are requested twice. The newest hours are left out while a
        payment for them may still come.

        Raises:
            VenueError: The venue refuses, or is out of reach after all tries.
        """
        clock_ms, closing = self._rest.clock_ms(), threading.Event()
        waiting = rate_pieces(gaps, now_ms=clock_ms, listed_ms=self.first_ms(native))
        files = self._open_files(closing)
        with ThreadPool(min(THREADS, len(waiting) or 1)) as threads:
            try:

                def fill(piece: Piece) -> FetchedSpan:
                    return self._fill(native, piece, files, clock_ms, closing)

                for fetched in threads.imap(fill, waiting):
                    if fetched.span:
                        yield fetched
            finally:
                closing.set()
                files.close()

    def fetch_direct(self, native: str, span: Span) -> pa.Table:
        """Return the payments of `span` by REST, by time; missing ones are requested twice.

        Raises:
            VenueError: The venue refuses, or is out of reach after all tries.
        """
        rates = self._fetch_confirmed(native, span, threading.Event())
        return rates_table(rates, span)

    def _fill(
        self, native: str, piece: Piece, files: Files, clock_ms: int, closing: threading.Event
    ) -> FetchedSpan:
        name = f"{piece.rates_stem(native)}.zip"
        rates, source, notes = list[Rate](), "rest", tuple[str, ...]()
        if piece.source == "monthly":
            try:
                if file := files.read(piece.rates_path(self._product, native)):
                    stem, month = piece.rates_stem(native), piece.file_span
                    rates = self._to_rates(name, parse_rates(file[0], stem, month))
                    source = f"{name} sha256:{file[1]}"
            except UnusableError as e:
                notes = (f"{name}: {e}; taken from REST",)
        if source == "rest":
            rates = self._fetch_confirmed(native, piece.span, closing)
        elif lacks_payments(rates, piece.span):
            payments = [Payment(rate.ts_ms, rate.rate, rate.interval_hours) for rate in rates]
            rest_payments = self._rest.fetch_payments(native, widen(piece.span), closing)
            healed = self._to_rates(native, [*payments, *rest_payments])
            added = len(_within(healed, piece.span)) - len(_within(rates, piece.span))
            if added:
                source, rates = f"{source}; rest", healed
                notes = (f"{name}: {counted(added, 'missing payment')} came from REST",)
        known_span = known_part(piece.span, rates, clock_ms=clock_ms)
        return FetchedSpan(
            span=known_span, bars=rates_table(rates, known_span), source=source, notes=notes
        )

    def _fetch_confirmed(self, native: str, span: Span, closing: threading.Event) -> list[Rate]:
        return fetch_confirmed(
            span,
            lambda wider: self._rest.fetch_payments(native, wider, closing),
            partial(self._to_rates, native),
        )

    def _to_rates(self, name: str, payments: Sequence[Payment]) -> list[Rate]:
        return checked_rates(self._product.venue, name, payments, usual_hours=_USUAL_HOURS)


def _within(rates: Sequence[Rate], span: Span) -> list[Rate]:
    return [rate for rate in rates if span.start_ms <= rate.ts_ms < span.end_ms]
