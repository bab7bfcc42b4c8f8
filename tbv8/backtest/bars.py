"""The bars of a backtest, read from the store, and a look at whether its ticks fit their prices."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np

from tbv8.backtest.funding import read_funding
from tbv8.config.document import line_of, plain
from tbv8.config.records import Strategy
from tbv8.store.bars import BarStore, read_stored_bars
from tbv8.trading.bars import Bars

_COARSE = 0.01  # of the price


def read_bars(store: BarStore, strategy: Strategy) -> Bars:
    """Return all bars that a strategy reads, whose whole time lies in its run, and its funding.

    The caller owns the transaction, so that the fingerprints can be of the same moment.

    Raises:
        DataError: A day's rows are not those that its ledger tells of.
    """
    tables = {
        (series.symbol, timeframe): read_stored_bars(
            store, series, timeframe, timeframe.whole(strategy.bars_span)
        )
        for series, timeframe in strategy.reads
    }
    return Bars(
        shown={
            (symbol, timeframe): tables[symbol, timeframe]
            for symbol in strategy.symbols
            for timeframe in strategy.timeframes
        },
        steps={symbol: tables[symbol, strategy.step] for symbol in strategy.symbols},
        funding=read_funding(store, strategy),
    )


def coarse_ticks(strategy: Strategy, bars: Bars) -> Iterator[str]:
    """Yield a warning for each tick of more than 1 % of the price: it is another unit's, mostly."""
    for symbol in strategy.symbols:
        closes = bars.shown[symbol, strategy.timeframe]["close"].to_numpy()
        price = float(np.median(closes)) if closes.size else 0.0
        for venue, instruments in strategy.instruments.items():
            tick = instruments[symbol].tick_size
            if price > 0 and float(tick) > _COARSE * price:
                path, key = (
                    Path(f"config/venues/{venue}.yaml"),
                    ("instruments", symbol, "tick_size"),
                )
                line = line_of(path, key, root=strategy.root)
                yield (
                    f"{path}{f':{line}' if line else ''}: {'.'.join(key)}: {plain(tick)} is "
                    f"{float(tick) / price:.2g} times the price of {_shown_price(price)}: "
                    f"write the tick of one {symbol.partition('/')[0]}, and `multiplier` where "
                    "the venue trades several as one"
                )


def _shown_price(price: float) -> str:
    """Return a price with four digits or all before the point, and without an exponent."""
    return f"{price:.0f}" if price >= 1000 else f"{Decimal(f'{price:.4g}'):f}"
