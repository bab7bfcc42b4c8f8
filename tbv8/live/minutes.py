"""Bars of a session from its closed minutes: the steps of matching, and the strategy's own bars.

A bar of a longer timeframe is built once all of its minutes are closed; bars that began before the
session's first minute are left out. The bars equal those of `tbv8.aggregate` to the last bit, but
are built without polars, which would take 32 MB of a session's memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import pyarrow as pa

from tbv8.config.records import Strategy
from tbv8.market import ONE_MINUTE, Bar, Timeframe
from tbv8.store.sessions import SessionMinute
from tbv8.trading.bars import Bars
from tbv8.trading.funding import FundingPayments

_VOLUME_DECIMALS = 8
_COLUMNS = ("ts_ms", "open", "high", "low", "close", "volume")
_SCHEMA = pa.schema([(name, pa.int64() if name == "ts_ms" else pa.float64()) for name in _COLUMNS])


class Builder:
    """The minutes of bars that have not closed yet.

    Args:
        strategy: The strategy, with its symbols and timeframes.
        first_ms: The open of the session's first minute.
    """

    def __init__(self, strategy: Strategy, first_ms: int) -> None:
        self._strategy, self._first_ms = strategy, first_ms
        timeframes = dict.fromkeys((*strategy.timeframes, strategy.step))
        self._open = {
            (symbol, timeframe): _SCHEMA.empty_table()
            for symbol in strategy.symbols
            for timeframe in timeframes
            if timeframe != ONE_MINUTE
        }

    def build(self, minutes: Sequence[SessionMinute]) -> Bars:
        """Return the bars that close within `minutes`, which follow those of the last call."""
        until_ms = minutes[-1].close_ms
        tables = {symbol: _table(minutes, symbol) for symbol in self._strategy.symbols}
        built = {key: self._close(key, tables[key[0]], until_ms) for key in self._open}

        def bars(symbol: str, timeframe: Timeframe) -> pa.Table:
            return tables[symbol] if timeframe == ONE_MINUTE else built[symbol, timeframe]

        return Bars(
            shown={
                (symbol, timeframe): bars(symbol, timeframe)
                for symbol in self._strategy.symbols
                for timeframe in self._strategy.timeframes
            },
            steps={symbol: bars(symbol, self._strategy.step) for symbol in self._strategy.symbols},
        )

    def _close(self, key: tuple[str, Timeframe], table: pa.Table, until_ms: int) -> pa.Table:
        """Return the bars of one timeframe that have closed, and keep the minutes of the next."""
        timeframe = key[1]
        minutes = pa.concat_tables([self._open[key], table]).combine_chunks()
        opens = minutes["ts_ms"].to_numpy()
        begin_ms, end_ms = timeframe.ceil(self._first_ms), timeframe.floor(until_ms)
        first, end = np.searchsorted(opens, (begin_ms, max(begin_ms, end_ms))).tolist()
        self._open[key] = minutes.slice(end)
        if end == first:
            return _SCHEMA.empty_table()
        return minutes_to_bars(minutes.slice(first, end - first), timeframe)


def minutes_to_bars(minutes: pa.Table, timeframe: Timeframe) -> pa.Table:
    """Return the bars of at least one minute, equal to those of `tbv8.aggregate`.

    Prices are those of the minutes with trades, if there are any. Volumes are added as exact
    decimals of eight places, and the sum is rounded once.
    """
    opens, high, low, closes = (minutes[name].to_numpy() for name in _COLUMNS[1:5])
    volume = minutes["volume"].to_numpy()
    slots = np.array([timeframe.floor(ts_ms) for ts_ms in minutes["ts_ms"].to_pylist()])
    begins = np.flatnonzero(np.diff(slots, prepend=slots[0] - 1))
    number = np.repeat(np.arange(begins.size), np.diff(begins, append=slots.size))
    traded = volume > 0
    used = np.flatnonzero(traded | ~np.logical_or.reduceat(traded, begins)[number])
    first = np.searchsorted(number[used], np.arange(begins.size))
    last = used[np.append(first[1:], used.size) - 1]
    units = [int(Decimal(repr(value)).scaleb(_VOLUME_DECIMALS)) for value in volume.tolist()]
    sums = np.add.reduceat(np.array(units, dtype=object), begins)
    return pa.table(
        {
            "ts_ms": slots[begins],
            "open": opens[used[first]],
            "high": np.maximum.reduceat(high[used], first),
            "low": np.minimum.reduceat(low[used], first),
            "close": closes[last],
            "volume": pa.array([total / 10**_VOLUME_DECIMALS for total in sums], pa.float64()),
            "minutes": np.diff(begins, append=slots.size),
        }
    )


def join_minutes(strategy: Strategy, pieces: Sequence[Bars]) -> Bars:
    """Return all bars of several pieces."""
    return Bars(
        shown={
            key: _concat([piece.shown[key] for piece in pieces])
            for key in ((s, t) for s in strategy.symbols for t in strategy.timeframes)
        },
        steps={s: _concat([piece.steps[s] for piece in pieces]) for s in strategy.symbols},
        funding={
            venue: {
                symbol: FundingPayments.of(
                    row for piece in pieces for row in piece.funding[venue][symbol].rows
                )
                for symbol in charged
            }
            for venue, charged in (pieces[0].funding if pieces else {}).items()
        },
    )


def _concat(tables: Sequence[pa.Table]) -> pa.Table:
    filled = [table for table in tables if table.num_rows]
    return pa.concat_tables(filled).combine_chunks() if filled else _SCHEMA.empty_table()


def to_table(bars: Sequence[Bar]) -> pa.Table:
    """Return minutes as a table of bars."""
    columns = [[getattr(bar, name) for bar in bars] for name in _COLUMNS]
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)],
        schema=_SCHEMA,
    )


def _table(minutes: Sequence[SessionMinute], symbol: str) -> pa.Table:
    return to_table([bar for minute in minutes if (bar := minute.bars[symbol]) is not None])
