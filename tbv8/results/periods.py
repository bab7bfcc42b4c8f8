"""Returns of a curve by calendar months and years, and over a rolling window."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import numpy as np

from tbv8.results.statistics import daily_returns, sharpe
from tbv8.trading.nautilus import Ints


class Months(msgspec.Struct, frozen=True):
    """The return of each (year, month) and each year; None if it began without equity."""

    months: dict[tuple[int, int], float | None]
    years: dict[int, float | None]


def monthly_returns(closes_ms: Ints, equity: Ints, *, start: int) -> Months:
    """Return the returns of each calendar month (UTC) and year.

    A bar that closes at 00:00 of the first day belongs to the month that ends then. A month without
    a close returned 0. The first and the last month may be partial. The months of a year compound
    to the year.

    Args:
        closes_ms: The close of each bar.
        equity: The equity at that time, in any unit.
        start: The equity at the start, in the same unit.
    """
    first, last = (_month(int(ms) - 1) for ms in (closes_ms[0], closes_ms[-1]))
    numbers = range(first[0] * 12 + first[1] - 1, last[0] * 12 + last[1])
    months = [(number // 12, number % 12 + 1) for number in numbers]
    ends_ms = [
        _start_ms(number // 12, number % 12 + 1)
        for number in range(numbers[0] + 1, numbers[-1] + 2)
    ]
    at = np.searchsorted(closes_ms, ends_ms, side="right") - 1
    ends = [int(value) for value in equity[at]]
    begins = [start, *ends[:-1]]
    by_year: dict[int, tuple[int, int]] = {}
    for (year, _), begin, end in zip(months, begins, ends, strict=True):
        by_year[year] = (by_year.get(year, (begin, end))[0], end)
    return Months(
        {
            month: _return(begin, end)
            for month, begin, end in zip(months, begins, ends, strict=True)
        },
        {year: _return(begin, end) for year, (begin, end) in by_year.items()},
    )


def rolling_sharpe(times_ms: Ints, equity: Ints, *, days: int) -> tuple[Ints, list[float | None]]:
    """Return UTC days, and the Sharpe ratio of the last `days` daily returns at each of them.

    It begins with the first day that has enough returns; times and equity as in `daily_returns`.
    """
    days_ms, returns = daily_returns(times_ms, equity)
    values = returns.tolist()
    ratios = [sharpe(values[end - days : end]) for end in range(days, len(values) + 1)]
    return days_ms[len(days_ms) - len(ratios) :], ratios


def _return(begin: int, end: int) -> float | None:
    return (end - begin) / begin if begin > 0 else None


def _month(ts_ms: int) -> tuple[int, int]:
    moment = datetime.fromtimestamp(ts_ms // 1000, tz=UTC)
    return moment.year, moment.month


def _start_ms(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * 1000
