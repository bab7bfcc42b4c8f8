"""The order in which a session runs over bars: steps for matching, and bars to show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from operator import itemgetter

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from nautilus_trader.model import Bar, BarType

from tbv8.errors import DataError
from tbv8.market import DAY_MS, Timeframe, iso
from tbv8.trading.bars import Bars
from tbv8.trading.nautilus import Ints, check_bars, close_times, column, fixed_point, to_bars
from tbv8.trading.simulated_market import SimulatedMarket

_CHUNK = 10_000  # rows of the densest table at once
_NS = 1_000_000
_PRICES = ("open", "high", "low", "close")


type Range = tuple[int, int, int, int, int, int]
"""The number of a symbol; open, high, low and close of its steps; the time of the close."""


type Interval = tuple[int, tuple[Range, ...], tuple[Bar, ...], int, int]
"""The steps after the last shown bars, up to the time at which the next bars are shown.

The time of its last close; a range for each symbol with steps in it, in the order of the symbols;
the bars that the strategy gets at that close, in order; the index of its first step, and the index
after its last. It is a tuple, since a backtest makes a million of them.
"""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """The steps and bars of a stretch of time.

    Attributes:
        closes_ns: The time of each step's close, ascending; steps of one time are in the order of
            the symbols.
        markets: The number of each step's symbol.
        prices: Opens, highs, lows and closes as integers of the symbol's units.
        bars: The bars to show the strategy, in order; at the close of each there is a step.
        shown_ns: The time of each bar's close.
    """

    closes_ns: Ints
    markets: Ints
    prices: tuple[Ints, ...]
    bars: list[Bar]
    shown_ns: Ints

    def intervals(self) -> Iterator[Interval]:
        """Return the intervals in order, lazily: a list of them would cost much time and memory."""
        cuts = np.append(self.shown_ns, self.closes_ns[-1])
        cuts = cuts[np.append(cuts[1:] != cuts[:-1], True)]
        interval = np.searchsorted(cuts, self.closes_ns)
        order = np.lexsort((self.markets, interval))
        interval, owner, closes_ns = interval[order], self.markets[order], self.closes_ns[order]
        first = np.flatnonzero(_first_of_each(interval, owner))
        last = np.append(first[1:], order.size) - 1
        opened, high, low, close = (values[order] for values in self.prices)
        columns = (
            owner[first],
            opened[first],
            np.maximum.reduceat(high, first),
            np.minimum.reduceat(low, first),
            close[last],
            closes_ns[last],
        )
        ranges = zip(*(values.tolist() for values in columns), strict=True)
        bars_at_each = np.bincount(np.searchsorted(cuts, self.shown_ns), minlength=cuts.size)
        ends = np.searchsorted(self.closes_ns, cuts, side="right")
        return zip(
            cuts.tolist(),
            _grouped(ranges, np.bincount(interval[first])),
            _grouped(self.bars, bars_at_each),
            np.append(0, ends[:-1]).tolist(),
            ends.tolist(),
            strict=True,
        )

    def instants(self, interval: Interval) -> Iterator[Interval]:
        """Yield an interval for each time of a close within an interval."""
        last_ns, _, shown, first, end = interval
        closes, *columns = (
            values[first:end].tolist() for values in (self.closes_ns, self.markets, *self.prices)
        )
        for closes_ns, ranges in groupby(zip(*columns, closes, strict=True), key=itemgetter(-1)):
            steps = tuple(ranges)
            after = first + len(steps)
            yield closes_ns, steps, shown if closes_ns == last_ns else (), first, after
            first = after


class _Table(msgspec.Struct, frozen=True):
    """A table of bars and the times of their closes."""

    bars: pa.Table
    closes_ms: Ints

    def between(self, after_ms: int, until_ms: int) -> _Table:
        """Return the bars that close after `after_ms` and not after `until_ms`."""
        first, last = np.searchsorted(self.closes_ms, [after_ms, until_ms], side="right")
        return _Table(self.bars.slice(first, last - first), self.closes_ms[first:last])


def schedules(
    bars: Bars,
    *,
    step: Timeframe,
    markets: Sequence[SimulatedMarket],
    bar_types: Mapping[tuple[str, Timeframe], BarType],
    after_ms: int,
) -> Iterator[Schedule]:
    """Yield the schedules of a piece of bars, a chunk of rows at a time.

    Args:
        bars: The bars.
        step: The timeframe of the steps.
        markets: The session's markets, in order.
        bar_types: The types of the shown bars.
        after_ms: The last close of the piece before.

    Raises:
        DataError: A bar is impossible, or closes at or before `after_ms`.
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
    markets: Sequence[SimulatedMarket],
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
    bars: list[Bar] = []
    bar_closes: list[Ints] = []
    order = sorted(shown, key=lambda key: (-_length(key[1]), -numbers[key[0]]))
    for symbol, timeframe in order:
        table, market = shown[symbol, timeframe], markets[numbers[symbol]]
        if not table.closes_ms.size:
            continue
        bars += to_bars(
            table.bars,
            bar_types[symbol, timeframe],
            market.instrument,
            closes_ms=table.closes_ms,
        )
        bar_closes.append(table.closes_ms)
        without_step, closes = _missing_steps(table, steps[symbol], market)
        if without_step.size:
            add(numbers[symbol], without_step, [closes] * 4)
    closes_ms, owner = np.concatenate(times), np.concatenate(owners)
    rank = np.lexsort((owner, closes_ms))
    rank = rank[_first_of_each(closes_ms[rank], owner[rank])]
    shown_ns = np.concatenate([*bar_closes, np.empty(0, dtype=np.int64)]) * _NS
    place = np.argsort(shown_ns, kind="stable")
    return Schedule(
        closes_ns=closes_ms[rank] * _NS,
        markets=owner[rank],
        prices=tuple(np.concatenate(parts)[rank] for parts in prices),
        bars=[bars[index] for index in place.tolist()],
        shown_ns=shown_ns[place],
    )


def _missing_steps(bars: _Table, steps: _Table, market: SimulatedMarket) -> tuple[Ints, Ints]:
    """Return the closes of bars at which no step ends, and the price there: the last close.

    They are bars whose last minute is missing.
    """
    before = steps.closes_ms.searchsorted(bars.closes_ms)
    is_missing = np.append(steps.closes_ms, -1)[before] != bars.closes_ms
    if not is_missing.any():
        return bars.closes_ms[:0], bars.closes_ms[:0]
    places = market.units.price_decimals
    prices = [fixed_point(column(bars.bars, "close")[:1], places)]
    if market.last is not None:
        prices = [np.array([market.last])]
    if steps.closes_ms.size:
        prices.append(fixed_point(column(steps.bars, "close"), places))
    return bars.closes_ms[is_missing], np.concatenate(prices)[before[is_missing]]


def _grouped[T](values: Iterable[T], sizes: Ints) -> Iterable[tuple[T, ...]]:
    """Return the values in tuples of the given sizes."""
    if (sizes == 1).all():
        return zip(values, strict=True)  # a tenth of the time
    left = iter(values)
    return (tuple(islice(left, size)) for size in sizes.tolist())


def _first_of_each(times: Ints, owner: Ints) -> npt.NDArray[np.bool_]:
    """Return True for each step whose time or symbol differs from those of the step before."""
    same = (times[1:] == times[:-1]) & (owner[1:] == owner[:-1])
    return np.concatenate([[True], ~same])


def _length(timeframe: Timeframe) -> int:
    return timeframe.fixed_ms or 31 * DAY_MS
