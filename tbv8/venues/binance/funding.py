"""A session with the funding that Binance's perpetuals charged: monthly files, then REST."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from multiprocessing.pool import ThreadPool
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tbv8.errors import VenueError
from tbv8.market import DAY_MS, HOUR_MS, Span
from tbv8.venues.base import Endpoints, Fetched, Payment
from tbv8.venues.binance.archive import UnusableError, parse_rates
from tbv8.venues.binance.files import THREADS, Files, archive_host
from tbv8.venues.binance.host import Patience
from tbv8.venues.binance.plan import Piece, rate_pieces
from tbv8.venues.binance.product import Product
from tbv8.venues.binance.rest import Rest, rest_host
from tbv8.venues.rates import (
    LATEST_MS,
    Rate,
    known_until,
    lacks_payments,
    rates_table,
    settle_rates,
)

if TYPE_CHECKING:
    import pyarrow as pa

_USUAL_HOURS = 8


class BinanceFunding:
    """A session; see `tbv8.venues.base.History`, whose rows are payments here."""

    def __init__(
        self, product: Product, endpoints: Endpoints, patience: Patience | None = None
    ) -> None:
        patience = patience or Patience()
        self._product, self._redirect_hosts = product, endpoints.redirect_hosts
        self._rest = Rest(
            product, rest_host(product, endpoints, patience), endpoints.redirect_hosts
        )
        self._archive = archive_host(product, endpoints, patience)
        self._listed_ms: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._rest.close()

    def native_symbol(self, symbol: str) -> str:
        """Return `BTCUSDT` for `BTC/USDT`."""
        return symbol.replace("/", "")

    def clock_ms(self) -> int:
        """Return the venue's clock: an hour that it has not passed is not history."""
        return self._rest.fetch_clock_ms()

    def listed_ms(self, native: str) -> int:
        """Return the hour of the first payment; the venue is asked once.

        Raises:
            VenueError: The venue does not know the symbol, or has charged nothing yet.
        """
        if native not in self._listed_ms:
            first = self._rest.fetch_first_payment(native)
            self._listed_ms[native] = first.time_ms // HOUR_MS * HOUR_MS
        return self._listed_ms[native]

    def fetch(self, native: str, gaps: Sequence[Span]) -> Generator[Fetched]:
        """Yield all that fills `gaps`, by time.

        A past month is a file, and REST fills what the file lacks; the rest is REST, asked twice
        where hours lack a payment. Hours that may be paid yet are left out.

        Raises:
            VenueError: The venue refuses, or is out of reach after all tries.
        """
        clock_ms, closing = self.clock_ms(), threading.Event()
        waiting = rate_pieces(gaps, now_ms=clock_ms, listed_ms=self.listed_ms(native))
        files = Files(self._archive, self._redirect_hosts, closing)
        with ThreadPool(min(THREADS, len(waiting) or 1)) as threads:
            try:

                def fill(piece: Piece) -> Fetched:
                    return self._fill(native, piece, files, clock_ms, closing)

                for fetched in threads.imap(fill, waiting):
                    if fetched.span:
                        yield fetched
            finally:
                closing.set()
                files.close()

    def fetch_direct(self, native: str, span: Span) -> pa.Table:
        """Return what REST says was paid in `span`; what lacks was asked for twice.

        Raises:
            VenueError: The venue refuses, or is out of reach after all tries.
        """
        rates = self._look_twice(native, span, threading.Event())
        return rates_table(rates, span)

    def _fill(
        self, native: str, piece: Piece, files: Files, clock_ms: int, closing: threading.Event
    ) -> Fetched:
        name = f"{piece.rates_stem(native)}.zip"
        rates, source, notes = list[Rate](), "rest", tuple[str, ...]()
        if piece.source == "monthly":
            try:
                if found := files.read(piece.rates_path(self._product, native)):
                    stem, month = piece.rates_stem(native), piece.file_span
                    rates = self._settle(parse_rates(found[0], stem, month), name)
                    source = f"{name} sha256:{found[1]}"
            except UnusableError as e:
                notes = (f"{name}: {e}; taken from REST",)
        if source == "rest":
            rates = self._look_twice(native, piece.span, closing)
        elif lacks_payments(rates, piece.span):
            paid = [Payment(rate.ts_ms, rate.rate, rate.interval_hours) for rate in rates]
            more = self._rest.fetch_payments(native, _wider(piece.span), closing)
            healed = self._settle([*paid, *more], native)
            come = len(_within(healed, piece.span)) - len(_within(rates, piece.span))
            if come:
                source, rates = f"{source}; rest", healed
                notes = (f"{name}: {come} payments that it lacks came from REST",)
        known = piece.span
        if known.end_ms > clock_ms - DAY_MS:
            known = known.intersection(Span(0, known_until(rates, clock_ms=clock_ms)))
        return Fetched(span=known, bars=rates_table(rates, known), source=source, notes=notes)

    def _look_twice(self, native: str, span: Span, closing: threading.Event) -> list[Rate]:
        """Return the payments of a span and of a day before it, by time."""
        rates: list[Rate] = []
        paid: list[Payment] = []
        for _ in range(2):
            if lacks_payments(rates, span):
                paid += self._rest.fetch_payments(native, _wider(span), closing)
                rates = self._settle(paid, native)
        return rates

    def _settle(self, paid: Sequence[Payment], what: str) -> list[Rate]:
        try:
            return settle_rates(paid, usual_hours=_USUAL_HOURS)
        except ValueError as e:
            raise VenueError(
                f"{self._product.venue}: the funding of {what} is not what it documents: {e}"
            ) from e


def _wider(span: Span) -> Span:
    """Return what is asked for: a day before for the intervals, and what comes late."""
    return Span(max(0, span.start_ms - DAY_MS), span.end_ms + LATEST_MS)


def _within(rates: Sequence[Rate], span: Span) -> list[Rate]:
    return [rate for rate in rates if span.start_ms <= rate.ts_ms < span.end_ms]
