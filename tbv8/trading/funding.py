"""Funding of a session: times and rates, from a venue's payments or from a fixed rate.

A venue publishes a payment seconds after its full hour, so a live session (`AwaitedRates`) keeps
the position of that hour and books the payment once it is published: the same amount as in a
backtest, but later.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Protocol

import msgspec

from tbv8.market import HOUR_MS, Span
from tbv8.risk.costs import fixed_rate, next_funding
from tbv8.risk.events import NEVER_MS


class FundingPayments(msgspec.Struct, frozen=True, kw_only=True):
    """The funding payments of one symbol, by time, in columns of one length.

    Attributes:
        times_ms: The full hours of the payments.
        rates: The fraction of the notional that a long position pays.
        hours: The number of hours that each payment is for.
        venues: The venue of each payment.
        booked_ms: The time at which a live session books each, at its hour or later; empty in a
            backtest.
    """

    times_ms: list[int] = []
    rates: list[Decimal] = []
    hours: list[int] = []
    venues: list[str] = []
    booked_ms: list[int] = []

    @classmethod
    def of(cls, payments: Iterable[tuple[int, Decimal, int, str, int]]) -> FundingPayments:
        """Return the columns of payments, given as rows in any order."""
        columns: list[list[Any]] = [list(column) for column in zip(*sorted(payments), strict=True)]
        return cls(**dict(zip(cls.__struct_fields__, columns, strict=True))) if columns else cls()

    @property
    def rows(self) -> Iterator[tuple[int, Decimal, int, str, int]]:
        """The payments of a live session as rows."""
        return zip(self.times_ms, self.rates, self.hours, self.venues, self.booked_ms, strict=True)

    def within(self, span: Span) -> FundingPayments:
        """Return the payments for the hours of a span: after its start, up to its end."""
        first, end = (bisect_right(self.times_ms, ms) for ms in (span.start_ms, span.end_ms))
        return FundingPayments(
            times_ms=self.times_ms[first:end],
            rates=self.rates[first:end],
            hours=self.hours[first:end],
            venues=self.venues[first:end],
            booked_ms=self.booked_ms[first:end],
        )

    def covered_ms(self, span: Span) -> dict[str, int]:
        """Return the time of a span that each venue's payments cover, venues in order of time."""
        found: dict[str, int] = {}
        paid_ms = span.start_ms
        for ts_ms, hours, venue in zip(self.times_ms, self.hours, self.venues, strict=True):
            start_ms, end_ms = max(paid_ms, ts_ms - hours * HOUR_MS), min(ts_ms, span.end_ms)
            if start_ms < end_ms:
                found[venue] = found.get(venue, 0) + end_ms - start_ms
                paid_ms = end_ms
        return found


class Holding(msgspec.Struct, frozen=True):
    """A symbol's position and its last price, if it had one; positions below 0 are short."""

    position: Decimal
    price: Decimal | None


class DuePayment(msgspec.Struct, frozen=True):
    """A payment to book: its full hour, rate and interval, and the position at that hour."""

    hour_ms: int
    rate: Decimal
    hours: int
    holding: Holding


class Rates(Protocol):
    """The funding of one symbol in a session."""

    def due_after(self, ts_ms: int) -> int:
        """Return the first time after `ts_ms` to call `due_at`; NEVER_MS where none is known."""

    def due_at(self, ts_ms: int, holding: Holding) -> Sequence[DuePayment]:
        """Return the payments to book at a time, from the position at that time."""


class FixedRates(msgspec.Struct, frozen=True):
    """A constant rate, paid every `hours` hours from 00:00 UTC on."""

    rate_8h: Decimal
    hours: int

    def due_after(self, ts_ms: int) -> int:
        """Return the first time of a payment after `ts_ms`."""
        return next_funding(ts_ms, self.hours) if self.rate_8h else NEVER_MS

    def due_at(self, ts_ms: int, holding: Holding) -> Sequence[DuePayment]:
        """Return the payment of that hour, with the share of the eight-hour rate."""
        return [DuePayment(ts_ms, fixed_rate(self.rate_8h, self.hours), self.hours, holding)]


class PaidRates:
    """The payments of venues that a session knows so far."""

    def __init__(self) -> None:
        self._times_ms: list[int] = []
        self._payments: list[tuple[Decimal, int]] = []

    def extend(self, charged: FundingPayments) -> None:
        """Add the payments after the last known one."""
        known_ms = self._times_ms[-1] if self._times_ms else -1
        first = bisect_right(charged.times_ms, known_ms)
        self._times_ms += charged.times_ms[first:]
        self._payments += list(zip(charged.rates[first:], charged.hours[first:], strict=True))

    def due_after(self, ts_ms: int) -> int:
        """Return the first time of a payment after `ts_ms`; NEVER_MS where none is known."""
        index = bisect_right(self._times_ms, ts_ms)
        return self._times_ms[index] if index < len(self._times_ms) else NEVER_MS

    def due_at(self, ts_ms: int, holding: Holding) -> Sequence[DuePayment]:
        """Return the payment of that hour."""
        rate, hours = self._payments[bisect_right(self._times_ms, ts_ms) - 1]
        return [DuePayment(ts_ms, rate, hours, holding)]


class AwaitedRates:
    """The payments of a venue, each booked as soon as a live session knows it.

    The position at each full hour is kept until the payment for that hour is known.
    """

    def __init__(self) -> None:
        self._bookings: deque[tuple[int, int, Decimal, int]] = deque()
        self._holdings: dict[int, Holding] = {}

    def extend(self, charged: FundingPayments) -> None:
        """Add payments that are booked after all earlier ones."""
        columns = charged.booked_ms, charged.times_ms, charged.rates, charged.hours
        self._bookings.extend(sorted(zip(*columns, strict=True)))

    def due_after(self, ts_ms: int) -> int:
        """Return the next full hour, or the next time at which a payment is booked."""
        hour_ms = (ts_ms // HOUR_MS + 1) * HOUR_MS
        return next(
            (min(hour_ms, booking[0]) for booking in self._bookings if booking[0] > ts_ms), hour_ms
        )

    def due_at(self, ts_ms: int, holding: Holding) -> Sequence[DuePayment]:
        """Return the payments to book at a time, each with the position at its own hour."""
        if ts_ms % HOUR_MS == 0 and holding.position:
            self._holdings[ts_ms] = holding
        found: list[DuePayment] = []
        while self._bookings and self._bookings[0][0] <= ts_ms:
            _, hour_ms, rate, hours = self._bookings.popleft()
            then = self._holdings.get(hour_ms, Holding(Decimal(0), None))
            found.append(DuePayment(hour_ms, rate, hours, then))
            for paid_ms in range(hour_ms - (hours - 1) * HOUR_MS, hour_ms + 1, HOUR_MS):
                self._holdings.pop(paid_ms, None)
        return found
