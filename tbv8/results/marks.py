"""What the bars say of a run: the prices that mark its account, missing minutes, thin volumes."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
import pyarrow as pa

from tbv8.config import records
from tbv8.market import MINUTE_MS, Timeframe
from tbv8.trading.bars import Bars
from tbv8.trading.nautilus import Floats, Ints, close_times, column
from tbv8.trading.records import Run


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """When an account is marked, and at which prices.

    Attributes:
        start_ms: When the first counted bar opened.
        closes_ms: When each counted bar of the main symbol closed.
        prices: The last close of every symbol at those times; NaN before its first.
    """

    start_ms: int
    closes_ms: Ints
    prices: dict[str, Floats]


class BeyondVolume(msgspec.Struct, frozen=True, kw_only=True):
    """Fills of more than was traded in the step in which they were filled.

    `largest_multiple` is the largest quantity over its step's volume; None where every such step
    traded nothing at all.
    """

    fills: int
    largest_multiple: float | None


def to_marks(strategy: records.Strategy, bars: Bars) -> Marks:
    """Return the marks of a run over bars; those of a warm-up are left out."""
    timeframe = strategy.timeframe
    main = counted(strategy, bars.shown[strategy.symbol, timeframe])
    closes_ms = close_times(main, timeframe)
    prices = {}
    for symbol in strategy.symbols:
        table = bars.shown[symbol, timeframe]
        at = np.searchsorted(close_times(table, timeframe), closes_ms, side="right")
        prices[symbol] = np.concatenate([[np.nan], column(table, "close")])[at]
    return Marks(start_ms=int(main["ts_ms"][0].as_py()), closes_ms=closes_ms, prices=prices)


def counted(strategy: records.Strategy, bars: pa.Table) -> pa.Table:
    """Return the bars behind the warm-up."""
    if not strategy.warm_up_ms:
        return bars
    return bars.slice(int(np.searchsorted(bars["ts_ms"].to_numpy(), strategy.span.start_ms)))


def missing_minutes(strategy: records.Strategy, bars: Bars) -> dict[str, int]:
    """Return how many minutes of the counted span no bar holds, by symbol.

    Minutes inside of built bars are known from their column `minutes`.
    """
    span = strategy.timeframe.whole(strategy.span)
    missing = {}
    for symbol in strategy.symbols:
        table = bars.steps[symbol]
        opens_ms = table["ts_ms"].to_numpy()
        first, end = np.searchsorted(opens_ms, [span.start_ms, span.end_ms])
        held = table.slice(first, end - first)
        if "minutes" in held.column_names:
            minutes = int(held["minutes"].to_numpy().sum())
        else:
            lengths_ms = close_times(held, strategy.step) - held["ts_ms"].to_numpy()
            minutes = int(lengths_ms.sum()) // MINUTE_MS
        missing[symbol] = (span.end_ms - span.start_ms) // MINUTE_MS - minutes
    return missing


def beyond_volume(run: Run, steps: Mapping[str, pa.Table], step: Timeframe) -> BeyondVolume:
    """Return how many fills were larger than the volume of their step.

    Args:
        run: Its fills.
        steps: The bars by which it was matched, by symbol.
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
