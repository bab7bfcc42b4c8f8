"""Bars in the order in which a session goes through them: steps and, beside them, shown bars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np
import pyarrow as pa
from nautilus_trader.model import Bar, BarType

from tbv8.errors import DataError
from tbv8.market import DAY_MS, Timeframe, iso
from tbv8.trading.bars import Bars
from tbv8.trading.nautilus import Ints, check_bars, close_times, column, fixed_point, to_bars
from tbv8.trading.resting import RestingOrders

_CHUNK = 100_000  # rows of the densest table at once: a million bars in the engine take 1.2 GB
_NS = 1_000_000
_PRICES = ("open", "high", "low", "close")


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of time.

    Attributes:
        closes_ns: When each step closes, ascending; of one instant in the order of the symbols.
        markets: The number of each step's symbol.
        prices: Opens, highs, lows and closes in the integers of the symbol's units.
        shown: The bars that the strategy sees at an instant, in their order; at each is a step.
    """

    closes_ns: list[int]
    markets: list[int]
    prices: tuple[list[int], list[int], list[int], list[int]]
    shown: dict[int, list[Bar]]


class _Table(msgspec.Struct, frozen=True):
    """A table of bars and when each closes."""

    bars: pa.Table
    closes_ms: Ints

    def between(self, after_ms: int, until_ms: int) -> _Table:
        """Return the bars that close after the one time, and until the other."""
        first, last = np.searchsorted(self.closes_ms, [after_ms, until_ms], side="right")
        return _Table(self.bars.slice(first, last - first), self.closes_ms[first:last])


def schedules(
    bars: Bars,
    *,
    step: Timeframe,
    markets: Sequence[RestingOrders],
    bar_types: Mapping[tuple[str, Timeframe], BarType],
    after_ms: int,
) -> Iterator[Schedule]:
    """Yield what a piece of bars holds, stretch by stretch.

    Args:
        bars: What is fed.
        step: The timeframe of its steps.
        markets: The session's symbols, in order.
        bar_types: What the strategy sees, in any order.
        after_ms: The last close that was fed before.

    Raises:
        DataError: Bars cannot be, are not the session's, or close before `after_ms`.
    """
    steps = {market.symbol: _table(bars.steps.get(market.symbol), step) for market in markets}
    shown = {key: _table(bars.shown.get(key), key[1]) for key in bar_types}
    tables = [table for table in (*steps.values(), *shown.values()) if table.closes_ms.size]
    if not tables:
        return
    first_ms = min(int(table.closes_ms[0]) for table in tables)
    if first_ms <= after_ms:
        raise DataError(
            f"a bar that closes at {iso(first_ms)} was fed after {iso(after_ms)}: feed bars in the "
            "order of time"
        )
    densest = max(tables, key=lambda table: table.closes_ms.size).closes_ms
    last_ms = max(int(table.closes_ms[-1]) for table in tables)
    for until_ms in sorted({*densest[_CHUNK - 1 :: _CHUNK].tolist(), last_ms}):
        yield _schedule(
            {symbol: table.between(after_ms, until_ms) for symbol, table in steps.items()},
            {key: table.between(after_ms, until_ms) for key, table in shown.items()},
            markets,
            bar_types,
        )
        after_ms = until_ms


def _table(bars: pa.Table | None, timeframe: Timeframe) -> _Table:
    if bars is None or not bars.num_rows:
        return _Table(pa.table({}), np.empty(0, dtype=np.int64))
    check_bars(bars)
    return _Table(bars, close_times(bars, timeframe))


def _schedule(
    steps: Mapping[str, _Table],
    shown: Mapping[tuple[str, Timeframe], _Table],
    markets: Sequence[RestingOrders],
    bar_types: Mapping[tuple[str, Timeframe], BarType],
) -> Schedule:
    numbers = {market.symbol: number for number, market in enumerate(markets)}
    times: list[Ints] = []
    owners: list[Ints] = []
    prices: list[list[Ints]] = [[], [], [], []]

    def add(number: int, closes_ms: Ints, columns: Sequence[Ints]) -> None:
        times.append(closes_ms)
        owners.append(np.full(closes_ms.size, number, dtype=np.int64))
        for parts, values in zip(prices, columns, strict=True):
            parts.append(values)

    for symbol, table in steps.items():
        if table.closes_ms.size:
            places = markets[numbers[symbol]].units.price_decimals
            columns = [fixed_point(column(table.bars, name), places) for name in _PRICES]
            add(numbers[symbol], table.closes_ms, columns)
    bars_at: dict[int, list[Bar]] = {}
    order = sorted(shown, key=lambda key: (-_length(key[1]), -numbers[key[0]]))
    for symbol, timeframe in order:
        table, market = shown[symbol, timeframe], markets[numbers[symbol]]
        if not table.closes_ms.size:
            continue
        made = to_bars(
            table.bars,
            bar_types[symbol, timeframe],
            market.instrument,
            closes_ms=table.closes_ms,
        )
        for time_ms, bar in zip(table.closes_ms.tolist(), made, strict=True):
            bars_at.setdefault(time_ms * _NS, []).append(bar)
        # a bar that closes where its last minute is missing: a step at the price that it ends with
        lonely = ~np.isin(table.closes_ms, steps[symbol].closes_ms)
        if lonely.any():
            closes = fixed_point(column(table.bars, "close"), market.units.price_decimals)[lonely]
            add(numbers[symbol], table.closes_ms[lonely], [closes] * 4)
    closes_ms, owner = np.concatenate(times), np.concatenate(owners)
    rank = np.lexsort((owner, closes_ms))
    rank = rank[_first_of_each(closes_ms[rank], owner[rank])]
    return Schedule(
        closes_ns=(closes_ms[rank] * _NS).tolist(),
        markets=owner[rank].tolist(),
        prices=tuple(np.concatenate(parts)[rank].tolist() for parts in prices),
        shown=bars_at,
    )


def _first_of_each(closes_ms: Ints, owner: Ints) -> Ints:
    """Return where a step is not the same instant and symbol as the one before it."""
    same = (closes_ms[1:] == closes_ms[:-1]) & (owner[1:] == owner[:-1])
    return np.flatnonzero(np.concatenate([[True], ~same]))


def _length(timeframe: Timeframe) -> int:
    return timeframe.fixed_ms or 31 * DAY_MS
