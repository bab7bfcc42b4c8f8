"""The funding history of a venue with a wire protocol, by REST and page by page."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from tbv8.errors import VenueError
from tbv8.market import DAY_MS, HOUR_MS, Span, parse_timeframe
from tbv8.venues.base import Cost, Endpoints, FetchedSpan, History, Live, Log, Payment
from tbv8.venues.live_calls import Calls, RetryPolicy
from tbv8.venues.rates import Rate, checked_rates, fetch_confirmed, known_part, rates_table

if TYPE_CHECKING:
    import pyarrow as pa

_MONTH = parse_timeframe("1M")
_BYTES_PER_PAYMENT = 120


def funding_cost(gaps: Sequence[Span], *, hours: int, page_rows: int) -> Cost:
    """Return the cost of filling gaps with payments.

    Args:
        gaps: The gaps.
        hours: The usual interval of payments.
        page_rows: The number of payments in one reply.
    """
    payments = sum(-(-(span.end_ms - span.start_ms) // (hours * HOUR_MS)) for span in gaps)
    pages = sum(
        -(-(span.end_ms - span.start_ms + DAY_MS) // (hours * HOUR_MS * page_rows)) for span in gaps
    )
    return Cost(requests=pages, megabytes=payments * _BYTES_PER_PAYMENT / 1_000_000)


def open_funding(
    name: str,
    live: Live,
    endpoints: Endpoints,
    *,
    usual_hours: int,
    log: Log | None = None,
    retries: RetryPolicy | None = None,
) -> History:
    """Open a session with a venue's funding.

    Args:
        name: The venue's name.
        live: The venue's wire protocol.
        endpoints: The venue's configured addresses.
        usual_hours: The venue's usual interval, for payments without a published one.
        log: Prints a line for the user about each repeated failure.
        retries: The number of tries and their pauses.
    """
    calls = Calls(name, live, endpoints, log=log, retries=retries)
    return History(calls, LiveRates(live, calls, usual_hours=usual_hours))


class LiveRates:
    """The funding payments of a venue; see `tbv8.venues.base.Rows`."""

    def __init__(self, live: Live, calls: Calls, *, usual_hours: int) -> None:
        self._live, self._calls, self._usual_hours = live, calls, usual_hours

    def first_ms(self, native: str) -> int:
        """Return the full hour of the first payment.

        Raises:
            VenueError: The venue does not know the symbol, or it has no payment yet.
        """
        payments = self._calls.fetch(
            self._live.oldest_payments_request(self._calls.listing(native))
        )
        if not payments:
            raise VenueError(f"{self._calls.name}: no funding of {native} was paid yet")
        return self._to_rates(native, payments)[0].ts_ms

    def fetch(self, native: str, gaps: Sequence[Span]) -> Generator[FetchedSpan]:
        """Yield complete spans that fill `gaps`, in time order, each within one calendar month.

        Missing payments are requested twice before their hours count as unpaid. The newest hours
        are left out while a payment for them may still come.

        Raises:
            VenueError: The venue refuses, or is out of reach after all tries.
        """
        clock_ms = self._calls.clock_ms()
        for part in self._parts(gaps):
            rates = self._fetch_confirmed(native, part)
            known_span = known_part(part, rates, clock_ms=clock_ms)
            start_ms = known_span.start_ms
            while start_ms < known_span.end_ms:
                month = Span(start_ms, min(_MONTH.close(_MONTH.floor(start_ms)), known_span.end_ms))
                yield FetchedSpan(span=month, bars=rates_table(rates, month), source="rest")
                start_ms = month.end_ms

    def fetch_direct(self, native: str, span: Span) -> pa.Table:
        """Return the payments of `span`, by time; missing ones are requested twice.

        Raises:
            VenueError: The venue refuses, or is out of reach after all tries.
        """
        return rates_table(self._fetch_confirmed(native, span), span)

    def _parts(self, gaps: Sequence[Span]) -> list[Span]:
        """Split gaps into parts of one request each."""
        if (days := self._live.payment_days) is None:
            return list(gaps)
        step_ms = days * DAY_MS
        return [
            Span(start_ms, min(start_ms + step_ms, gap.end_ms))
            for gap in gaps
            for start_ms in range(gap.start_ms, gap.end_ms, step_ms)
        ]

    def _fetch_confirmed(self, native: str, span: Span) -> list[Rate]:
        listing = self._calls.listing(native)
        return fetch_confirmed(
            span,
            lambda wider: self._calls.fetch(self._live.payments_request(listing, wider)),
            partial(self._to_rates, native),
        )

    def _to_rates(self, native: str, payments: Sequence[Payment]) -> list[Rate]:
        return checked_rates(self._calls.name, native, payments, usual_hours=self._usual_hours)
