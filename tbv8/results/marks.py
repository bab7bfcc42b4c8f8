"""Facts about a run from its bars: prices to mark its account, missing minutes, thin volumes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
import numpy as np
import pyarrow as pa

from tbv8.config import records
from tbv8.market import MINUTE_MS, Span, Timeframe
from tbv8.page.candles import Candles
from tbv8.trading.bars import Bars
from tbv8.trading.nautilus import Floats, Ints, close_times, column
from tbv8.trading.records import Run

_OVERVIEW_CANDLES = 1500  # of a symbol, at most


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """The times and prices that mark an account.

    Attributes:
        start_ms: The start of the counted span.
        closes_ms: The close of each counted bar of the main symbol; and the end of the run, if
            that is later.
        prices: The last close of every symbol at those times; NaN before its first bar.
    """

    start_ms: int
    closes_ms: Ints
    prices: dict[str, Floats]


class BeyondVolume(msgspec.Struct, frozen=True, kw_only=True):
    """Fills larger than the traded volume of their step.

    `largest_multiple` is the largest quantity over its step's volume; None if all these steps had
    no volume.
    """

    fills: int
    largest_multiple: float | None


def to_marks(strategy: records.Strategy, bars: Bars) -> Marks:
    """Return the marks of a run over bars, without those of the warm-up."""
    main = without_warm_up(strategy, bars.shown[strategy.symbol, strategy.timeframe])
    closes_ms = close_times(main, strategy.timeframe)
    if (end_ms := _end_ms(strategy, bars)) > closes_ms[-1]:
        closes_ms = np.append(closes_ms, end_ms)
    prices = last_closes(strategy, bars, strategy.symbols, closes_ms)
    return Marks(start_ms=strategy.counted_span.start_ms, closes_ms=closes_ms, prices=prices)


def _end_ms(strategy: records.Strategy, bars: Bars) -> int:
    """Return the end of the counted span, or the last step's close if that is later.

    It is later in a paper session, whose minutes go on inside of a bar. The main symbol's last bar
    may close before it.
    """
    ends = [
        close_times(table.slice(table.num_rows - 1), strategy.step) for table in bars.steps.values()
    ]
    return max(strategy.counted_span.end_ms, *(int(end[0]) for end in ends if end.size))


def last_closes(
    strategy: records.Strategy, bars: Bars, symbols: Iterable[str], times_ms: Ints
) -> dict[str, Floats]:
    """Return the last close of symbols' steps at each time; NaN before their first step."""
    prices = {}
    for symbol in symbols:
        steps = bars.steps[symbol]
        at = np.searchsorted(close_times(steps, strategy.step), times_ms, side="right")
        prices[symbol] = np.concatenate([[np.nan], column(steps, "close")])[at]
    return prices


def candles_of(strategy: records.Strategy, bars: Bars, symbol: str) -> Candles:
    """Return a symbol's counted bars of the main timeframe."""
    table = without_warm_up(strategy, bars.shown[symbol, strategy.timeframe])
    return Candles(
        opens_ms=table["ts_ms"].to_numpy(),
        ends_ms=close_times(table, strategy.timeframe),
        step_ms=strategy.timeframe.fixed_ms,
        open=column(table, "open"),
        high=column(table, "high"),
        low=column(table, "low"),
        close=column(table, "close"),
    )


def overview(candles: Candles) -> Candles:
    """Return the candles of market.csv and of the page's strip: few, of any length."""
    count = len(candles.opens_ms)
    return combine(candles, np.arange(0, count, max(1, -(-count // _OVERVIEW_CANDLES))))


def combine(candles: Candles, starts: Ints) -> Candles:
    """Return longer candles of several lengths; each begins at one of the indices `starts`."""
    lasts = np.append(starts[1:], len(candles.opens_ms)) - 1
    return Candles(
        opens_ms=candles.opens_ms[starts],
        ends_ms=candles.ends_ms[lasts],
        step_ms=None,
        open=candles.open[starts],
        high=np.maximum.reduceat(candles.high, starts),
        low=np.minimum.reduceat(candles.low, starts),
        close=candles.close[lasts],
    )


def without_warm_up(strategy: records.Strategy, bars: pa.Table) -> pa.Table:
    """Return the bars after the warm-up."""
    if not strategy.warm_up_ms:
        return bars
    return bars.slice(int(np.searchsorted(bars["ts_ms"].to_numpy(), strategy.span.start_ms)))


def missing_minutes(strategy: records.Strategy, bars: Bars) -> dict[str, int]:
    """Return the number of minutes without a bar in the counted span, by symbol.

    Minutes inside built bars are known from their column `minutes`.
    """
    return _missing_minutes(strategy, bars, strategy.counted_span)


def missing_warm_up_minutes(strategy: records.Strategy, bars: Bars) -> dict[str, int]:
    """Return the number of minutes without a bar in the warm-up, by symbol; {} without one."""
    if not strategy.warm_up_ms:
        return {}
    return _missing_minutes(strategy, bars, strategy.warm_up_span)


def _missing_minutes(strategy: records.Strategy, bars: Bars, span: Span) -> dict[str, int]:
    missing = {}
    for symbol in strategy.symbols:
        table = bars.steps[symbol]
        opens_ms = table["ts_ms"].to_numpy()
        first, end = np.searchsorted(opens_ms, [span.start_ms, span.end_ms])
        rows = table.slice(first, end - first)
        if "minutes" in rows.column_names:
            minutes = int(rows["minutes"].to_numpy().sum())
        else:
            lengths_ms = close_times(rows, strategy.step) - rows["ts_ms"].to_numpy()
            minutes = int(lengths_ms.sum()) // MINUTE_MS
        missing[symbol] = (span.end_ms - span.start_ms) // MINUTE_MS - minutes
    return missing


def missing_bars(strategy: records.Strategy, bars: Bars) -> dict[str, int]:
    """Return the number of bars without a single minute in the counted span, by symbol.

    Symbols that lack none are left out, and all if bars have no fixed length or are minutes.
    """
    span, length_ms = strategy.counted_span, strategy.timeframe.fixed_ms
    if not length_ms or length_ms == MINUTE_MS:
        return {}
    missing = {}
    for symbol in strategy.symbols:
        opens_ms = bars.shown[symbol, strategy.timeframe]["ts_ms"].to_numpy()
        first, end = np.searchsorted(opens_ms, [span.start_ms, span.end_ms])
        missing[symbol] = (span.end_ms - span.start_ms) // length_ms - int(end - first)
    return {symbol: count for symbol, count in missing.items() if count}


def beyond_volume(run: Run, steps: Mapping[str, pa.Table], step: Timeframe) -> BeyondVolume:
    """Return the number of fills larger than the volume of their step.

    Args:
        run: The run.
        steps: The bars that matched its orders, by symbol.
        step: Their timeframe.
    """
    count, largest = 0, None
    for symbol, table in steps.items():
        fills = [fill for fill in run.fills if fill.symbol == symbol]
        if not fills:
            continue
        times_ms = [fill.ts_ms for fill in fills]
        at = np.searchsorted(close_times(table, step), times_ms, side="right") - 1
        volume = column(table, "volume")[at]
        quantity = np.array([float(fill.quantity) for fill in fills])
        beyond = quantity > volume
        count += int(beyond.sum())
        if (traded := beyond & (volume > 0)).any():
            largest = max(largest or 0.0, float((quantity[traded] / volume[traded]).max()))
    return BeyondVolume(fills=count, largest_multiple=largest)
