"""Checks of venues' funding payments, which belong to full hours. Pure, no I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from tbv8.errors import VenueError
from tbv8.market import DAY_MS, HOUR_MS, MAX_RATE, MINUTE_MS, ONE_MINUTE, Span, iso
from tbv8.venues.base import Payment

if TYPE_CHECKING:
    import pyarrow as pa

_DAY_HOURS = 24
LATEST_MS = HOUR_MS // 2
"""A payment is at most this long after its full hour, and published by then; usually some ms."""


class Rate(msgspec.Struct, frozen=True):
    """One payment: its full hour, its rate, and the number of hours before it that it pays for."""

    ts_ms: int
    rate: float
    interval_hours: int


def to_rates(payments: Iterable[Payment], *, usual_hours: int) -> list[Rate]:
    """Return payments by time, at most one per hour, each with its interval.

    An interval that the venue does not publish is the time since the previous payment if that is a
    possible interval; else the next payment's interval, else the usual one.

    Args:
        payments: The payments in any order. The interval of the first may be a guess, so they
            should begin a day earlier than needed.
        usual_hours: The venue's usual interval.

    Raises:
        ValueError: A payment is impossible, or two payments of one hour differ.
    """
    by_hour: dict[int, Payment] = {}
    for payment in payments:
        ts_ms = payment.time_ms // HOUR_MS * HOUR_MS
        if payment.time_ms - ts_ms > LATEST_MS:
            raise ValueError(f"a payment at {iso(payment.time_ms)} is not on a full hour")
        if not (math.isfinite(payment.rate) and abs(payment.rate) < MAX_RATE):
            raise ValueError(f"a rate of {payment.rate} at {iso(ts_ms)} is impossible")
        if payment.hours is not None and not _is_interval(payment.hours):
            raise ValueError(f"an interval of {payment.hours} hours at {iso(ts_ms)} is impossible")
        first = by_hour.setdefault(ts_ms, payment)
        if first.rate != payment.rate:
            raise ValueError(f"{iso(ts_ms)} has two rates, {first.rate} and {payment.rate}")
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
    """Return the result of `to_rates`, with errors that name the venue and the symbol or file.

    Raises:
        VenueError: A payment is impossible, or two payments of one hour differ.
    """
    try:
        return to_rates(payments, usual_hours=usual_hours)
    except ValueError as e:
        raise VenueError(f"{venue}: undocumented funding of {native}: {e}") from e


def known_until(rates: Sequence[Rate], *, clock_ms: int) -> int:
    """Return the time up to which `rates` are complete: no other payment before it can come.

    The next payment is due one interval after the newest, or earlier if the venue changes the
    interval. So the last half hour before the clock is complete only up to the newest payment.
    After a day, a missing payment counts as not paid.
    """
    certain_ms = ONE_MINUTE.floor(clock_ms - DAY_MS)
    if not rates:
        return certain_ms
    newest = rates[-1]
    due_ms = newest.ts_ms + newest.interval_hours * HOUR_MS
    published_ms = ONE_MINUTE.floor(clock_ms - LATEST_MS)
    return max(newest.ts_ms + MINUTE_MS, min(due_ms, published_ms), certain_ms)


def lacks_payments(rates: Sequence[Rate], span: Span) -> bool:
    """Return True if the intervals of `rates` show that a payment of `span` is missing."""
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
    """Return the payments of a span and of the day before it; missing ones are requested twice.

    Args:
        span: The span.
        fetch: Requests the payments of a span.
        settle: Checks payments and adds their intervals, as `to_rates`.
    """
    rates: list[Rate] = []
    paid: list[Payment] = []
    for _ in range(2):
        if lacks_payments(rates, span):
            paid += fetch(widen(span))
            rates = settle(paid)
    return rates


def widen(span: Span) -> Span:
    """Return a span extended by the day before it, for the intervals, and by late payments."""
    return Span(max(0, span.start_ms - DAY_MS), span.end_ms + LATEST_MS)


def known_part(span: Span, rates: Sequence[Rate], *, clock_ms: int) -> Span:
    """Return the first part of a span, in which `rates` are complete (see `known_until`)."""
    if span.end_ms <= clock_ms - DAY_MS:
        return span
    return span.intersection(Span(0, known_until(rates, clock_ms=clock_ms)))


def rates_table(rates: Iterable[Rate], span: Span) -> pa.Table:
    """Return the payments in `span` as a table of funding rates (see `tbv8.market`)."""
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
