"""Chooses the venue of the funding rates for each UTC day of a backtest; light to import."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from tbv8.market import DAY_MS, MINUTE_MS, Series, Span, iso
from tbv8.store.database import Query
from tbv8.store.ledger import FUNDING, LedgerDay, StoredDay, fingerprint, read_days


class Stretch(msgspec.Struct, frozen=True):
    """A span whose funding comes from one venue."""

    venue: str
    span: Span

    @property
    def payments(self) -> Span:
        """The span of the payments, a minute later: a payment is due at the end of its interval."""
        return Span(self.span.start_ms + MINUTE_MS, self.span.end_ms + MINUTE_MS)


def read_stretches(query: Query, symbol: str, venues: Sequence[str], span: Span) -> list[Stretch]:
    """Return the parts of a span with funding and the venue of each, by time.

    For each UTC day, the venue is the first of `venues` with a payment on that day in its ledger.
    Days without any payment are left out.
    """
    paid_days = {venue: _days_with_payments(query, Series(venue, symbol), span) for venue in venues}
    stretches: list[Stretch] = []
    for day_ms in span.days():
        venue = next((venue for venue in venues if day_ms in paid_days[venue]), None)
        if venue is None:
            continue
        part = span.intersection(Span(day_ms, day_ms + DAY_MS))
        if (
            stretches
            and stretches[-1].venue == venue
            and stretches[-1].span.end_ms == part.start_ms
        ):
            part = Span(stretches.pop().span.start_ms, part.end_ms)
        stretches.append(Stretch(venue, part))
    return stretches


def read_payment_days(query: Query, symbol: str, stretch: Stretch) -> list[LedgerDay]:
    """Return the ledger rows of the days of a stretch's payments, by day."""
    return read_days(query, Series(stretch.venue, symbol), FUNDING, stretch.payments)


def read_payments(query: Query, series: Series, span: Span) -> list[tuple[int, float, int]]:
    """Return a venue's payments in a span, by time: full hour in ms, rate, interval in hours."""
    return [
        (int(ts_ms), float(rate), int(hours))
        for ts_ms, rate, hours in query(
            "SELECT ts_ms, rate, interval_hours FROM funding"
            " WHERE venue = ? AND symbol = ? AND ts_ms >= ? AND ts_ms < ? ORDER BY ts_ms",
            (series.venue, series.symbol, span.start_ms, span.end_ms),
        )
    ]


def funding_fingerprint(query: Query, symbol: str, stretches: Iterable[Stretch]) -> str | None:
    """Return the sha256 over all rates of stretches; None if a day was changed outside of tbv8."""
    total = hashlib.sha256()
    for stretch in stretches:
        series, days = Series(stretch.venue, symbol), read_payment_days(query, symbol, stretch)
        stored_days = [StoredDay(dataset=FUNDING, ledger=day) for day in days]
        if (digest := fingerprint(query, series, stored_days, stretch.payments)) is None:
            return None
        total.update(f"{stretch.venue} {stretch.span} {digest}\n".encode())
    return total.hexdigest()


def describe_stretches(stretches: Iterable[Stretch]) -> list[str]:
    """Return stretches as texts `<venue> <start> .. <end>`, for a result's key."""
    return [
        f"{stretch.venue} {iso(stretch.span.start_ms)} .. {iso(stretch.span.end_ms)}"
        for stretch in stretches
    ]


def _days_with_payments(query: Query, series: Series, span: Span) -> set[int]:
    return {
        int(day_ms)
        for (day_ms,) in query(
            "SELECT CAST(day_ms AS INTEGER) FROM history_coverage WHERE venue = ? AND symbol = ?"
            " AND dataset = ? AND day_ms >= ? AND day_ms < ? AND bars > 0",
            (
                series.venue,
                series.symbol,
                FUNDING,
                span.start_ms // DAY_MS * DAY_MS,
                span.end_ms,
            ),
        )
    }
