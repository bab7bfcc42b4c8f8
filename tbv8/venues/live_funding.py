"""What a venue that is recorded charged as funding: the same REST calls, page by page."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tbv8.errors import VenueError
from tbv8.market import DAY_MS, HOUR_MS, Span, parse_timeframe
from tbv8.venues.base import Ask, Cost, Endpoints, Fetched, Live, Payment, Payments, Say
from tbv8.venues.live_calls import Calls, Patience
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

_MONTH = parse_timeframe("1M")
_BYTES_A_PAYMENT = 120


def funding_cost(gaps: Sequence[Span], *, hours: int, page_rows: int) -> Cost:
    """Return what filling gaps takes, of payments every so many hours."""
    payments = sum(-(-(span.end_ms - span.start_ms) // (hours * HOUR_MS)) for span in gaps)
    pages = sum(
        -(-(span.end_ms - span.start_ms + DAY_MS) // (hours * HOUR_MS * page_rows)) for span in gaps
    )
    return Cost(requests=pages, megabytes=payments * _BYTES_A_PAYMENT / 1_000_000)


class LiveFunding:
    """A session; see `tbv8.venues.base.History`, whose rows are payments here.

    Args:
        name: The venue's.
        live: How to speak to it.
        endpoints: Where.
        usual_hours: Of its intervals, where it does not tell them.
        say: Told for what it waits when it waits for long.
        patience: How long to go on.
    """

    def __init__(
        self,
        name: str,
        live: Live,
        endpoints: Endpoints,
        *,
        usual_hours: int,
        say: Say | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._name, self._live = name, live
        self._usual_hours = usual_hours
        self._calls = Calls(name, live, endpoints, say=say, patience=patience)
        self._listed_ms: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._calls.close()

    def native_symbol(self, symbol: str) -> str:
        """Return the venue's own spelling, by its own rule."""
        return self._live.native_symbol(symbol)

    def clock_ms(self) -> int:
        """Return the venue's clock: an hour that it has not passed is not history."""
        return self._calls.clock_ms()

    def listed_ms(self, native: str) -> int:
        """Return the hour of the first payment; the venue is asked once.

        Raises:
            VenueError: The venue does not know the symbol, or has charged nothing yet.
        """
        if native not in self._listed_ms:
            paid = self._pages(self._live.ask_oldest_payments(self._calls.market(native)))
            if not paid:
                raise VenueError(f"{self._name}: no funding of {native} was paid yet")
            self._listed_ms[native] = self._settle(native, paid)[0].ts_ms
        return self._listed_ms[native]

    def fetch(self, native: str, gaps: Sequence[Span]) -> Generator[Fetched]:
        """Yield all that fills `gaps`, by time, a calendar month at most.

        Where hours lack a payment, a second look is taken before they count as without one. Hours
        that may be paid yet are left out.

        Raises:
            VenueError: The venue refuses, or is out of reach after all tries.
        """
        clock_ms = self.clock_ms()
        for part in self._parts(gaps):
            rates = self._look_twice(native, part)
            known = part
            if part.end_ms > clock_ms - DAY_MS:
                known = part.intersection(Span(0, known_until(rates, clock_ms=clock_ms)))
            start_ms = known.start_ms
            while start_ms < known.end_ms:
                month = Span(start_ms, min(_MONTH.close(_MONTH.floor(start_ms)), known.end_ms))
                yield Fetched(span=month, bars=rates_table(rates, month), source="rest")
                start_ms = month.end_ms

    def fetch_direct(self, native: str, span: Span) -> pa.Table:
        """Return what was paid in `span`; what lacks was asked for twice.

        Raises:
            VenueError: The venue refuses, or is out of reach after all tries.
        """
        return rates_table(self._look_twice(native, span), span)

    def _parts(self, gaps: Sequence[Span]) -> list[Span]:
        """Cut gaps into what one look may span."""
        if (days := self._live.payment_days) is None:
            return list(gaps)
        step_ms = days * DAY_MS
        return [
            Span(start_ms, min(start_ms + step_ms, gap.end_ms))
            for gap in gaps
            for start_ms in range(gap.start_ms, gap.end_ms, step_ms)
        ]

    def _look_twice(self, native: str, span: Span) -> list[Rate]:
        """Return the payments of a span and of a day before it, by time."""
        market = self._calls.market(native)
        wider = Span(max(0, span.start_ms - DAY_MS), span.end_ms + LATEST_MS)
        rates: list[Rate] = []
        paid: list[Payment] = []
        for _ in range(2):
            if lacks_payments(rates, span):
                paid += self._pages(self._live.ask_payments(market, wider))
                rates = self._settle(native, paid)
        return rates

    def _pages(self, asked: Ask[Payments] | None) -> list[Payment]:
        paid: list[Payment] = []
        while asked is not None:
            page = self._calls.fetch(asked)
            paid += page.paid
            asked = page.further
        return paid

    def _settle(self, native: str, paid: Sequence[Payment]) -> list[Rate]:
        try:
            return settle_rates(paid, usual_hours=self._usual_hours)
        except ValueError as e:
            raise VenueError(
                f"{self._name}: the funding of {native} is not what it documents: {e}"
            ) from e
