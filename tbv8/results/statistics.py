"""The statistics of summary.json, from a curve, its fills and its positions.

All are marked to market: the drawdown uses the close of every bar. Statistics of returns
(volatility, Sharpe, Sortino, best and worst day, probabilistic Sharpe) use UTC days, and a year has
365 of them, as the market never closes:

- a bar that closes at 00:00 belongs to the day that ends then;
- a partial first or last day counts as a full day with its own return, so that the days compound
  to the whole return;
- a day without a close (an outage, or a bar longer than a day) returned 0, and the next day gets
  the whole change: the number of days is that of the calendar.

An undefined number is None. Results are the same on any machine: sums are exact before they are
rounded (`math.fsum`, integers, decimals), powers are decimal, and results have eight decimals.
NumPy's sums would depend on the processor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import Context, Decimal, localcontext
from statistics import NormalDist

import msgspec
import numpy as np

from tbv8.market import DAY_MS, HOUR_MS, MIN_DAYS, iso, iso_day
from tbv8.results.accounting import Books, before, from_money, history
from tbv8.risk.events import EXACT
from tbv8.trading.nautilus import Floats, Ints
from tbv8.trading.records import Fill, Run

YEAR_DAYS = 365
_YEAR_MS = YEAR_DAYS * DAY_MS
_PLACES = 8
_POWERS = Context(prec=28, traps=[])  # deterministic on any machine, which libm's are not
_HALF = 32


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """The return of one UTC day, as a fraction."""

    date: str
    gained: float = msgspec.field(name="return")


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """Statistics of a curve: fractions, ISO times, days; the drawdown is positive."""

    total_return: float = msgspec.field(name="return")
    cagr: float | None
    volatility: float | None
    sharpe: float | None
    sortino: float | None
    calmar: float | None
    max_drawdown: float
    max_drawdown_start: str | None
    max_drawdown_bottom: str | None
    max_drawdown_end: str | None
    max_drawdown_days: float
    best_day: Day | None
    worst_day: Day | None
    probabilistic_sharpe: float | None


class Trading(msgspec.Struct, frozen=True, kw_only=True):
    """Statistics of fills and closed positions: money in USD, shares as fractions."""

    exposure: float
    turnover: float | None
    entries: int
    exits: int
    trades: int
    win_rate: float | None
    profit_factor: float | None
    expectancy: Decimal | None
    average_holding_hours: float | None
    fees: Decimal
    slippage: Decimal


class Drawdown(msgspec.Struct, frozen=True):
    """A fall from a peak: its fraction, and the points of peak, bottom and recovery."""

    depth: float
    start: int
    bottom: int
    end: int | None


def measure_curve(
    times_ms: Ints, equity: Ints, *, days: int, min_days: int = MIN_DAYS
) -> Performance:
    """Return the statistics of a curve.

    Args:
        times_ms: The start, and the close of each bar.
        equity: The equity at these times, in integers of 10^-8 USD.
        days: The number of UTC days with bars.
        min_days: Annualised statistics of a shorter curve, or with bars on fewer days, are None.
    """
    begun, ended = int(equity[0]), int(equity[-1])
    elapsed_ms = int(times_ms[-1] - times_ms[0])
    fall = next(iter(deepest_falls(equity, most=1)), None)
    days_ms, returns = daily_returns(times_ms, equity)
    worst, best = (int(at(returns)) if returns.size else None for at in (np.argmin, np.argmax))
    is_long = min(days, elapsed_ms // DAY_MS) >= min_days
    values = returns.tolist() if is_long else []
    yearly = cagr(begun, ended, elapsed_ms=elapsed_ms) if is_long else None
    return Performance(
        total_return=rounded((ended - begun) / begun),
        cagr=_maybe(yearly),
        volatility=_maybe(volatility(values)),
        sharpe=_maybe(sharpe(values)),
        sortino=_maybe(sortino(values)),
        calmar=_maybe(yearly / fall.depth if fall and yearly is not None else None),
        max_drawdown=rounded(fall.depth) if fall else 0.0,
        max_drawdown_start=iso(int(times_ms[fall.start])) if fall else None,
        max_drawdown_bottom=iso(int(times_ms[fall.bottom])) if fall else None,
        max_drawdown_end=iso(int(times_ms[fall.end])) if fall and fall.end else None,
        max_drawdown_days=_length_days(fall, times_ms) if fall else 0.0,
        best_day=_day(days_ms, returns, best),
        worst_day=_day(days_ms, returns, worst),
        probabilistic_sharpe=_maybe(sharpe_above(values)),
    )


def days_with_bars(opens_ms: Ints, closes_ms: Ints) -> int:
    """Return the number of UTC days with a part of a bar, from opens and closes in order."""
    first, last = opens_ms // DAY_MS, (closes_ms - 1) // DAY_MS
    first[1:] = np.maximum(first[1:], last[:-1] + 1)
    return int((last - first + 1).sum())


def cagr(start: int, end: int, *, elapsed_ms: int) -> float | None:
    """Return the growth of a year of 365 days: `(end / start) ^ (year / elapsed) - 1`.

    None for less than a day, where it is meaningless, and for an account that ended below 0.
    """
    if end < 0 or elapsed_ms < DAY_MS:
        return None
    with localcontext(_POWERS):
        grown = (Decimal(end) / Decimal(start)) ** (Decimal(_YEAR_MS) / Decimal(elapsed_ms))
        value = float(grown - 1)
    return value if math.isfinite(value) else None


def deepest_falls(equity: Ints, *, most: int) -> list[Drawdown]:
    """Return the deepest drawdowns, the deepest first, each as a fraction of the peak before it.

    Each begins at the last point at the height of its peak, and ends at the first point that
    reaches the peak again.
    """
    peaks = np.maximum.accumulate(equity)
    edges = np.flatnonzero(np.diff(equity < peaks, append=False))
    starts, lasts = edges[::2], edges[1::2]  # of each: its peak, and its last point below
    if not starts.size:
        return []
    peak = equity[starts]
    depths = (peak - np.minimum.reduceat(equity, starts)) / peak
    falls = []
    for at in np.argsort(-depths, kind="stable")[:most].tolist():
        start, last = int(starts[at]), int(lasts[at])
        bottom = start + int(np.argmin(equity[start : last + 1]))
        end = last + 1 if last + 1 < len(equity) else None
        falls.append(Drawdown(float(depths[at]), start, bottom, end))
    return falls


def daily_returns(times_ms: Ints, equity: Ints) -> tuple[Ints, Floats]:
    """Return each UTC day from the first to the last time, and its return.

    Both are empty if a day began without equity: its return is undefined.
    """
    first, last = int(times_ms[0]) // DAY_MS, (int(times_ms[-1]) - 1) // DAY_MS
    days_ms = np.arange(first, last + 1, dtype=np.int64) * DAY_MS
    at = np.searchsorted(times_ms, days_ms + DAY_MS, side="right") - 1
    ends = equity[at]
    starts = np.concatenate([equity[:1], ends[:-1]])
    if (starts <= 0).any():
        return days_ms[:0], np.empty(0)
    return days_ms, (ends - starts) / starts


def rolling_sharpe(times_ms: Ints, equity: Ints, *, days: int) -> tuple[Ints, list[float | None]]:
    """Return UTC days, and the Sharpe ratio of the last `days` daily returns at each of them.

    It begins with the first day that has enough returns; times and equity as in `daily_returns`.
    """
    days_ms, returns = daily_returns(times_ms, equity)
    values = returns.tolist()
    ratios = [sharpe(values[end - days : end]) for end in range(days, len(values) + 1)]
    return days_ms[len(days_ms) - len(ratios) :], ratios


def volatility(returns: Sequence[float]) -> float | None:
    """Return the standard deviation of daily returns (n - 1), times the root of 365."""
    deviation = _deviation(returns)
    return None if deviation is None else deviation * math.sqrt(YEAR_DAYS)


def sharpe(returns: Sequence[float]) -> float | None:
    """Return mean over standard deviation (n - 1) of daily returns, times the root of 365.

    W. F. Sharpe, The Sharpe Ratio, Journal of Portfolio Management 21 (1994), against cash that
    earns nothing.
    """
    ratio = daily_sharpe(returns)
    return None if ratio is None else ratio * math.sqrt(YEAR_DAYS)


def sortino(returns: Sequence[float]) -> float | None:
    """Return the mean daily return over the root of the mean square of losses, times root 365.

    F. A. Sortino and L. N. Price, Performance Measurement in a Downside Risk Framework, Journal of
    Investing 3 (1994), with a target of 0; days without a loss count as 0 in the mean.
    """
    if not any(value < 0 for value in returns):
        return None
    squares = math.fsum(min(value, 0.0) ** 2 for value in returns)
    downside = math.sqrt(squares / len(returns))
    return _mean(returns) / downside * math.sqrt(YEAR_DAYS)


def probabilistic_sharpe(
    ratio: float, *, count: int, skewness: float, kurtosis: float, benchmark: float = 0.0
) -> float | None:
    """Return the probability that the true Sharpe ratio is above a benchmark, SR*.

    D. H. Bailey and M. Lopez de Prado, The Sharpe Ratio Efficient Frontier, Journal of Risk 15
    (2012): `Phi((SR - SR*) * sqrt(n - 1) / sqrt(1 - g3 * SR + (g4 - 1) / 4 * SR^2))`.

    Args:
        ratio: The Sharpe ratio SR of the returns, per period.
        count: The number of returns, n.
        skewness: Their skewness, g3.
        kurtosis: Their kurtosis, g4: 3 for a normal distribution.
        benchmark: The benchmark SR*, per period.
    """
    spread = 1 - skewness * ratio + (kurtosis - 1) / 4 * ratio * ratio
    if spread <= 0:  # returns of two values only
        return None
    return NormalDist().cdf((ratio - benchmark) * math.sqrt(count - 1) / math.sqrt(spread))


def sharpe_above(returns: Sequence[float], benchmark: float = 0.0) -> float | None:
    """Return the probability that the true daily Sharpe ratio of returns exceeds a benchmark."""
    ratio = daily_sharpe(returns)
    if ratio is None:
        return None
    mean = _mean(returns)
    squares = [(value - mean) * (value - mean) for value in returns]
    cubes = [square * (value - mean) for square, value in zip(squares, returns, strict=True)]
    variance = _mean(squares)
    return probabilistic_sharpe(
        ratio,
        count=len(returns),
        skewness=_mean(cubes) / (variance * math.sqrt(variance)),
        kurtosis=_mean([square * square for square in squares]) / (variance * variance),
        benchmark=benchmark,
    )


def daily_sharpe(returns: Sequence[float]) -> float | None:
    """Return mean over standard deviation (n - 1) of daily returns; None if all are equal."""
    deviation = _deviation(returns)
    return _mean(returns) / deviation if deviation else None


def _deviation(returns: Sequence[float]) -> float | None:
    """Return the sample standard deviation; exactly 0 if all values are equal."""
    if len(returns) < 2:
        return None
    if min(returns) == max(returns):
        return 0.0
    mean = _mean(returns)
    squares = math.fsum((value - mean) * (value - mean) for value in returns)
    return math.sqrt(squares / (len(returns) - 1))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _length_days(fall: Drawdown, times_ms: Ints) -> float:
    """Return the days from peak to recovery, or to the end without a recovery."""
    end = len(times_ms) - 1 if fall.end is None else fall.end
    return rounded(int(times_ms[end] - times_ms[fall.start]) / DAY_MS)


def _day(days_ms: Ints, returns: Floats, at: int | None) -> Day | None:
    if at is None:
        return None
    return Day(date=iso_day(int(days_ms[at])), gained=rounded(float(returns[at])))


def measure_trading(books: Books, *, days: int, min_days: int = MIN_DAYS) -> Trading:
    """Return the statistics of fills and closed positions; `days` is the number of days with bars.

    - exposure: the share of the counted span with an open position, including outages;
    - turnover: the notional of all fills, bought and sold, over the mean equity of all rows, per
      year of 365 days; None where that mean is not above 0, and for bars on less than
      `min_days`;
    - entries, exits: the fills that opened or increased a position, and those that reduced or
      closed one; a fill through zero is both;
    - trades: positions that were closed or turned;
    - win rate: the share of trades with a gain, after fees and funding;
    - profit factor: the sum of gains over the sum of losses; None without a loss;
    - expectancy: the mean gain of a trade, after fees and funding.
    """
    run, positions, curve = books.run, books.positions, books.curve
    end_ms = int(curve.closes_ms[-1])
    elapsed_ms, turnover = end_ms - curve.start_ms, None
    with localcontext(EXACT):
        equity = from_money(exact_sum(curve.equity)) / len(curve.equity)
        if equity > 0 and min(days, elapsed_ms // DAY_MS) >= min_days:
            notional = sum((fill.quantity * fill.price for fill in run.fills), Decimal(0))
            turnover = rounded(float(notional / equity / (Decimal(elapsed_ms) / _YEAR_MS)))
        befores = [(before(fill), fill) for fill in run.fills]
        gains = [position.pnl for position in positions]
        gained = sum((gain for gain in gains if gain > 0), Decimal(0))
        lost = gained - sum(gains, Decimal(0))
        lengths_ms = sum(position.closed_ms - position.opened_ms for position in positions)
        count = len(positions)
        return Trading(
            exposure=rounded(_exposed_ms(run, curve.start_ms, end_ms) / elapsed_ms),
            turnover=turnover,
            entries=sum(
                abs(fill.position) > abs(size) or fill.position * size < 0 for size, fill in befores
            ),
            exits=sum(fill.change * size < 0 for size, fill in befores),
            trades=count,
            win_rate=rounded(sum(gain > 0 for gain in gains) / count) if count else None,
            profit_factor=rounded(float(gained / lost)) if lost else None,
            expectancy=round((gained - lost) / count, _PLACES) if count else None,
            average_holding_hours=rounded(lengths_ms / count / HOUR_MS) if count else None,
            fees=sum((fill.fee for fill in run.fills), Decimal(0)),
            slippage=round(slippage(run.fills), _PLACES),
        )


def _exposed_ms(run: Run, start_ms: int, end_ms: int) -> int:
    """Return the time with any open position."""
    fills = sorted(
        (fill for market in run.markets for fill in history(run, market.symbol)),
        key=lambda fill: fill.ts_ms,
    )
    open_symbols: set[str] = set()
    total, since_ms = 0, start_ms
    for fill in fills:
        at_ms = max(fill.ts_ms, start_ms)
        total += at_ms - since_ms if open_symbols else 0
        since_ms = at_ms
        open_symbols.discard(fill.symbol)
        if fill.position:
            open_symbols.add(fill.symbol)
    return total + (end_ms - since_ms if open_symbols else 0)


def slippage(fills: Sequence[Fill]) -> Decimal:
    """Return the exact loss of taker fills in USD against their decision price.

    The decision price of an order that takes at the close is that close, also of a stop; inside of
    a bar it is the trigger of a stop, a stop-limit or a liquidation. Slippage includes the rounding
    to ticks, `slippage_ticks`, and a gap beyond a trigger. Resting limit orders have none.
    """
    with localcontext(EXACT):
        return sum(
            (
                fill.change * (fill.price - fill.trigger)
                for fill in fills
                if fill.trigger is not None
            ),
            Decimal(0),
        )


def stops_reached(fills: Iterable[Fill]) -> int:
    """Return the number of stops whose trigger the price had reached when their entry was filled.

    They are the stops of brackets that lie above a long entry, or below a short one: they fill
    right behind it.
    """
    count, latest = 0, dict[str, Fill]()
    for fill in fills:
        entry, latest[fill.symbol] = latest.get(fill.symbol), fill
        if fill.type != "stop_market" or fill.trigger is None or entry is None:
            continue
        if entry.ts_ms == fill.ts_ms and entry.side != fill.side:
            price = entry.price if entry.trigger is None else entry.trigger
            count += fill.trigger >= price if fill.side == "sell" else fill.trigger <= price
    return count


def exact_sum(values: Ints) -> int:
    """Return the exact sum of 64-bit integers, also above 64 bits."""
    high, low = values >> _HALF, values & ((1 << _HALF) - 1)
    return (int(high.sum()) << _HALF) + int(low.sum())


def rounded(value: float) -> float:
    """Return a fraction with eight decimals, never minus zero."""
    return round(value, _PLACES) + 0.0


def _maybe(value: float | None) -> float | None:
    return None if value is None else rounded(value)
