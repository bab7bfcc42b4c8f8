"""Checks of a venue's payments of funding, which it puts on the full hour. No I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from tbv8.errors import VenueError
from tbv8.market import DAY_MS, HOUR_MS, MINUTE_MS, MOST_RATE, ONE_MINUTE, Span, iso
from tbv8.venues.base import Payment

if TYPE_CHECKING:
    import pyarrow as pa

_DAY_HOURS = 24
LATEST_MS = HOUR_MS // 2
"""The longest time of a payment after its hour; venues are some ms late."""

_SETTLED_MS = HOUR_MS // 2  # no payment of an hour comes later than this after it


class Rate(msgspec.Struct, frozen=True):
    """One payment: its full hour, its rate, and the hours before it for which it pays."""

    ts_ms: int
    rate: float
    interval_hours: int


def to_rates(payments: Iterable[Payment], *, usual_hours: int) -> list[Rate]:
    """Return payments sorted by time, one an hour, each with its interval.

    If the venue does not publish an interval, it is the time since the payment before if that is a
    possible interval; else the next payment's interval, else the usual one.

    Args:
        payments: The payments in any order. The interval of the first may be a guess, so they
            should begin a day before the first that is needed.
        usual_hours: The venue's usual interval.

    Raises:
        ValueError: A payment is impossible, or two payments of one hour differ.
    """
    by_hour: dict[int, Payment] = {}
    for payment in payments:
        ts_ms = payment.time_ms // HOUR_MS * HOUR_MS
        if payment.time_ms - ts_ms > LATEST_MS:
            raise ValueError(f"a payment at {iso(payment.time_ms)} is of no full hour")
        if not (math.isfinite(payment.rate) and abs(payment.rate) < MOST_RATE):
            raise ValueError(f"a rate of {payment.rate} at {iso(ts_ms)} is none of a market")
        if payment.hours is not None and not _is_interval(payment.hours):
            raise ValueError(f"an interval of {payment.hours} hours at {iso(ts_ms)} is none")
        first = by_hour.setdefault(ts_ms, payment)
        if first.rate != payment.rate:
            raise ValueError(f"{iso(ts_ms)} was paid twice, at {first.rate} and {payment.rate}")
        if first.hours is None:
            by_hour[ts_ms] = payment
    hours = sorted(by_hour)
    elapsed_hours: list[int | None] = [None] if hours else []
    elapsed_hours += [(after - before) // HOUR_MS for before, after in pairwise(hours)]
    rates: list[Rate] = []
    next_hours = usual_hours
    for ts_ms, elapsed in zip(reversed(hours), reversed(elapsed_hours), strict=True):
        interval = by_hour[ts_ms].hours
        if (
            interval is None
            and elapsed
            and _is_interval(elapsed)
            and ts_ms % (elapsed * HOUR_MS) == 0
        ):
            interval = elapsed
        next_hours = interval or next_hours
        rates.append(Rate(ts_ms, by_hour[ts_ms].rate, next_hours))
    return rates[::-1]


def checked_rates(
    venue: str, native: str, payments: Iterable[Payment], *, usual_hours: int
) -> list[Rate]:
    """Return the same as `to_rates`.

    Raises:
        VenueError: A payment is impossible, or two payments of one hour differ.
    """
    try:
        return to_rates(payments, usual_hours=usual_hours)
    except ValueError as e:
        raise VenueError(f"{venue}: the funding of {native} is not what it documents: {e}") from e


def known_until(rates: Sequence[Rate], *, clock_ms: int) -> int:
    """Return the time before which no payments but `rates` will come.

    The next payment is due an interval after the newest one, or earlier if the interval changes, so
    the last half hour before the clock is certain only up to the newest payment. A payment that is
    a day late does not come.
    """
    certain_ms = ONE_MINUTE.floor(clock_ms - DAY_MS)
    if not rates:
        return certain_ms
    newest = rates[-1]
    due_ms = newest.ts_ms + newest.interval_hours * HOUR_MS
    settled_ms = ONE_MINUTE.floor(clock_ms - _SETTLED_MS)
    return max(newest.ts_ms + MINUTE_MS, min(due_ms, settled_ms), certain_ms)


def lacks_payments(rates: Sequence[Rate], span: Span) -> bool:
    """Return True if `rates` lack payments of `span` that are due by their intervals."""
    if not rates:
        return bool(span)
    first, last = rates[0], rates[-1]
    return (
        first.ts_ms - first.interval_hours * HOUR_MS >= span.start_ms
        or last.ts_ms + last.interval_hours * HOUR_MS < span.end_ms
        or any(
            later.ts_ms - later.interval_hours * HOUR_MS > earlier.ts_ms
            for earlier, later in pairwise(rates)
        )
    )


def fetch_confirmed(
    span: Span,
    fetch: Callable[[Span], Sequence[Payment]],
    settle: Callable[[Sequence[Payment]], list[Rate]],
) -> list[Rate]:
    """Return the payments of a span and the day before it, fetched again if some are missing."""
    rates: list[Rate] = []
    paid: list[Payment] = []
    for _ in range(2):
        if lacks_payments(rates, span):
            paid += fetch(widen(span))
            rates = settle(paid)
    return rates


def widen(span: Span) -> Span:
    """Return the span to fetch: a day before `span` for the intervals, and late payments."""
    return Span(max(0, span.start_ms - DAY_MS), span.end_ms + LATEST_MS)


def known_part(span: Span, rates: Sequence[Rate], *, clock_ms: int) -> Span:
    """Return the part of a span in which no payments but `rates` will come."""
    if span.end_ms <= clock_ms - DAY_MS:
        return span
    return span.intersection(Span(0, known_until(rates, clock_ms=clock_ms)))


def rates_table(rates: Iterable[Rate], span: Span) -> pa.Table:
    """Return the payments in `span` as the table that `tbv8.market` describes."""
    import pyarrow as pa

    rows = [rate for rate in rates if span.start_ms <= rate.ts_ms < span.end_ms]
    return pa.table(
        {
            "ts_ms": pa.array([rate.ts_ms for rate in rows], pa.int64()),
            "rate": pa.array([rate.rate for rate in rows], pa.float64()),
            "interval_hours": pa.array([rate.interval_hours for rate in rows], pa.int64()),
        }
    )


def _is_interval(hours: int) -> bool:
    return 0 < hours <= _DAY_HOURS and _DAY_HOURS % hours == 0
