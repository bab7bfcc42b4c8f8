"""Funding of a session: times and rates, from a venue's payments or from a fixed rate."""

from __future__ import annotations

from bisect import bisect_right
from decimal import Decimal
from typing import Protocol

import msgspec

from tbv8.market import HOUR_MS, Span
from tbv8.risk.costs import fixed_rate, next_funding
from tbv8.risk.events import NEVER_MS


class Charged(msgspec.Struct, frozen=True, kw_only=True):
    """The payments of one symbol, by time: columns of one length.

    Attributes:
        times_ms: The full hours of the payments.
        rates: The fractions of the notional that a long position pays then.
        hours: The hours before each for which it pays.
        venues: Whose payment it is.
    """

    times_ms: list[int] = []
    rates: list[Decimal] = []
    hours: list[int] = []
    venues: list[str] = []

    def within(self, span: Span) -> Charged:
        """Return the payments for the hours of a span: after its start, up to its end."""
        first, end = (bisect_right(self.times_ms, ms) for ms in (span.start_ms, span.end_ms))
        return Charged(
            times_ms=self.times_ms[first:end],
            rates=self.rates[first:end],
            hours=self.hours[first:end],
            venues=self.venues[first:end],
        )

    def hours_of(self, span: Span) -> dict[str, int]:
        """Return the hours of a span that each venue's payments cover, venues in order of time."""
        found: dict[str, int] = {}
        paid_ms = span.start_ms
        for ts_ms, hours, venue in zip(self.times_ms, self.hours, self.venues, strict=True):
            start_ms, end_ms = max(paid_ms, ts_ms - hours * HOUR_MS), min(ts_ms, span.end_ms)
            if start_ms < end_ms:
                found[venue] = found.get(venue, 0) + (end_ms - start_ms) // HOUR_MS
                paid_ms = end_ms
        return found


class Rates(Protocol):
    """The funding of one symbol in a session."""

    def due_after(self, ts_ms: int) -> int:
        """Return the first time of a payment after `ts_ms`; NEVER_MS where none is known."""

    def paid_at(self, ts_ms: int) -> tuple[Decimal, int]:
        """Return the rate of the payment at its time, and its interval in hours."""


class FixedRates(msgspec.Struct, frozen=True):
    """The same rate for ever, every so many hours from 00:00 UTC on."""

    rate_8h: Decimal
    hours: int

    def due_after(self, ts_ms: int) -> int:
        """Return the first time of a payment after `ts_ms`."""
        return next_funding(ts_ms, self.hours) if self.rate_8h else NEVER_MS

    def paid_at(self, _ts_ms: int) -> tuple[Decimal, int]:
        """Return the share of the eight hours that each payment takes."""
        return fixed_rate(self.rate_8h, self.hours), self.hours


class PaidRates:
    """The payments of venues that a session knows so far."""

    def __init__(self) -> None:
        self._times_ms: list[int] = []
        self._payments: list[tuple[Decimal, int]] = []

    def extend(self, charged: Charged) -> None:
        """Take the payments behind those that are known."""
        known_ms = self._times_ms[-1] if self._times_ms else -1
        first = bisect_right(charged.times_ms, known_ms)
        self._times_ms += charged.times_ms[first:]
        self._payments += list(zip(charged.rates[first:], charged.hours[first:], strict=True))

    def due_after(self, ts_ms: int) -> int:
        """Return the first time of a payment after `ts_ms`; NEVER_MS where none is known."""
        at = bisect_right(self._times_ms, ts_ms)
        return self._times_ms[at] if at < len(self._times_ms) else NEVER_MS

    def paid_at(self, ts_ms: int) -> tuple[Decimal, int]:
        """Return the rate of the payment at its time, and its interval in hours."""
        return self._payments[bisect_right(self._times_ms, ts_ms) - 1]
